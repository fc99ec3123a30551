"""A tenant: one user's database and its life."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from freehold.profiles import Profile

# What answers and older clients know of profiles: `full` stands for `rows` too.
AccessLevel = Literal["full", "read_only"]


class TenantState(StrEnum):
    """`provisioning` to `ready` to `suspended` to `deleting` to `deleted`, or `failed` (and retried)."""

    PROVISIONING = "provisioning"
    READY = "ready"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    DELETED = "deleted"
    FAILED = "failed"


# A provisioner has work to do on these, and on no others.
UNPROVISIONED = (TenantState.PROVISIONING, TenantState.FAILED)


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """The central row of one tenant. `schema_version` is what was last seen in its ledger (0 before).

    `attempts` counts the tries that failed since it was last ready; `error` is for operators, not for its user.
    """

    tenant_id: str
    user_id: str
    database_name: str
    provider: str
    state: TenantState
    schema_version: int
    error: str | None
    attempts: int
    created_at: str
    updated_at: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant to work on, nobody else's until `lease_until_ms`, which also tells this claim from a later one."""

    tenant: Tenant
    lease_until_ms: int

    @property
    def key(self) -> str:
        """What tells it from claims of other tenants."""
        return self.tenant.tenant_id


# `behind`: a newer migration is published, bring it up to date and mark again. `not_pending`: it is ready
# already, or being deleted; nothing was changed.
Marked = Literal["ready", "behind", "not_pending"]


def level_of(profile: Profile) -> AccessLevel:
    """The profile in the two words that there were before profiles."""
    return "full" if profile in {"rows", "full"} else "read_only"


class DatabaseToken(msgspec.Struct, frozen=True, kw_only=True):
    """A short-lived token for one database. Never stored, never logged.

    `profile` is what the database will really let it do.
    """

    text: str
    profile: Profile
    expires_at: datetime

    @property
    def access_level(self) -> AccessLevel:
        """`profile` in older words."""
        return level_of(self.profile)

    def __repr__(self) -> str:
        return f"DatabaseToken(text='***', profile={self.profile!r}, expires_at={self.expires_at!r})"


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tenant's database is. `url` is what official clients take; it ends in `/`.

    `is_suspended`: its provider refuses all reads and writes.
    """

    db_id: str
    name: str
    hostname: str
    url: str
    is_suspended: bool = False


class ReadyDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """A database to use now, with a token made for this one answer."""

    tenant: Tenant
    database: Database
    token: DatabaseToken


class PendingDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """A database that is not there yet; ask again after `retry_after_s`."""

    tenant: Tenant
    retry_after_s: int


UserDatabase = ReadyDatabase | PendingDatabase
