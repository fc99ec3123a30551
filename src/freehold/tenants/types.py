"""A tenant: one user's database and its life."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

AccessLevel = Literal["full", "read_only"]


class TenantState(StrEnum):
    """`provisioning` to `ready` to `suspended` to `deleting` to `deleted`, or `failed` (and retried)."""

    PROVISIONING = "provisioning"
    READY = "ready"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    DELETED = "deleted"
    FAILED = "failed"


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """The central row of one tenant. `schema_version` is what was last seen in its ledger (0 before)."""

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


class DatabaseToken(msgspec.Struct, frozen=True, kw_only=True):
    """A short-lived token for one database. Never stored, never logged."""

    text: str
    access_level: AccessLevel
    expires_at: datetime


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tenant's database is. `url` is what official clients take; it ends in `/`."""

    db_id: str
    name: str
    hostname: str
    url: str
