"""Every error Freehold raises on purpose, in its own words. `http/problems.py` and `cli/` map them once."""


class FreeholdError(Exception):
    """Something expected went wrong. `str(error)` says what happened and what to do; it holds no secret."""

    code = "error"  # clients switch on this; never rename one


class InvalidInput(FreeholdError):
    """What was sent cannot be used as it is."""

    code = "invalid_input"


class Unauthenticated(FreeholdError):
    """No credentials, or credentials that are not valid (any more)."""

    code = "unauthenticated"


class Forbidden(FreeholdError):
    """Valid credentials that do not allow this."""

    code = "forbidden"


class NotFound(FreeholdError):
    """No such thing, or none that the caller may know of."""

    code = "not_found"


class Conflict(FreeholdError):
    """It contradicts what is already there."""

    code = "conflict"


class AppTooOld(FreeholdError):
    """The database's schema needs a newer app than this one: its user has to update it."""

    code = "app_too_old"


class TooLarge(FreeholdError):
    """A request, result or database over its limit."""

    code = "too_large"


class Unavailable(FreeholdError):
    """Something we depend on does not answer; the same call may work later.

    `retry_after` is how many seconds later, where that was said.
    """

    code = "unavailable"
    retry_after: float | None = None


class CentralUnavailable(Unavailable):
    """The central database does not answer or cannot write."""

    code = "central_unavailable"


class ProviderUnavailable(Unavailable):
    """The place where tenant databases live does not answer or cannot write."""

    code = "provider_unavailable"


class ProviderRefuses(ProviderUnavailable):
    """It answers, and does not know what the settings say, such as a token: only its operator can change that."""
