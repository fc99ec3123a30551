"""Passwords from breaches, asked for at a service by k-anonymity: only five digits of a hash leave this process.

Implements `freehold.auth.passwords.rules.BreachedPasswords`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import httpx
import structlog

from freehold.breaches.lines import PREFIX_CHARS, digest_of, is_listed

_TIMEOUT_S = 2.0
_PAUSE_S = 30.0
_MAX_BYTES = 1024 * 1024  # a range has some 1,000 lines of 43 bytes, padded or not

log = structlog.get_logger()


class BreachService:
    """If it does not answer in time it is not asked again for half a minute, and refuses no password meanwhile."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        timeout_s: float = _TIMEOUT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`url` is what the five digits follow, e.g. `https://api.pwnedpasswords.com/range/`."""
        self._http = http
        self._url = url if url.endswith("/") else f"{url}/"
        self._timeout_s = timeout_s
        self._clock = clock
        self._asks_again_at = 0.0

    async def knows(self, password: str) -> bool:
        if self._clock() < self._asks_again_at:
            return False
        digest = digest_of(password)
        try:
            async with asyncio.timeout(self._timeout_s):
                lines = await self._range(digest[:PREFIX_CHARS])
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as error:
            self._asks_again_at = self._clock() + _PAUSE_S
            log.warning("breached_passwords.unavailable", reason=type(error).__name__, pause_s=_PAUSE_S)
            return False
        return is_listed(digest[PREFIX_CHARS:], lines)

    async def _range(self, prefix: str) -> str:
        # Padding keeps whoever sees the size of the answer from knowing which range it was.
        headers = {"add-padding": "true", "accept-encoding": "identity"}
        async with self._http.stream("GET", f"{self._url}{prefix}", headers=headers) as reply:
            if reply.status_code != 200:
                raise ValueError(f"answered {reply.status_code}")
            body = bytearray()
            async for chunk in reply.aiter_raw():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ValueError("the answer is too long")
        return body.decode("ascii", "replace")


@asynccontextmanager
async def open_breach_service(url: str) -> AsyncIterator[BreachService]:
    """The service at this URL; it follows no redirects, and sends nothing but the range."""
    headers = {"user-agent": "freehold"}
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, headers=headers, trust_env=False) as http:
        yield BreachService(http, url)
