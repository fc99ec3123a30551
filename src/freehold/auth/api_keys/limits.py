"""How often a key may be used. Each use is taken in one transaction, so that no two take the same."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from freehold.auth.api_keys.errors import ApiKeyDisabled, ApiKeyExpired, ApiKeyRateLimited, ApiKeyUsedUp
from freehold.auth.api_keys.types import ApiKey
from freehold.dates import from_iso, to_iso

_MS = timedelta(milliseconds=1)


def check_usable(key: ApiKey, now: datetime) -> None:
    """Raises `ApiKeyDisabled` or `ApiKeyExpired`."""
    if not key.enabled:
        raise ApiKeyDisabled("this API key is disabled")
    if key.expires_at is not None and from_iso(key.expires_at) <= now:
        raise ApiKeyExpired("this API key has expired")


def used_once(key: ApiKey, now: datetime) -> ApiKey:
    """The key after one more use.

    Raises:
        ApiKeyDisabled, ApiKeyExpired: it is not to be used.
        ApiKeyUsedUp: no uses remain, until the next refill if there is one.
        ApiKeyRateLimited: used too often.
    """
    check_usable(key, now)
    key = _counted(_refilled(key, now), now)
    if key.remaining is not None:
        key = replace(key, remaining=key.remaining - 1)
    return replace(key, last_request=to_iso(now), updated_at=to_iso(now))


def _refilled(key: ApiKey, now: datetime) -> ApiKey:
    if key.remaining is None:
        return key
    retry_after_s = None
    if key.refill_interval and key.refill_amount:
        due = from_iso(key.last_refill_at or key.created_at) + key.refill_interval * _MS
        if due <= now:
            key = replace(key, remaining=key.refill_amount, last_refill_at=to_iso(now))
        retry_after_s = max(1, -(-(due - now) // timedelta(seconds=1)))
    if key.remaining is not None and key.remaining <= 0:
        raise ApiKeyUsedUp(retry_after_s)
    return key


def _counted(key: ApiKey, now: datetime) -> ApiKey:
    """One more of the uses that the window allows. They come back one by one, each after its share of the window.

    (better-auth gives all back at once, after a whole window without any use: whoever calls regularly, and is
    over the limit once, would wait for a day.)
    """
    most, window_ms = key.rate_limit_max, key.rate_limit_time_window
    if not key.rate_limit_enabled or most is None or not window_ms:
        return key
    passed_ms = window_ms if key.last_request is None else max(0, (now - from_iso(key.last_request)) // _MS)
    taken = max(0, key.request_count - passed_ms * most // window_ms)
    if taken >= most:
        raise ApiKeyRateLimited(max(1, -(-window_ms // max(most, 1)) - passed_ms))
    return replace(key, request_count=taken + 1)
