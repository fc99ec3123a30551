"""HTTP calls to a Freehold service; every failure in our words.

An answer is read to its end without trusting the sender: up to a number of bytes, however they were packed.
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

# The only packing that is asked for: unpacked here, since a few bytes may say that they are many.
PACKING: Final = "gzip"
_GZIP_WINDOW = 31


class TooLargeError(Exception):
    """The answer goes on beyond what it may have."""


class UnreadableError(Exception):
    """The answer is packed in another way than was asked for, or is cut short."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole. `content` is unpacked."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is a 2xx."""
        return HTTPStatus.OK <= self.status_code < HTTPStatus.MULTIPLE_CHOICES


async def answer_of(reply: httpx.Response, most_bytes: int) -> Answer:
    """The answer, when its body is not over the limit.

    Raises:
        TooLargeError: it has more; the rest is not read.
        UnreadableError: it cannot be unpacked.
        httpx.TransportError: it ends before its time.
    """
    return Answer(reply.status_code, reply.headers, await _body(reply, most_bytes))


async def _body(reply: httpx.Response, most_bytes: int) -> bytes:
    if reply.is_stream_consumed:  # the caller's own transport has read and unpacked it
        if len(reply.content) > most_bytes:
            raise TooLargeError
        return reply.content
    packing = reply.headers.get("Content-Encoding", "identity").strip().lower()
    unpack = zlib.decompressobj(_GZIP_WINDOW) if packing == PACKING else None
    if unpack is None and packing not in {"identity", ""}:
        raise UnreadableError
    body = bytearray()
    async for chunk in reply.aiter_raw():
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, most_bytes + 1 - len(body))
        except zlib.error as error:
            raise UnreadableError from error
        if len(body) > most_bytes:
            raise TooLargeError
    if unpack is not None and not unpack.eof:
        raise UnreadableError
    return bytes(body)


T = TypeVar("T")

# Of an answer, unless the caller expects a larger one; and of an app's message, which people read.
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
# What a service says of the user's database; of other codes the status tells enough.
_DATABASE_KINDS: dict[str, type[FreeholdError]] = {
    kind.code: kind for kind in (DatabaseSuspended, DatabaseDeleting, DatabaseDeleted)
}


# A body that is nested too deeply is not an answer of ours either.
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
    """Sends requests to one service and reads its answers.

    `service` is its URL, without a slash at the end. `most_s` is from the first byte sent to the last one read:
    `http` has a limit for each pause only, and someone who sends a byte now and then would never be done.
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
        """The answer, if it is a 2xx.

        Raises:
            DatabaseSuspended, DatabaseDeleting, DatabaseDeleted: nobody gets at the user's database (any more).
            Unavailable: no answer, one over `most_bytes` or not there within `most_s`, or one that says to come
                back later; `retry_after` is when, if that was told.
            FreeholdError: the kind that fits the status, with the service's `code` and message.
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
        # The bearer token is all that speaks for us: a cookie would bring origin checks with it.
        request.headers.pop("Cookie", None)
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        reply = await self._answer(request, most_bytes)
        if not reply.is_success:
            raise self._error_of(reply)
        return reply

    def read(self, reply: Answer, kind: type[T]) -> T:
        """The body as this struct. Raises `Unavailable` when the answer is not a Freehold service's."""
        try:
            return msgspec.json.decode(reply.content, type=kind)
        except _NOT_JSON as error:
            raise self._unexpected() from error

    async def _answer(self, request: httpx.Request, most_bytes: int) -> Answer:
        try:
            async with asyncio.timeout(self.most_s):
                reply = await self.http.send(request, stream=True)
                try:
                    return await answer_of(reply, most_bytes)
                finally:
                    await reply.aclose()
        except TimeoutError as error:
            raise Unavailable(
                f"{self.service} did not answer whole within {self.most_s:g} s; try again later"
            ) from error
        except TooLargeError as error:
            raise Unavailable(
                f"{self.service} answers more than the {most_bytes} bytes that an answer may have; check the URL"
            ) from error
        except httpx.TransportError as error:
            raise Unavailable(f"{self.service} does not answer ({type(error).__name__}); try again later") from error
        except (httpx.RequestError, UnreadableError) as error:
            raise self._unexpected() from error

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
    """The URL without a slash at the end. Raises `InvalidInput` unless it is an absolute http or https one."""
    try:
        urlsplit(url)  # stricter than httpx with addresses in brackets
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise InvalidInput("the service's URL cannot be read; give one like https://data.example.com") from error
    if parts.scheme not in {"http", "https"} or not parts.host or parts.query or parts.fragment or parts.userinfo:
        raise InvalidInput("the service's URL must be like https://data.example.com, without user or query")
    return str(parts).rstrip("/")


def pause_s(reply: Answer, otherwise: float) -> float:
    """How long the service asks to wait, within reason."""
    told_s = retry_after_s(reply.headers)
    return otherwise if told_s is None else min(max(told_s, 0.05), 30.0)
