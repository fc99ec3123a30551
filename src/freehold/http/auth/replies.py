"""Replies of `/api/auth`: cheap to make, with errors in better-auth's form."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from litestar.exceptions import HTTPException
from litestar.response.base import ASGIResponse
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

from freehold.errors import FreeholdError, RateLimited, Unavailable
from freehold.http.auth.errors import BadRequest, BodyTooLarge, SignedOut
from freehold.http.headers import Asked
from freehold.http.page_origins import hint_for_refusal
from freehold.http.problems import CLIENT_LEFT, STATUS
from freehold.log import get_logger

log = get_logger()

HeaderPairs = tuple[tuple[bytes, bytes], ...]

_JSON: HeaderPairs = ((b"content-type", b"application/json"),)
NO_STORE: HeaderPairs = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_RETRY_AFTER: HeaderPairs = ((b"retry-after", b"2"),)

encode = msgspec.json.Encoder().encode


class AuthReply(ASGIResponse):
    """A finished response. It costs a third of Litestar's own, which matters to get-session."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, body: bytes = b"", *, status: int = 200, headers: HeaderPairs = _JSON) -> None:
        self._body = body
        self._status = status
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        length = (b"content-length", str(len(self._body)).encode())
        start: HTTPResponseStartEvent = {
            "type": "http.response.start",
            "status": self._status,
            "headers": [*self._headers, length],
        }
        body: HTTPResponseBodyEvent = {"type": "http.response.body", "body": self._body, "more_body": False}
        await send(start)
        await send(body)

    def to_asgi_response(self, *_: Any, **__: Any) -> "AuthReply":
        """Return itself; the framework calls this on what an exception handler returns."""
        return self


def json_reply(
    content: Any, headers: HeaderPairs = (), set_cookies: Iterable[str] = (), *, status: int = 200
) -> AuthReply:
    cookies = tuple((b"set-cookie", cookie.encode()) for cookie in set_cookies)
    return AuthReply(encode(content), status=status, headers=_JSON + headers + cookies)


def redirect(location: str, headers: HeaderPairs = (), set_cookies: Iterable[str] = ()) -> AuthReply:
    """A 302 to a location that is known to be safe."""
    cookies = tuple((b"set-cookie", cookie.encode()) for cookie in set_cookies)
    return AuthReply(status=302, headers=(*_JSON, leading_to(location), *headers, *cookies))


def leading_to(url: str) -> tuple[bytes, bytes]:
    """The header `Location`."""
    return b"location", quote(url, safe="/:?#[]@!$&'()*+,;=%~-._").encode()


def not_found() -> AuthReply:
    """A 404 without a body, for an unknown path, a wrong method or a trailing slash."""
    return AuthReply(status=404, headers=())


def too_many(retry_after_s: int) -> AuthReply:
    """A 429 as better-auth sends it: with a header of its own, and without a code."""
    seconds = str(retry_after_s).encode()
    return AuthReply(
        encode({"message": RateLimited.better_auth.message}),
        status=429,
        headers=(*_JSON, (b"x-retry-after", seconds), (b"retry-after", seconds)),
    )


def auth_status_of(kind: type[FreeholdError]) -> int:
    """The status of this kind of error in `/api/auth`."""
    return STATUS["unavailable" if issubclass(kind, Unavailable) else kind.better_auth.kind or kind.kind]


def refused(scope: Scope, error: FreeholdError, headers: HeaderPairs = (), **more: Any) -> AuthReply:
    """The reply to an error in better-auth's words; an error that has none becomes an internal error."""
    words = error.better_auth
    message = str(error) if words.message is None else words.message
    return _reply(scope, auth_status_of(type(error)), words.code, message, headers=headers, more=more)


def _reply(
    scope: Scope,
    status: int,
    code: str,
    message: str,
    *,
    headers: HeaderPairs = (),
    more: Mapping[str, Any] | None = None,
) -> AuthReply:
    if code == SignedOut.better_auth.code and (hint := hint_for_refusal(scope)):
        message = f"{message}: {hint}"
    told = {"message": message, "code": code, **(more or {})}
    body = encode({name: value for name, value in told.items() if value}) if message else b""
    return AuthReply(body, status=status, headers=_JSON + headers)


def _from_domain(request: Asked, error: FreeholdError) -> AuthReply:
    if isinstance(error, Unavailable):
        log.warning("request.unavailable", code=error.code, reason=str(error), cause=repr(error.__cause__))
        return _reply(request.scope, 503, error.code.upper(), str(error), headers=_RETRY_AFTER)
    if isinstance(error, RateLimited):
        return too_many(error.retry_after_s)
    if auth_status_of(type(error)) == STATUS["internal"]:
        return _from_bug(request, error)
    return refused(request.scope, error)


def _from_framework(request: Asked, error: HTTPException) -> AuthReply:
    if error.detail == CLIENT_LEFT:
        return refused(request.scope, BadRequest("Incomplete request body"))
    if error.status_code >= 500:
        return _from_bug(request, error)
    if error.status_code == 413:
        return refused(request.scope, BodyTooLarge())
    return _reply(request.scope, error.status_code, BadRequest.better_auth.code, BadRequest.message)


def _from_bug(request: Asked, error: Exception) -> AuthReply:
    log.error("request.failed", path=request.url.path, exc_info=error)
    return refused(request.scope, FreeholdError())


# Used by `/api/auth` instead of problem details.
EXCEPTION_HANDLERS: dict[type[Exception] | int, Any] = {
    FreeholdError: _from_domain,
    HTTPException: _from_framework,
    Exception: _from_bug,
}
