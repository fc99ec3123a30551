"""Checks passwords against known breaches by k-anonymity: only five digits of a hash leave this process.

Implements `freehold.auth.passwords.rules.BreachedPasswords`.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import httpx

from freehold.log import get_logger
from freehold.tls import public_tls

# Breached passwords in a copy on this machine, in the format of the downloaders of Have I Been Pwned.
#
# It is either a folder with a file for each range (`21BD1` or `21BD1.txt`, lines `SUFFIX:COUNT`), or one sorted file of
# all hashes (lines `HASH:COUNT`). Implements `freehold.auth.passwords.rules.BreachedPasswords`.

_MAX_RANGE_BYTES = 16 * 1024 * 1024
_MAX_LINE_BYTES = 100


@dataclass(frozen=True, slots=True)
class BreachFiles:
    """Reads the copy for each password, in a thread, so that it can be replaced while the service runs."""

    path: Path

    async def knows(self, password: str) -> bool:
        digest = digest_of(password)
        try:
            return await asyncio.to_thread(self._holds, digest)
        except OSError as error:
            log.warning("breached_passwords.unreadable", reason=type(error).__name__)
            return False

    def _holds(self, digest: str) -> bool:
        if not self.path.is_dir():
            with self.path.open("rb") as file:
                return _is_in_order(file, digest)
        prefix, suffix = digest[:PREFIX_CHARS], digest[PREFIX_CHARS:]
        for name in (prefix, f"{prefix}.txt", prefix.lower(), f"{prefix.lower()}.txt"):
            file_path = self.path / name
            if file_path.is_file():
                with file_path.open("rb") as file:
                    return is_listed(suffix, file.read(_MAX_RANGE_BYTES).decode("ascii", "replace"))
        return False


def _is_in_order(file: BinaryIO, digest: str) -> bool:
    """Binary search for the hash: some 40 short reads in a file of any size."""
    wanted = digest.encode()
    low, high = 0, file.seek(0, os.SEEK_END)
    while low < high:  # lines that start before `low` are too early
        middle = (low + high) // 2
        file.seek(middle)
        if middle:
            file.seek(middle - 1)
            file.readline(_MAX_LINE_BYTES)  # skip the rest of the previous line
        line = file.readline(_MAX_LINE_BYTES)
        found, _, times = line.strip().upper().partition(b":")
        if found == wanted:
            return times != b"0"
        if not line or found > wanted:
            high = middle
        else:
            low = max(middle + 1, file.tell())
    return False


# The format of "range" responses of Have I Been Pwned.
#
# A password is identified by the SHA-1 of its UTF-8 text in hexadecimal. The first five digits name a range; the
# response has a line `SUFFIX:COUNT` for each hash in it, where the suffix is the other 35 digits. A count of 0 is
# padding. Source: https://haveibeenpwned.com/API/v3#PwnedPasswords

PREFIX_CHARS = 5


def digest_of(password: str) -> str:
    """40 upper-case hexadecimal digits; they identify a password but do not protect it."""
    return hashlib.sha1(password.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest().upper()


def is_listed(suffix: str, lines: str) -> bool:
    """Whether a range response contains this (upper-case) suffix with a count that is not 0."""
    for line in lines.splitlines():
        found, _, times = line.strip().partition(":")
        if found.upper() == suffix:
            return times.strip() != "0"
    return False


_TIMEOUT_S = 2.0
_PAUSE_S = 30.0
_MAX_BYTES = 1024 * 1024  # a range has some 1,000 lines of 43 bytes, padded or not

log = get_logger()


class BreachService:
    """Queries a range service. After an error it allows every password for half a minute without asking again."""

    def __init__(
        self, http: httpx.AsyncClient, url: str, timeout_s: float = _TIMEOUT_S, clock: Callable[[], float] = monotonic
    ) -> None:
        """The five digits are appended to `url`, e.g. `https://api.pwnedpasswords.com/range/`."""
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
        # Padding hides the range from someone who sees the size of the response.
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
    """The service at this URL; it follows no redirects and sends only the range."""
    headers = {"user-agent": "freehold"}
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, headers=headers, trust_env=False, verify=public_tls()) as http:
        yield BreachService(http, url)
