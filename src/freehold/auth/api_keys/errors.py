"""What making and using API keys refuses."""

from freehold.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from freehold.limiting import RateLimited

_NEVER_S = 86_400


class ApiKeyNotFound(NotFound):
    """No such API key, or somebody else's."""

    code = "api_key_not_found"


class TooManyApiKeys(Conflict):
    """A user has as many API keys as anybody may have."""

    code = "too_many_api_keys"


class BadApiKeyName(InvalidInput):
    code = "bad_api_key_name"


class BadApiKeyPrefix(InvalidInput):
    code = "bad_api_key_prefix"


class ApiKeyPrefixTooLong(InvalidInput):
    code = "api_key_prefix_too_long"


class ApiKeyLifeTooShort(InvalidInput):
    code = "api_key_life_too_short"


class ApiKeyLifeTooLong(InvalidInput):
    code = "api_key_life_too_long"


class BadApiKeyLimits(InvalidInput):
    """A limit, refill or scope that cannot be."""

    code = "bad_api_key_limits"


class InvalidApiKey(Unauthenticated):
    """No such API key."""

    code = "invalid_api_key"


class ApiKeyTooShort(InvalidApiKey):
    """Too short to be anybody's."""


class ApiKeyDisabled(InvalidApiKey):
    code = "api_key_disabled"


class ApiKeyExpired(InvalidApiKey):
    code = "api_key_expired"


class ApiKeyUsedUp(RateLimited):
    """All its uses are taken; `retry_after_s` is when there are new ones, if ever."""

    code = "api_key_used_up"

    def __init__(self, retry_after_s: int | None) -> None:
        super().__init__(retry_after_s or _NEVER_S)
        self.is_final = retry_after_s is None


class ApiKeyRateLimited(RateLimited):
    """Used more often than its own limit allows."""

    code = "api_key_rate_limited"

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(-(-retry_after_ms // 1000))
        self.retry_after_ms = retry_after_ms


class ScopeMissing(Forbidden):
    """A valid API key whose scopes do not allow this."""

    code = "scope_missing"
