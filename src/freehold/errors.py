"""The kinds of errors that Freehold raises on purpose; each error is a subclass of one of them.

FreeholdError                  never raised itself
├── InvalidInput               the request is not valid
├── Unauthenticated            the credentials are missing or not valid
├── Forbidden                  valid credentials that do not allow this
├── NotFound                   it does not exist, or the caller may not see it
├── Conflict                   the request conflicts with the current state
├── AppTooOld                  the app has to be updated
├── TooLarge                   over a limit
├── RateLimited                too often; `retry_after_s` says when to come back
└── Unavailable                something is not responding; the same call may work later
    ├── CentralUnavailable     the central database
    └── ProviderUnavailable    the place where tenant databases live
        └── ProviderRefuses    it answers, and refuses our settings

A class describes its error completely: `code` for programs, `kind`, `message`; and for docs/errors.md, what it
means in the first paragraph of its docstring, and what to do in `remedy`. Nothing here knows HTTP:
`http/problems.py` has a status for each kind, `http/auth/replies.py` answers in better-auth's words, and
`cli/context.py` has the exit codes.
"""

from typing import ClassVar, Literal, NamedTuple

Kind = Literal[
    "invalid",
    "unauthenticated",
    "forbidden",
    "not found",
    "conflict",
    "taken",
    "gone",
    "outdated",
    "too large",
    "too many",
    "wrong method",
    "wrong type",
    "timed out",
    "internal",
    "unavailable",
]
"""The kind of failure, which decides the status and the exit code."""


Where = Literal["http", "cli", "sdk"]
"""Where the error can occur: in the service, at the command line only, or in the SDK only."""


class BetterAuth(NamedTuple):
    """An error as `/api/auth` returns it: like better-auth, whose clients know these codes.

    Without a `message`, the error's own is used. `kind` is set if better-auth's differs.
    """

    code: str
    message: str | None = None
    kind: Kind | None = None


class FreeholdError(Exception):
    """Something expected went wrong. `str(error)` says what happened and what to do; it contains no secret.

    A class with its own `code` is listed in docs/errors.md; others use their parent's, as do those that only
    `/api/auth` returns, which have `better_auth` instead.
    """

    code = "error"  # clients switch on this; never rename one
    kind: ClassVar[Kind] = "internal"
    message: ClassVar[str] = ""  # unless another is given
    remedy: ClassVar[str] = ""
    better_auth = BetterAuth("INTERNAL_SERVER_ERROR", "Internal Server Error", "internal")  # of those without their own
    where: ClassVar[Where] = "http"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.message)


class InvalidInput(FreeholdError):
    """The request is not valid."""

    code = "invalid_input"
    kind: ClassVar[Kind] = "invalid"
    remedy = "The message, or `faults`, says why: change the request."


class Unauthenticated(FreeholdError):
    """The credentials are missing or no longer valid."""

    code = "unauthenticated"
    kind: ClassVar[Kind] = "unauthenticated"
    remedy = "Sign in."


class Forbidden(FreeholdError):
    """The credentials are valid but do not allow this."""

    code = "forbidden"
    kind: ClassVar[Kind] = "forbidden"
    remedy = "Ask someone who is allowed to, or ask for permission."


class NotFound(FreeholdError):
    """It does not exist, or you may not see it."""

    code = "not_found"
    kind: ClassVar[Kind] = "not found"
    remedy = "Check the name or id, and who owns it."


class Conflict(FreeholdError):
    """The request conflicts with the current state."""

    code = "conflict"
    kind: ClassVar[Kind] = "conflict"
    remedy = "Check the current state; the message says what the conflict is."


class AppTooOld(FreeholdError):
    """The database's schema needs a newer app than this one."""

    code = "app_too_old"
    kind: ClassVar[Kind] = "outdated"
    remedy = "Update the app."


class TooLarge(FreeholdError):
    """A body, result or database is over its limit."""

    code = "too_large"
    kind: ClassVar[Kind] = "too large"
    remedy = "Send or ask for less; the message has the limit."


class RateLimited(FreeholdError):
    """Too many requests."""

    code = "rate_limited"
    kind: ClassVar[Kind] = "too many"
    remedy = "Try again after `Retry-After` seconds."
    better_auth = BetterAuth("", "Too many requests. Please try again later.")

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many requests; try again in {retry_after_s} seconds")
        self.retry_after_s = retry_after_s


class Unavailable(FreeholdError):
    """Something that the service depends on is not responding.

    `retry_after` is the number of seconds until the same call may work, if known.
    """

    code = "unavailable"
    kind: ClassVar[Kind] = "unavailable"
    remedy = "Try again after `Retry-After` seconds."
    retry_after: float | None = None


class CentralUnavailable(Unavailable):
    """The central database is not responding or cannot write."""

    code = "central_unavailable"
    remedy = "Try again after `Retry-After` seconds."


class ProviderUnavailable(Unavailable):
    """Tenant databases cannot be reached or created right now."""

    code = "provider_unavailable"
    remedy = "Try again after `Retry-After` seconds."


class ProviderRefuses(ProviderUnavailable):
    """The provider answers but rejects the settings, such as a token: only the operator can change that."""
