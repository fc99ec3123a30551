"""HTTP calls to a Freehold service; every failure becomes one of our errors.

Responses are not trusted: they are read up to a number of bytes, regardless of compression.
"""

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from freehold.backoff import retry_after_s
from freehold.errors import (
    AppTooOld,
    Conflict,
    Forbidden,
    FreeholdError,
    InvalidInput,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from freehold.migrate.signature import RegistryTampered
from freehold.tenants.errors import DatabaseDeleted, DatabaseDeleting, DatabaseSuspended

# The only encoding we ask for. Decompressed here, because a few bytes may expand to very many.
PACKING: Final = "gzip"
_GZIP_WINDOW = 31


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete response. `content` is decompressed."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is a 2xx."""
        return HTTPStatus.OK <= self.status_code < HTTPStatus.MULTIPLE_CHOICES


T = TypeVar("T")

# The default for responses; and for an app's message, which people read.
_MOST_BYTES: Final = 1_048_576
_MOST_CHARS: Final = 2_000
_MOST_S: Final = 60.0

_KINDS: dict[int, type[FreeholdError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: InvalidInput,
    409: Conflict,
    410: NotFound,
    413: TooLarge,
    415: InvalidInput,
    422: InvalidInput,
    426: AppTooOld,
    431: TooLarge,
}
# Errors about the user's database; for other codes the status is enough.
_DATABASE_KINDS: dict[str, type[FreeholdError]] = {
    kind.code: kind for kind in (DatabaseSuspended, DatabaseDeleting, DatabaseDeleted)
}


# A body that is nested too deeply is not our response either.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Problem(msgspec.Struct):
    """Problem details, or the form of `/api/auth`: `code` with `message`. `reason` is why a database is suspended."""

    code: str | None = None
    detail: str | None = None
    message: str | None = None
    title: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """Sends requests to one service and reads its responses.

    `service` is its URL, without a trailing slash. `most_s` limits the time from the first byte sent to the last byte
    read: `http` limits each pause only, and a server that sends a byte now and then would never finish.
    """

    http: httpx.AsyncClient
    service: str
    most_s: float = _MOST_S

    async def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: object = None,
        params: Mapping[str, int | str] | None = None,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = _MOST_BYTES,
    ) -> Answer:
        """Return the response if it is a 2xx.

        Raises:
            DatabaseSuspended, DatabaseDeleting, DatabaseDeleted: the user's database cannot be used, or no longer.
            Unavailable: no response, one over `most_bytes` or later than `most_s`, or one that asks to come back later;
                `retry_after` is when, if the service says so.
            FreeholdError: the kind for the status, with the service's `code` and message.
        """
        request = self.http.build_request(
            method,
            f"{self.service}{path}",
            params=params,
            content=None if body is None else msgspec.json.encode(body),
            headers={"Accept": "application/json", "Accept-Encoding": PACKING, **(headers or {})},
        )
        if body is not None:
            request.headers["Content-Type"] = "application/json"
        # Only the bearer token identifies us: a cookie would cause origin checks.
        request.headers.pop("Cookie", None)
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        reply = await self._answer(request, most_bytes)
        if not reply.is_success:
            raise self._error_of(reply)
        return reply

    def read(self, reply: Answer, kind: type[T]) -> T:
        """Decode the body as this struct. Raises `Unavailable` if it is not a Freehold service's response."""
        try:
            return msgspec.json.decode(reply.content, type=kind)
        except _NOT_JSON as error:
            raise self._unexpected() from error

    async def _answer(self, request: httpx.Request, most_bytes: int) -> Answer:
        try:
            async with asyncio.timeout(self.most_s):
                reply = await self.http.send(request, stream=True)
                try:
                    return Answer(reply.status_code, reply.headers, await self._body(reply, most_bytes))
                finally:
                    await reply.aclose()
        except TimeoutError as error:
            raise Unavailable(
                f"{self.service} did not answer whole within {self.most_s:g} s; try again later"
            ) from error
        except httpx.TransportError as error:
            raise Unavailable(f"{self.service} does not answer ({type(error).__name__}); try again later") from error
        except (httpx.RequestError, zlib.error) as error:
            raise self._unexpected() from error

    async def _body(self, reply: httpx.Response, most_bytes: int) -> bytes:
        """Return the decompressed body; of one that is too large the rest is not read."""
        too_large = Unavailable(
            f"{self.service} answers more than the {most_bytes} bytes that an answer may have; check the URL"
        )
        if reply.is_stream_consumed:  # the caller's own transport has read and decompressed it
            if len(reply.content) > most_bytes:
                raise too_large
            return reply.content
        packing = reply.headers.get("Content-Encoding", "identity").strip().lower()
        unpack = zlib.decompressobj(_GZIP_WINDOW) if packing == PACKING else None
        if unpack is None and packing not in {"identity", ""}:
            raise self._unexpected()
        body = bytearray()
        async for chunk in reply.aiter_raw():
            body += chunk if unpack is None else unpack.decompress(chunk, most_bytes + 1 - len(body))
            if len(body) > most_bytes:
                raise too_large
        if unpack is not None and not unpack.eof:
            raise self._unexpected()
        return bytes(body)

    def _error_of(self, reply: Answer) -> FreeholdError:
        try:
            problem = msgspec.json.decode(reply.content, type=_Problem)
        except _NOT_JSON:
            problem = _Problem()
        message = (
            problem.detail or problem.message or problem.title or f"{self.service} answered {reply.status_code}"
        )[:_MOST_CHARS]
        if problem.code == RegistryTampered.code:
            return RegistryTampered(message)
        if problem.code == DatabaseSuspended.code:
            suspended = DatabaseSuspended(problem.reason or "")
            suspended.args = (message,)  # in the service's words, like all others
            return suspended
        kind = _DATABASE_KINDS.get(problem.code or "") or _KINDS.get(reply.status_code, Unavailable)
        error = kind(message)
        if problem.code:
            error.code = problem.code
        if isinstance(error, Unavailable):
            error.retry_after = retry_after_s(reply.headers)
        return error

    def _unexpected(self) -> Unavailable:
        return Unavailable(f"{self.service} does not answer as a Freehold service does; check the URL")


def service_url(url: str) -> str:
    """Return the URL without a trailing slash. Raises `InvalidInput` unless it is an absolute http or https URL."""
    try:
        urlsplit(url)  # stricter than httpx about bracketed addresses
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise InvalidInput("the service's URL cannot be read; give one like https://data.example.com") from error
    if parts.scheme not in {"http", "https"} or not parts.host or parts.query or parts.fragment or parts.userinfo:
        raise InvalidInput("the service's URL must be like https://data.example.com, without user or query")
    return str(parts).rstrip("/")


def pause_s(reply: Answer, otherwise: float) -> float:
    """Return how many seconds the service asks to wait, within reasonable limits."""
    told_s = retry_after_s(reply.headers)
    return otherwise if told_s is None else min(max(told_s, 0.05), 30.0)
