"""A tenant: one user's database and its lifecycle."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from freehold.profiles import Profile

# What responses and older clients know of profiles; `full` also stands for `rows`.
AccessLevel = Literal["full", "read_only"]


class TenantState(StrEnum):
    """`provisioning` to `ready` to `suspended` to `deleting` to `deleted`, or `failed` (and retried)."""

    PROVISIONING = "provisioning"
    READY = "ready"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    DELETED = "deleted"
    FAILED = "failed"


# The only states in which a provisioner has work to do.
UNPROVISIONED = (TenantState.PROVISIONING, TenantState.FAILED)


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """The central row of one tenant. `schema_version` is the version last seen in its ledger (0 before).

    `attempts` counts failures since it was last ready; `error` is for operators, not for the user.
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
    """A tenant to work on, exclusively until `lease_until_ms`, which also distinguishes this claim from later ones."""

    tenant: Tenant
    lease_until_ms: int

    @property
    def key(self) -> str:
        """Identifies the claim among those of other tenants."""
        return self.tenant.tenant_id


# `behind`: a newer migration is published, so migrate and mark again. `not_pending`: it is already ready or is being
# deleted; nothing was changed.
Marked = Literal["ready", "behind", "not_pending"]


def level_of(profile: Profile) -> AccessLevel:
    """Return the profile in the two values that existed before profiles."""
    return "full" if profile in {"rows", "full"} else "read_only"


class DatabaseToken(msgspec.Struct, frozen=True, kw_only=True):
    """A short-lived token for one database, never stored or logged. `profile` is what the database really allows."""

    text: str
    profile: Profile
    expires_at: datetime

    @property
    def access_level(self) -> AccessLevel:
        """`profile` in the older values."""
        return level_of(self.profile)

    def __repr__(self) -> str:
        return f"DatabaseToken(text='***', profile={self.profile!r}, expires_at={self.expires_at!r})"


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database is. `url`, for official clients, ends in `/`. If `is_suspended`, nobody can read or write."""

    db_id: str
    name: str
    hostname: str
    url: str
    is_suspended: bool = False


class ReadyDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """A usable database with a token issued for this response."""

    tenant: Tenant
    database: Database
    token: DatabaseToken


class PendingDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """A database that does not exist yet; ask again after `retry_after_s`."""

    tenant: Tenant
    retry_after_s: int


UserDatabase = ReadyDatabase | PendingDatabase
