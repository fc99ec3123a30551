"""What `/api/auth` answers: replies that cost little, and errors in better-auth's shape."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.response.base import ASGIResponse
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

from freehold.auth.api_keys.errors import (
    ApiKeyDisabled,
    ApiKeyExpired,
    ApiKeyLifeTooLong,
    ApiKeyLifeTooShort,
    ApiKeyNotFound,
    ApiKeyPrefixTooLong,
    ApiKeyTooShort,
    BadApiKeyName,
    BadApiKeyPrefix,
    InvalidApiKey,
    TooManyApiKeys,
)
from freehold.auth.errors import (
    AccountNotFound,
    AdminsActAsThemselves,
    AdminSessionGone,
    BadAccessToken,
    BadLink,
    BadRefreshToken,
    Banned,
    CannotBanYourself,
    CannotRemoveYourself,
    CodeExpired,
    EmailMismatch,
    EmailNotVerified,
    EmailTaken,
    EmailVerified,
    InvalidEmail,
    IsGuest,
    LastAccount,
    LinkExpired,
    MailRefused,
    NoPassword,
    NoSuchUser,
    NotAGuest,
    NotImpersonating,
    PasswordCompromised,
    PasswordTooLong,
    PasswordTooPredictable,
    PasswordTooShort,
    SameEmail,
    SessionNotFresh,
    TooManyTries,
    WrongCode,
    WrongCredentials,
    WrongPassword,
)
from freehold.auth.social.errors import UnknownProvider
from freehold.errors import FreeholdError, Unavailable
from freehold.http.page_origins import hint_for_refusal
from freehold.http.problems import CLIENT_LEFT
from freehold.limiting import RateLimited
from freehold.log import get_logger

log = get_logger()

HeaderPairs = tuple[tuple[bytes, bytes], ...]

_JSON: HeaderPairs = ((b"content-type", b"application/json"),)
NO_STORE: HeaderPairs = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_RETRY_AFTER: HeaderPairs = ((b"retry-after", b"2"),)

encode = msgspec.json.Encoder().encode

_KNOWN: dict[type[FreeholdError], tuple[int, str | None, str]] = {
    EmailTaken: (422, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL", "User already exists. Use another email."),
    InvalidEmail: (400, "INVALID_EMAIL", "Invalid email"),
    PasswordTooShort: (400, "PASSWORD_TOO_SHORT", "Password too short"),
    PasswordTooLong: (400, "PASSWORD_TOO_LONG", "Password too long"),
    PasswordCompromised: (
        400,
        "PASSWORD_COMPROMISED",
        "The password you entered has been compromised. Please choose a different password.",
    ),
    PasswordTooPredictable: (
        400,
        "PASSWORD_TOO_PREDICTABLE",
        "Choose a password without your name, your address, or the name of this app",
    ),
    BadLink: (400, "INVALID_TOKEN", "Invalid token"),
    LinkExpired: (401, "TOKEN_EXPIRED", "Token expired"),
    EmailNotVerified: (403, "EMAIL_NOT_VERIFIED", "Email not verified"),
    WrongCode: (400, "INVALID_OTP", "Invalid OTP"),
    CodeExpired: (400, "OTP_EXPIRED", "OTP expired"),
    TooManyTries: (403, "TOO_MANY_ATTEMPTS", "Too many attempts"),
    WrongPassword: (400, "INVALID_PASSWORD", "Invalid password"),
    NoPassword: (400, "CREDENTIAL_ACCOUNT_NOT_FOUND", "Credential account not found"),
    SameEmail: (400, None, "Email is the same"),
    EmailMismatch: (400, "EMAIL_MISMATCH", "Email mismatch"),
    EmailVerified: (400, "EMAIL_ALREADY_VERIFIED", "Email is already verified"),
    SessionNotFresh: (403, "SESSION_NOT_FRESH", "Session is not fresh"),
    MailRefused: (400, "MAIL_REFUSED", "The mail server takes no mail for this address"),
    WrongCredentials: (401, "INVALID_EMAIL_OR_PASSWORD", "Invalid email or password"),
    UnknownProvider: (404, "PROVIDER_NOT_FOUND", "Provider not found"),
    LastAccount: (400, "FAILED_TO_UNLINK_LAST_ACCOUNT", "You can't unlink your last account"),
    AccountNotFound: (400, "ACCOUNT_NOT_FOUND", "Account not found"),
    IsGuest: (
        400,
        "ANONYMOUS_USERS_CANNOT_SIGN_IN_AGAIN_ANONYMOUSLY",
        "Anonymous users cannot sign in again anonymously",
    ),
    NotAGuest: (403, "USER_IS_NOT_ANONYMOUS", "User is not anonymous"),
    ApiKeyNotFound: (404, "KEY_NOT_FOUND", "API Key not found"),
    TooManyApiKeys: (400, "TOO_MANY_API_KEYS", "Delete an API key before you make another"),
    BadApiKeyName: (400, "INVALID_NAME_LENGTH", "The name length is either too large or too small."),
    BadApiKeyPrefix: (
        400,
        "VALIDATION_ERROR",
        "[body.prefix] Invalid prefix format, must be alphanumeric and contain only underscores and hyphens.",
    ),
    ApiKeyPrefixTooLong: (
        400,
        "INVALID_PREFIX_LENGTH",
        "The prefix length is either too large or too small.",
    ),
    ApiKeyLifeTooShort: (
        400,
        "EXPIRES_IN_IS_TOO_SMALL",
        "The expiresIn is smaller than the predefined minimum value.",
    ),
    ApiKeyLifeTooLong: (
        400,
        "EXPIRES_IN_IS_TOO_LARGE",
        "The expiresIn is larger than the predefined maximum value.",
    ),
    ApiKeyTooShort: (403, "INVALID_API_KEY", "Invalid API key."),
    InvalidApiKey: (401, "INVALID_API_KEY", "Invalid API key."),
    ApiKeyDisabled: (401, "KEY_DISABLED", "API Key is disabled"),
    ApiKeyExpired: (401, "KEY_EXPIRED", "API Key has expired"),
    BadAccessToken: (401, "INVALID_TOKEN", "Invalid or expired token"),
    BadRefreshToken: (401, "INVALID_REFRESH_TOKEN", "Invalid or expired refresh token"),
    NoSuchUser: (404, "USER_NOT_FOUND", "User not found"),
    CannotBanYourself: (400, "YOU_CANNOT_BAN_YOURSELF", "You cannot ban yourself"),
    CannotRemoveYourself: (400, "YOU_CANNOT_REMOVE_YOURSELF", "You cannot remove yourself"),
    AdminsActAsThemselves: (403, "YOU_CANNOT_IMPERSONATE_ADMINS", "You cannot impersonate admins"),
    NotImpersonating: (400, "", "You are not impersonating anyone"),
    AdminSessionGone: (400, "", "Failed to find admin session"),
    Banned: (
        403,
        "BANNED_USER",
        "You have been banned from this application. Please contact support if you believe this is an error.",
    ),
}


class AuthReply(ASGIResponse):
    """A finished answer. A third of Litestar's own response in cost, which get-session would notice."""

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
        body: HTTPResponseBodyEvent = {
            "type": "http.response.body",
            "body": self._body,
            "more_body": False,
        }
        await send(start)
        await send(body)

    def to_asgi_response(self, *_: Any, **__: Any) -> "AuthReply":
        """Asked for where an exception handler gave the reply; it is one already."""
        return self


class Refusal(Exception):
    """An answer other than 200, in better-auth's words. A few have no code, and one has no body at all."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        headers: HeaderPairs = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers
        self.more = more or {}


def json_reply(
    content: Any, headers: HeaderPairs = (), set_cookies: Iterable[str] = (), *, status: int = 200
) -> AuthReply:
    cookies = tuple((b"set-cookie", cookie.encode()) for cookie in set_cookies)
    return AuthReply(encode(content), status=status, headers=_JSON + headers + cookies)


def redirect(location: str, headers: HeaderPairs = (), set_cookies: Iterable[str] = ()) -> AuthReply:
    """302 for a browser, to where it is known to be safe."""
    cookies = tuple((b"set-cookie", cookie.encode()) for cookie in set_cookies)
    return AuthReply(status=302, headers=(*_JSON, leading_to(location), *headers, *cookies))


def leading_to(url: str) -> tuple[bytes, bytes]:
    """The header `Location`."""
    return b"location", quote(url, safe="/:?#[]@!$&'()*+,;=%~-._").encode()


def not_found() -> AuthReply:
    """Unknown path, wrong method, trailing slash: no body at all."""
    return AuthReply(status=404, headers=())


def too_many(retry_after_s: int) -> AuthReply:
    """429 in better-auth's words: a header of its own, and no code."""
    seconds = str(retry_after_s).encode()
    return AuthReply(
        encode({"message": "Too many requests. Please try again later."}),
        status=429,
        headers=(*_JSON, (b"x-retry-after", seconds), (b"retry-after", seconds)),
    )


def auth_status_of(kind: type[FreeholdError]) -> int:
    """The status with which `/api/auth` answers to this kind of error."""
    if issubclass(kind, Unavailable):
        return 503
    if issubclass(kind, RateLimited):
        return 429
    known = _KNOWN.get(kind)
    return 500 if known is None else known[0]


def _refused(request: Request[Any, Any, Any], refusal: Refusal) -> AuthReply:
    message = refusal.message
    if refusal.code == "UNAUTHORIZED" and (hint := hint_for_refusal(request.scope)):
        message = f"{message}: {hint}"
    told = {"message": message, "code": refusal.code, **refusal.more}
    body = encode({name: value for name, value in told.items() if value}) if refusal.message else b""
    return AuthReply(body, status=refusal.status, headers=_JSON + refusal.headers)


def _from_domain(request: Request[Any, Any, Any], error: FreeholdError) -> AuthReply:
    if isinstance(error, Unavailable):
        log.warning("request.unavailable", code=error.code, reason=str(error), cause=repr(error.__cause__))
        return _refused(request, Refusal(503, error.code.upper(), str(error), _RETRY_AFTER))
    if isinstance(error, RateLimited):
        return too_many(error.retry_after_s)
    found = _KNOWN.get(type(error))
    if found is None:
        return _from_bug(request, error)
    return _refused(request, Refusal(*found))


def _from_framework(request: Request[Any, Any, Any], error: HTTPException) -> AuthReply:
    if error.detail == CLIENT_LEFT:
        return _refused(request, Refusal(400, "BAD_REQUEST", "Incomplete request body"))
    if error.status_code >= 500:
        return _from_bug(request, error)
    if error.status_code == 413:
        return _refused(request, Refusal(413, "PAYLOAD_TOO_LARGE", "Request body is too large"))
    return _refused(request, Refusal(error.status_code, "BAD_REQUEST", "Bad request"))


def _from_bug(request: Request[Any, Any, Any], error: Exception) -> AuthReply:
    log.error("request.failed", path=request.url.path, exc_info=error)
    return _refused(request, Refusal(500, "INTERNAL_SERVER_ERROR", "Internal Server Error"))


# For the routes of `/api/auth`, instead of problem details.
EXCEPTION_HANDLERS: dict[type[Exception] | int, Any] = {
    Refusal: _refused,
    FreeholdError: _from_domain,
    HTTPException: _from_framework,
    Exception: _from_bug,
}
