"""Calls of Turso's Platform API, with time limits and retries after failures that may soon be over.

Every call may be repeated: names are chosen beforehand, so that "already exists" and "not found" show what an
earlier try has done. Source for what is worth repeating: Turso's command line tool (408, 429, 5xx, no answer).
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx
import msgspec

from freehold.backoff import Backoff, retry_after_s
from freehold.errors import ProviderRefuses, ProviderUnavailable
from freehold.tls import public_tls

_BACKOFF = Backoff(base_s=0.2, cap_s=5.0)
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=15.0)
_AGAIN = frozenset({408, 425, 429})
_SHOWN_CHARS = 200
# Failures that only the operator of this service can resolve.
_REFUSALS = {
    401: "Turso does not accept TURSO_API_TOKEN; make a new one with `turso auth api-tokens mint`",
    402: "Turso wants another plan for this",
    403: "TURSO_API_TOKEN does not allow this in TURSO_ORGANIZATION",
}


class Answer(msgspec.Struct, frozen=True):
    """A usable answer: success, or a refusal that the caller handles. `error` is "" for success."""

    status: int
    body: bytes
    error: str = ""

    @property
    def is_done(self) -> bool:
        return self.status < 300

    @property
    def is_missing(self) -> bool:
        return self.status == 404

    @property
    def says_exists(self) -> bool:
        """Whether the name is taken: 409, 400 and 422 have all been seen for it."""
        return self.status == 409 or (
            self.status in {400, 422} and any(text in self.error for text in ("already exists", "not available"))
        )


class PlatformApi:
    """One client for the process. `give_up_s` bounds a call with all its repetitions."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        give_up_s: float = 30.0,
        random: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._token = token
        self._give_up_s = give_up_s
        self._random = random
        self._sleep = sleep
        self._paused_until = 0.0
        self.failed_at = 0.0  # when an answer last failed to come, on the monotonic clock
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            headers={"authorization": f"Bearer {token}", "user-agent": "freehold"},
            timeout=_TIMEOUT,
            limits=_LIMITS,
            follow_redirects=False,  # a redirect would carry the token to someone else
            trust_env=False,
            verify=public_tls(),
        )

    async def call(
        self, method: str, path: str, *, body: object = None, params: Mapping[str, str] | None = None
    ) -> Answer:
        """One call, repeated until it is answered or its time is up.

        Raises:
            ProviderUnavailable: no answer; or `ProviderRefuses`, if only the operator can resolve it.
        """
        if (pause_s := self._paused_until - time.monotonic()) > self._give_up_s:
            raise ProviderUnavailable(f"Turso's API asked not to be called for another {pause_s:.0f} s")
        until = time.monotonic() + self._give_up_s
        failures = 0
        while True:
            reply, reason = await self._try(method, path, body, params)
            if reply is not None and not _is_worth_repeating(reply.status_code):
                return self._meaning(reply)
            failures += 1
            self.failed_at = time.monotonic()
            delay_s = _BACKOFF.delay_s(failures, self._random)
            if reply is not None and (asked_s := retry_after_s(reply.headers)) is not None:
                delay_s = asked_s + delay_s / 4  # so that not all calls with the same answer return at the same time
                # They all count against one limit, so all calls wait.
                self._paused_until = max(self._paused_until, time.monotonic() + asked_s)
            if time.monotonic() + delay_s > until:
                what = f"Turso's API does not answer as it should ({reason})"
                raise ProviderUnavailable(f"{what}; tried {failures} times")
            await self._sleep(delay_s)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _try(
        self, method: str, path: str, body: object, params: Mapping[str, str] | None
    ) -> tuple[httpx.Response | None, str]:
        """The answer or None, and a text that says what was wrong."""
        pause_s = self._paused_until - time.monotonic()
        if pause_s > 0:
            await self._sleep(pause_s * (1 + self._random() / 4))
        try:
            reply = await self._http.request(
                method,
                path,
                # No body if there is nothing to send: an empty one changes what a token may do.
                content=None if body is None else msgspec.json.encode(body),
                headers={} if body is None else {"content-type": "application/json"},
                params=params,
            )
        except (httpx.TransportError, httpx.DecodingError) as error:
            # Not the error's own text: it may hold the URL.
            return None, type(error).__name__
        return reply, f"HTTP status {reply.status_code}"

    def _meaning(self, reply: httpx.Response) -> Answer:
        status = reply.status_code
        if status < 300:
            return Answer(status, reply.content)
        text = self._error_text(reply)
        if status in _REFUSALS:
            raise ProviderRefuses(f"{_REFUSALS[status]} ({text})" if text else _REFUSALS[status])
        if status == 404 and "organization" in text:
            raise ProviderRefuses(f"Turso knows no organization of the name in TURSO_ORGANIZATION ({text})")
        if status in {400, 404, 409, 422}:
            return Answer(status, b"", text or f"HTTP status {status}")
        raise ProviderUnavailable(f"Turso's API answered with HTTP status {status}: {text}")

    def _error_text(self, reply: httpx.Response) -> str:
        """The API's own error message; an HTML page has none."""
        try:
            told = msgspec.json.decode(reply.content, type=dict[str, Any]).get("error", "")
        except msgspec.MsgspecError:
            return ""
        text = told if isinstance(told, str) else msgspec.json.encode(told).decode()
        return " ".join(text.split())[:_SHOWN_CHARS].replace(self._token, "***")


def _is_worth_repeating(status: int) -> bool:
    return status in _AGAIN or status >= 500


# The answers of Turso's Platform API, as far as we read them. Source: its OpenAPI description, 2026-06.


class Parent(msgspec.Struct, frozen=True):
    """The database that another one was branched from."""

    id: str = ""
    name: str = ""


class RemoteDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """A database as in `show` and `list`; `create` returns only the first three fields."""

    name: str = msgspec.field(name="Name")
    db_id: str = msgspec.field(name="DbId")
    hostname: str = msgspec.field(name="Hostname")
    group: str = ""
    block_reads: bool = False
    block_writes: bool = False
    parent: Parent | None = None


class DatabaseAnswer(msgspec.Struct, frozen=True):
    database: RemoteDatabase


class Pagination(msgspec.Struct, frozen=True):
    """Not documented; sent by a newer form of the API. `next` is absent or null on the last page."""

    next: str | None = None


class DatabasesAnswer(msgspec.Struct, frozen=True):
    databases: list[RemoteDatabase] | None = None
    pagination: Pagination | None = None


class Group(msgspec.Struct, frozen=True):
    name: str


class GroupsAnswer(msgspec.Struct, frozen=True):
    groups: list[Group] | None = None


class TokenAnswer(msgspec.Struct, frozen=True):
    jwt: str


Form = TypeVar("Form")


def decoded(body: bytes, form: type[Form]) -> Form:
    """The decoded answer. Raises `ProviderUnavailable` if it does not have this form."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.MsgspecError as error:
        # Not the body: it may hold a token.
        raise ProviderUnavailable(
            f"Turso's API answered in a form that is not its own: {error}; is TURSO_API_URL right?"
        ) from error
