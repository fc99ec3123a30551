"""Types of API keys, and the scopes that they have."""

from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.auth.api_keys.errors import ScopeMissing
from freehold.auth.types import User, wire_names

Permissions = dict[str, list[str]]
Metadata = dict[str, Any] | list[Any]

DAY_MS = 86_400_000
DATABASES, READ, WRITE = "databases", "read", "write"
REGISTRY, PUBLISH, FORCE = "registry", "publish", "force"
# Prefix of a key's id in the subject of a database token; such a token ends with its key.
KEY_SUBJECT = "key:"

# For keys without permissions of their own.
_DEFAULT_PERMISSIONS: Mapping[str, list[str]] = {DATABASES: [READ]}


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("key_id")):
    """A key without its text. Encoded, it is exactly better-auth's API key object.

    `reference_id` is the owner's user id. Intervals and windows are in milliseconds. `remaining` is the number of uses
    left, None if unlimited; every `refill_interval` it is reset to `refill_amount`. `request_count` is how many of the
    `rate_limit_max` uses per `rate_limit_time_window` were taken at `last_request`.
    """

    key_id: str
    config_id: str = "default"
    name: str | None = None
    start: str | None = None
    reference_id: str
    prefix: str | None = None
    refill_interval: int | None = None
    refill_amount: int | None = None
    last_refill_at: str | None = None
    enabled: bool = True
    rate_limit_enabled: bool = True
    rate_limit_time_window: int | None = DAY_MS
    rate_limit_max: int | None = 1000
    request_count: int = 0
    remaining: int | None = None
    last_request: str | None = None
    expires_at: str | None = None
    created_at: str
    updated_at: str
    permissions: Permissions | None = None
    metadata: Metadata | None = None

    def allows(self, resource: str, action: str) -> bool:
        """Whether the key's scopes include this action; writing includes reading."""
        actions = (_DEFAULT_PERMISSIONS if self.permissions is None else self.permissions).get(resource, [])
        return action in actions or (action == READ and WRITE in actions)


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a new key. Only operators may set `permissions` and the fields after it."""

    name: str | None = None
    prefix: str | None = None
    expires_in_s: float | None = None
    metadata: Metadata | None = None
    permissions: Permissions | None = None
    remaining: int | None = None
    refill_amount: int | None = None
    refill_interval_ms: int | None = None
    rate_limit_max: int | None = None
    rate_limit_window_ms: int | None = None


class ApiKeyChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Changes by the owner; unset fields stay as they are. With `expires_in_s` None the key never expires."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    expires_in_s: float | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET


class ApiKeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """The page and order of a list of keys. `sort_by` is one of `SORTABLE`."""

    limit: int | None = None
    offset: int | None = None
    sort_by: str | None = None
    descending: bool = False


# Names as on the wire; structured fields have no order.
SORTABLE = frozenset(field.encode_name for field in msgspec.structs.fields(ApiKey)) - {"permissions", "metadata"}


class KeyHolder(msgspec.Struct, frozen=True, kw_only=True):
    """A caller with an API key. This is not a session: the key's scopes limit what the caller may do."""

    user: User
    api_key: ApiKey

    @property
    def user_id(self) -> str:
        return self.user.user_id

    @property
    def reference(self) -> str:
        """The subject of database tokens issued to this key."""
        return f"{KEY_SUBJECT}{self.api_key.key_id}"

    def require(self, resource: str, action: str) -> None:
        """Raises `ScopeMissing` if the key may not do this."""
        if not self.api_key.allows(resource, action):
            raise ScopeMissing(f"this API key does not have the scope `{resource}:{action}`")
