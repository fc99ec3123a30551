"""New rows of tenants, and of databases without an owner."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.auth.random_ids import random_id
from freehold.central.tables import unowned_database
from freehold.dates import to_iso
from freehold.tenants.names import new_database_name


def new_tenant_row(user_id: str, provider: str, now: datetime) -> dict[str, Any]:
    """A row of `tenant`, due for provisioning at once, with the database name that the provider will be asked for."""
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


# A database without an owner is being made or kept for a while; is in the pool; or is to be deleted.
MAKING, WAITING, DISCARDED = "making", "waiting", "discarded"


async def add_unowned(
    db: AsyncConnection,
    name: str,
    provider: str,
    *,
    state: str,
    due_at_ms: int,
    now: datetime,
    tenant_id: str | None = None,
    schema_version: int = 0,
    chain: str | None = None,
    fingerprint: str | None = None,
    created_at: str | None = None,
) -> None:
    """Record a database without an owner. `tenant_id` is its former or future tenant; `created_at` defaults to now."""
    row = {
        "name": name,
        "provider": provider,
        "state": state,
        "tenant_id": tenant_id,
        "schema_version": schema_version,
        "chain": chain,
        "fingerprint": fingerprint,
        "attempts": 0,
        "due_at_ms": due_at_ms,
        "created_at": created_at or to_iso(now),
        "updated_at": to_iso(now),
    }
    await db.execute(insert(unowned_database), row)


def is_reserved(database_name: str) -> ColumnElement[bool]:
    """Whether the name is reserved for a future owner or a copy."""
    return and_(unowned_database.c.name == database_name, unowned_database.c.state == MAKING)


async def take_reserved(db: AsyncConnection, database_name: str) -> bool:
    """Remove the reservation, in the transaction that gives the database an owner; False if there is none."""
    return (await db.execute(delete(unowned_database).where(is_reserved(database_name)))).rowcount == 1
