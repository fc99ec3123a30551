"""Creates, lists, changes, deletes and verifies API keys. Only hashes of the keys are stored."""

import base64
import hashlib
import re
import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from msgspec import UNSET
from msgspec.structs import replace

from freehold.audit.origin import acting
from freehold.auth.api_keys.errors import (
    ApiKeyDisabled,
    ApiKeyExpired,
    ApiKeyLifeTooLong,
    ApiKeyLifeTooShort,
    ApiKeyPrefixTooLong,
    ApiKeyRateLimited,
    ApiKeyTooShort,
    ApiKeyUsedUp,
    BadApiKeyLimits,
    BadApiKeyName,
    BadApiKeyPrefix,
    InvalidApiKey,
)
from freehold.auth.api_keys.types import DAY_MS, ApiKey, ApiKeyChanges, ApiKeyPage, KeyHolder, NewApiKey
from freehold.auth.random_ids import random_id
from freehold.dates import from_iso, to_iso, utc_now
from freehold.errors import NotFound
from freehold.log import get_logger


class ApiKeyStore(Protocol):
    """API keys by hash. Every method raises `CentralUnavailable` when the database does not answer."""

    async def user_id_of(self, email: str) -> str | None:
        """The id of the user with this address (in lower case)."""

    async def add_api_key(self, key: ApiKey, key_hash: str, *, most: int, asked_by: str | None = None) -> None:
        """Raises `TooManyApiKeys` if the owner has `most`, `NotFound` if the owner or the session is gone."""

    async def api_keys_of(self, user_id: str, page: ApiKeyPage) -> tuple[Sequence[ApiKey], int]:
        """The user's keys on this page, oldest first by default, and the total number."""

    async def change_api_key(self, user_id: str, key_id: str, change: Callable[[ApiKey], ApiKey] | None) -> ApiKey:
        """The user's key, after applying `change` in one transaction if given. Raises `ApiKeyNotFound`."""

    async def delete_api_key(self, user_id: str, key_id: str) -> None:
        """Raises `ApiKeyNotFound`."""

    async def find_api_key(self, key_hash: str) -> KeyHolder | None:
        """The key and its owner, even if the key is disabled or expired."""

    async def use_api_key(self, key_hash: str, use: Callable[[ApiKey], ApiKey]) -> ApiKey | None:
        """The key after `use`, in one transaction that is rolled back if `use` raises. None if the key is gone."""

    async def forget_api_key(self, key_hash: str) -> None:
        """Delete the key; no error if it is already gone."""


KEY_LETTERS = 64
MAX_KEYS = 100
_MAX_TEXT = 200
_START_CHARACTERS = 6
_MAX_NAME = _MAX_PREFIX = 32
_PREFIX = re.compile(r"[A-Za-z0-9_-]+")
_SCOPE = re.compile(r"[a-z0-9_-]{1,32}")
_DAY_S = 86_400
_MIN_LIFE_S, _MAX_LIFE_S = _DAY_S, 365 * _DAY_S
_MAX_NUMBER = 2**53

log = get_logger()


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Manages users' keys and verifies the keys that callers send."""

    store: ApiKeyStore
    clock: Callable[[], datetime] = utc_now

    async def create(self, user_id: str, new: NewApiKey, *, asked_by: str | None = None) -> tuple[ApiKey, str]:
        """A new key and its text, which is not stored. `asked_by` is the session that asked for it.

        Raises:
            BadApiKeyName, BadApiKeyPrefix, ApiKeyPrefixTooLong, BadApiKeyLimits: bad input.
            ApiKeyLifeTooShort, ApiKeyLifeTooLong: less than a day, or more than a year.
            TooManyApiKeys: the user has `MAX_KEYS` already.
            NotFound: the user is gone, or that session has ended.
        """
        _check(new)
        now = self.clock()
        letters = "".join(secrets.choice(string.ascii_letters) for _ in range(KEY_LETTERS))
        text = f"{new.prefix or ''}{letters}"
        key = ApiKey(
            key_id=random_id(),
            name=new.name,
            start=text[:_START_CHARACTERS],
            reference_id=user_id,
            prefix=new.prefix,
            refill_interval=new.refill_interval_ms,
            refill_amount=new.refill_amount,
            rate_limit_max=new.rate_limit_max or 1000,
            rate_limit_time_window=new.rate_limit_window_ms or DAY_MS,
            remaining=new.remaining if new.remaining is not None else new.refill_amount,
            expires_at=_end(now, new.expires_in_s),
            created_at=to_iso(now),
            updated_at=to_iso(now),
            permissions=new.permissions,
            metadata=new.metadata,
        )
        await self.store.add_api_key(key, _hash(text), most=MAX_KEYS, asked_by=asked_by)
        log.info("api_key.created", user_id=user_id, key_id=key.key_id)
        return key, text

    async def owner(self, email: str) -> str:
        """The id of the user with this address. Raises `NotFound`."""
        user_id = await self.store.user_id_of(email.lower())
        if user_id is None:
            raise NotFound(f"there is no user with the address {email}")
        return user_id

    async def list(self, user_id: str, page: ApiKeyPage) -> tuple[Sequence[ApiKey], int]:
        """The user's keys on this page, and the total number."""
        return await self.store.api_keys_of(user_id, page)

    async def get(self, user_id: str, key_id: str) -> ApiKey:
        """The user's key. Raises `ApiKeyNotFound`, also for another user's key."""
        return await self.store.change_api_key(user_id, key_id, None)

    async def update(self, user_id: str, key_id: str, changes: ApiKeyChanges) -> ApiKey:
        """The key with these changes.

        Raises:
            ApiKeyNotFound: no such key of this user.
            BadApiKeyName, ApiKeyLifeTooShort, ApiKeyLifeTooLong: bad input.
        """
        if changes.name is not UNSET and not 1 <= len(changes.name) <= _MAX_NAME:
            raise BadApiKeyName(f"a name has 1 to {_MAX_NAME} characters")
        if changes.expires_in_s is not UNSET:
            _check_life(changes.expires_in_s)
        return await self.store.change_api_key(user_id, key_id, partial(_changed, changes, self.clock()))

    async def delete(self, user_id: str, key_id: str) -> None:
        """Revoke the key at once. Raises `ApiKeyNotFound`."""
        await self.store.delete_api_key(user_id, key_id)
        log.info("api_key.deleted", user_id=user_id, key_id=key_id)

    async def user_id_of(self, text: str) -> str | None:
        """The owner's id; None for an unknown key or a banned owner. Not counted as a use. Raises as `check_usable`."""
        found = await self.store.find_api_key(_hash(text)) if KEY_LETTERS <= len(text) <= _MAX_TEXT else None
        now = self.clock()
        if found is None or found.user.is_banned_at(now):
            return None
        check_usable(found.api_key, now)
        return found.user.user_id

    async def recognise(self, text: str) -> KeyHolder:
        """The key and its owner; counts as one use.

        Raises:
            InvalidApiKey: unknown, disabled or expired, or its owner is banned.
            ApiKeyUsedUp, ApiKeyRateLimited: no uses left, permanently or for now.
        """
        if len(text) < KEY_LETTERS:
            raise ApiKeyTooShort
        key_hash = _hash(text)
        # A read first: invalid keys must not take the write lock.
        found = await self.store.find_api_key(key_hash) if len(text) <= _MAX_TEXT else None
        now = self.clock()
        if found is None or found.user.is_banned_at(now):
            raise InvalidApiKey
        acting(found.user.user_id)
        try:
            check_usable(found.api_key, now)
            key = await self.store.use_api_key(key_hash, partial(used_once, now=now))
        except (ApiKeyExpired, ApiKeyUsedUp) as error:
            if isinstance(error, ApiKeyExpired) or error.is_final:
                await self.store.forget_api_key(key_hash)  # it can never be used again
            raise
        if key is None:
            raise InvalidApiKey
        return KeyHolder(user=found.user, api_key=key)


def _check(new: NewApiKey) -> None:
    if new.name is not None and len(new.name) > _MAX_NAME:
        raise BadApiKeyName(f"a name has 1 to {_MAX_NAME} characters")
    if new.prefix is not None:
        if not _PREFIX.fullmatch(new.prefix):
            raise BadApiKeyPrefix
        if len(new.prefix) > _MAX_PREFIX:
            raise ApiKeyPrefixTooLong(f"a prefix has at most {_MAX_PREFIX} characters")
    _check_life(new.expires_in_s)
    numbers = (new.remaining, new.refill_amount, new.refill_interval_ms, new.rate_limit_max, new.rate_limit_window_ms)
    if any(number is not None and not 1 <= number <= _MAX_NUMBER for number in numbers):
        raise BadApiKeyLimits("a limit is a positive number")
    if (new.refill_amount is None) != (new.refill_interval_ms is None):
        raise BadApiKeyLimits("a refill has an amount and an interval")
    for resource, actions in (new.permissions or {}).items():
        if not all(_SCOPE.fullmatch(part) for part in (resource, *actions)):
            raise BadApiKeyLimits("a scope is `resource:action`, in lower case")


def _check_life(expires_in_s: float | None) -> None:
    if expires_in_s is None:
        return
    if expires_in_s < _MIN_LIFE_S:
        raise ApiKeyLifeTooShort
    if expires_in_s > _MAX_LIFE_S:
        raise ApiKeyLifeTooLong


def _changed(changes: ApiKeyChanges, now: datetime, key: ApiKey) -> ApiKey:
    key = replace(key, updated_at=to_iso(now))
    if changes.name is not UNSET:
        key = replace(key, name=changes.name)
    if changes.enabled is not UNSET:
        key = replace(key, enabled=changes.enabled)
    if changes.metadata is not UNSET:
        key = replace(key, metadata=changes.metadata)
    if changes.expires_in_s is not UNSET:
        key = replace(key, expires_at=_end(now, changes.expires_in_s))
    return key


def _end(now: datetime, expires_in_s: float | None) -> str | None:
    return None if expires_in_s is None else to_iso(now + timedelta(seconds=expires_in_s))


def _hash(text: str) -> str:
    """As in better-auth: SHA-256 of the whole key, base64url without padding. Looking up by hash compares no secret."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


# A use is counted in one transaction, so that two requests never take the same one.

_MS = timedelta(milliseconds=1)


def check_usable(key: ApiKey, now: datetime) -> None:
    """Raises `ApiKeyDisabled` or `ApiKeyExpired`."""
    if not key.enabled:
        raise ApiKeyDisabled
    if key.expires_at is not None and from_iso(key.expires_at) <= now:
        raise ApiKeyExpired


def used_once(key: ApiKey, now: datetime) -> ApiKey:
    """The key after one more use.

    Raises:
        ApiKeyDisabled, ApiKeyExpired: it must not be used.
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
    """Count one use against the rate limit; each counted use expires after its share of the window.

    better-auth resets the count only after a whole window without use: a client that calls regularly and once exceeds
    the limit would wait for a day.
    """
    most, window_ms = key.rate_limit_max, key.rate_limit_time_window
    if not key.rate_limit_enabled or most is None or not window_ms:
        return key
    passed_ms = window_ms if key.last_request is None else max(0, (now - from_iso(key.last_request)) // _MS)
    taken = max(0, key.request_count - passed_ms * most // window_ms)
    if taken >= most:
        raise ApiKeyRateLimited(max(1, -(-window_ms // max(most, 1)) - passed_ms))
    return replace(key, request_count=taken + 1)
