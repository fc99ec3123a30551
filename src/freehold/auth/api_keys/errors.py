"""Errors raised when creating, changing or using API keys."""

from freehold.errors import BetterAuth, Forbidden, InvalidInput, NotFound, RateLimited, Unauthenticated

_NEVER_S = 86_400


class ApiKeyNotFound(NotFound):
    """You have no such API key."""

    message = "you have no such API key"
    remedy = "Use an id from the list of your keys."
    better_auth = BetterAuth("KEY_NOT_FOUND", "API Key not found")


class TooManyApiKeys(InvalidInput):
    """The user already has the maximum number of API keys."""

    remedy = "Delete one first."
    better_auth = BetterAuth("TOO_MANY_API_KEYS", "Delete an API key before you make another")


class BadApiKeyName(InvalidInput):
    """The name of an API key must have 1 to 32 characters."""

    remedy = "Choose another name."
    better_auth = BetterAuth("INVALID_NAME_LENGTH", "The name length is either too large or too small.")


class BadApiKeyPrefix(InvalidInput):
    """The prefix of an API key may contain only letters, digits, `_` and `-`."""

    message = "a prefix has letters, digits, `_` and `-`"
    remedy = "Choose another prefix."
    better_auth = BetterAuth(
        "VALIDATION_ERROR",
        "[body.prefix] Invalid prefix format, must be alphanumeric and contain only underscores and hyphens.",
    )


class ApiKeyPrefixTooLong(InvalidInput):
    """The prefix of an API key must have at most 32 characters."""

    remedy = "Choose another prefix."
    better_auth = BetterAuth("INVALID_PREFIX_LENGTH", "The prefix length is either too large or too small.")


class ApiKeyLifeTooShort(InvalidInput):
    """An API key must be valid for at least a day."""

    message = "a key must be valid for at least a day"
    remedy = "Choose a later expiry."
    better_auth = BetterAuth("EXPIRES_IN_IS_TOO_SMALL", "The expiresIn is smaller than the predefined minimum value.")


class ApiKeyLifeTooLong(InvalidInput):
    """An API key may be valid for at most a year."""

    message = "a key may be valid for at most a year"
    remedy = "Choose an earlier expiry, or none."
    better_auth = BetterAuth("EXPIRES_IN_IS_TOO_LARGE", "The expiresIn is larger than the predefined maximum value.")


class BadApiKeyLimits(InvalidInput):
    """An API key's limit, refill or scope is not valid."""

    code = "bad_api_key_limits"
    remedy = "The message says what is wrong: change that option."
    where = "cli"


class InvalidApiKey(Unauthenticated):
    """The API key does not exist, or no longer does."""

    code = "invalid_api_key"
    message = "this API key is not valid"
    remedy = "Check it, or create another one."
    better_auth = BetterAuth("INVALID_API_KEY", "Invalid API key.")


class ApiKeyTooShort(InvalidApiKey):
    """The API key is too short to be valid."""

    remedy = "Check it, or create another one."
    better_auth = BetterAuth("INVALID_API_KEY", "Invalid API key.", "forbidden")


class ApiKeyDisabled(InvalidApiKey):
    """The API key is disabled."""

    code = "api_key_disabled"
    message = "this API key is disabled"
    remedy = "Its owner can enable it."
    better_auth = BetterAuth("KEY_DISABLED", "API Key is disabled")


class ApiKeyExpired(InvalidApiKey):
    """The API key has expired."""

    code = "api_key_expired"
    message = "this API key has expired"
    remedy = "Create another one."
    better_auth = BetterAuth("KEY_EXPIRED", "API Key has expired")


class ApiKeyUsedUp(RateLimited):
    """All uses of the API key are used up, until its next refill if it has one.

    `retry_after_s` is the time until the next refill; `is_final` means that there is none.
    """

    code = "api_key_used_up"
    remedy = "Try again after `Retry-After` seconds, or use another key."
    better_auth = BetterAuth("USAGE_EXCEEDED", "API Key has reached its usage limit")

    def __init__(self, retry_after_s: int | None) -> None:
        super().__init__(retry_after_s or _NEVER_S)
        self.is_final = retry_after_s is None


class ApiKeyRateLimited(RateLimited):
    """The API key was used more often than its own limit allows."""

    code = "api_key_rate_limited"
    remedy = "Try again after `Retry-After` seconds."
    better_auth = BetterAuth("RATE_LIMITED", "Rate limit exceeded.")

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(-(-retry_after_ms // 1000))
        self.retry_after_ms = retry_after_ms


class ScopeMissing(Forbidden):
    """The API key is valid, but its scopes do not allow this."""

    code = "scope_missing"
    remedy = "Use a key that has the scope that the message names."
