"""Rows as they are first: of a tenant, in its user's transaction, and of a database that is nobody's."""

from datetime import datetime
from typing import Any

from freehold.auth.random_ids import random_id
from freehold.dates import to_iso
from freehold.tenants.names import new_database_name


def new_tenant_row(user_id: str, provider: str, now: datetime) -> dict[str, Any]:
    """A row of `tenant` that is due for provisioning at once: its name is chosen before any provider is asked."""
    return {
        "id": random_id(),
        "user_id": user_id,
        "database_name": new_database_name(),
        "provider": provider,
        "state": "provisioning",
        "schema_version": 0,
        "error": None,
        "attempts": 0,
        "due_at_ms": int(now.timestamp() * 1000),
        "created_at": to_iso(now),
        "updated_at": to_iso(now),
    }


def unowned_row(
    name: str,
    provider: str,
    state: str,
    due_at_ms: int,
    now: datetime,
    *,
    tenant_id: str | None = None,
    schema_version: int = 0,
    created_at: str | None = None,
) -> dict[str, Any]:
    """A row of `unowned_database`. `tenant_id` is whose it was or may become; made now, without `created_at`."""
    return {
        "name": name,
        "provider": provider,
        "state": state,
        "tenant_id": tenant_id,
        "schema_version": schema_version,
        "attempts": 0,
        "due_at_ms": due_at_ms,
        "created_at": created_at or to_iso(now),
        "updated_at": to_iso(now),
    }
