"""Changes of single tenants by operators. Implements `tenants.ports.LifecycleStore`."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event, Facts
from freehold.central.engine import Central
from freehold.central.tables import tenant, unowned_database, user
from freehold.central.tenants.rows import DISCARDED, MAKING, add_unowned, is_reserved, new_tenant_row, take_reserved
from freehold.central.tenants.store import COLUMNS, is_held, to_tenant
from freehold.dates import to_iso
from freehold.errors import NotFound
from freehold.tenants.types import UNPROVISIONED, Tenant, TenantState

_FORK = "fork:"  # prefix of the user's id of a tenant without a user
_LASTING = ("id", "user_id", "created_at")
_LEASE_MS = 15_000  # how long a provisioner may be working on the database


class OvertakenError(Exception):
    """Rolls back a transaction of `all_or_nothing` silently."""


@asynccontextmanager
async def all_or_nothing(central: Central) -> AsyncIterator[AsyncConnection]:
    """A transaction of `central.write` that `OvertakenError` rolls back."""
    with contextlib.suppress(OvertakenError):
        async with central.write() as db:
            yield db


@dataclass(frozen=True, slots=True)
class CentralLifecycle:
    """Each method is one short transaction."""

    central: Central

    async def find(self, reference: str) -> Tenant:
        by_email = select(user.c.id).where(user.c.email == reference.lower())
        wanted = select(*COLUMNS).where(
            or_(
                tenant.c.id == reference,
                tenant.c.user_id == reference,
                tenant.c.database_name == reference,
                tenant.c.user_id.in_(by_email),
            )
        )
        row = (await self.central.fetch(wanted)).mappings().first()
        if row is None:
            raise NotFound(f"there is no tenant `{reference}`; give its id, its user or its database")
        return to_tenant(row)

    async def find_copy(self, database_name: str) -> Tenant | None:
        wanted = select(*COLUMNS).join(unowned_database, unowned_database.c.tenant_id == tenant.c.id)
        row = (await self.central.fetch(wanted.where(is_reserved(database_name)))).mappings().first()
        return None if row is None else msgspec.structs.replace(to_tenant(row), database_name=database_name)

    async def is_held(self, tenant: Tenant) -> bool:
        return await is_held(self.central, tenant.tenant_id)

    async def create(self, reference: str, provider: str) -> Tenant:
        now = self.central.now()
        wanted = select(user.c.id).where(or_(user.c.id == reference, user.c.email == reference.lower()))
        by_tenant = select(tenant.c.user_id).where(or_(tenant.c.id == reference, tenant.c.database_name == reference))
        async with self.central.write() as db:
            user_id = (await db.execute(wanted)).scalar() or (await db.execute(by_tenant)).scalar()
            await _require_user(db, user_id, reference)
            fresh = new_tenant_row(str(user_id), provider, now)
            is_users = tenant.c.user_id == user_id
            found = (await db.execute(select(*COLUMNS).where(is_users))).mappings().first()
            if found is None:
                await db.execute(insert(tenant), fresh)
            elif found["state"] == TenantState.DELETED.value:
                # The tenant stays the same; only its database is new.
                again = {name: value for name, value in fresh.items() if name not in _LASTING}
                await db.execute(update(tenant).where(is_users).values(**again))
            made = to_tenant((await db.execute(select(*COLUMNS).where(is_users))).mappings().one())
            if found is None or found["state"] == TenantState.DELETED.value:
                before = {} if found is None else {"instead_of": found["database_name"]}
                await self.central.record(db, Event("tenant.created", *_about(made, **before)))
        return made

    async def suspend(self, tenant: Tenant, reason: str, due_at_ms: int) -> bool:
        values = {"state": TenantState.SUSPENDED.value, "error": reason, "attempts": 0, "due_at_ms": due_at_ms}
        event = Event("tenant.suspended", *_about(tenant, reason=reason))
        return await self._move(tenant, (TenantState.READY, TenantState.SUSPENDED), values, event)

    async def suspended(self, tenant: Tenant) -> None:
        await self._move(tenant, (TenantState.SUSPENDED,), {"due_at_ms": None})

    async def resume(self, tenant: Tenant) -> bool:
        values = {"state": TenantState.READY.value, "error": None, "attempts": 0, "due_at_ms": None}
        return await self._move(tenant, (TenantState.SUSPENDED,), values, Event("tenant.resumed", *_about(tenant)))

    async def delete(self, tenant: Tenant, now_ms: int) -> bool:
        states = [state for state in TenantState if state not in (TenantState.DELETING, TenantState.DELETED)]
        values = {"state": TenantState.DELETING.value, "error": None, "attempts": 0, "due_at_ms": now_ms}
        if tenant.state in UNPROVISIONED:
            values["due_at_ms"] = now_ms + _LEASE_MS
        return await self._move(tenant, states, values, Event("tenant.deletion_started", *_about(tenant)))

    async def reserve(self, database_name: str, provider: str, tenant_id: str | None, until_ms: int) -> None:
        now = self.central.now()
        async with self.central.write() as db:
            await add_unowned(
                db, database_name, provider, state=MAKING, due_at_ms=until_ms, now=now, tenant_id=tenant_id
            )

    async def keep(self, database_name: str, until_ms: int) -> bool:
        return await self._change_reserved(database_name, due_at_ms=until_ms)

    async def discard(self, database_name: str, now_ms: int) -> None:
        await self._change_reserved(database_name, due_at_ms=now_ms, state=DISCARDED)

    async def replace(
        self, tenant: Tenant, states: Collection[TenantState], database_name: str, schema_version: int
    ) -> bool:
        now = self.central.now()
        values: dict[str, Any] = {"database_name": database_name, "schema_version": schema_version}
        if tenant.state in (*UNPROVISIONED, TenantState.DELETED):
            values |= {"state": TenantState.READY.value, "error": None, "attempts": 0, "due_at_ms": None}
        async with all_or_nothing(self.central) as db:
            if tenant.state is TenantState.DELETED:
                # The provider may have been another one, and the user may be gone.
                values["provider"] = (
                    select(unowned_database.c.provider)
                    .where(unowned_database.c.name == database_name)
                    .scalar_subquery()
                )
                if not tenant.user_id.startswith(_FORK):
                    await _require_user(db, tenant.user_id, tenant.tenant_id)
            if not (await self._changed(db, tenant, states, values) and await take_reserved(db, database_name)):
                raise OvertakenError
            if tenant.state is not TenantState.DELETED:
                await add_unowned(
                    db,
                    tenant.database_name,
                    tenant.provider,
                    state=DISCARDED,
                    due_at_ms=int(now.timestamp() * 1000),
                    now=now,
                    tenant_id=tenant.tenant_id,
                    schema_version=tenant.schema_version,
                    created_at=tenant.created_at,
                )
            about = _about(tenant, database=database_name, instead_of=tenant.database_name)
            await self.central.record(db, Event("tenant.restored", *about))
            return True
        return False

    async def adopt(self, source: Tenant, database_name: str, schema_version: int) -> Tenant | None:
        row = new_tenant_row("", source.provider, self.central.now())
        row |= {
            "user_id": f"{_FORK}{source.tenant_id}:{row['id']}",
            "database_name": database_name,
            "state": TenantState.READY.value,
            "schema_version": schema_version,
            "due_at_ms": None,
        }
        async with self.central.write() as db:
            if not await take_reserved(db, database_name):
                return None
            await db.execute(insert(tenant), row)
            found = (await db.execute(select(*COLUMNS).where(tenant.c.id == row["id"]))).mappings().one()
            made = to_tenant(found)
            about = _about(made, **{"from": source.tenant_id})
            await self.central.record(db, Event("tenant.forked", *about))
        return made

    async def note_version(self, tenant: Tenant, schema_version: int) -> None:
        await self._move(tenant, (TenantState.READY,), {"schema_version": schema_version})

    async def exported(self, tenant: Tenant) -> None:
        async with self.central.write() as db:
            await self.central.record(db, Event("tenant.exported", *_about(tenant)))

    async def _move(
        self, about: Tenant, states: Collection[TenantState], values: Mapping[str, Any], event: Event | None = None
    ) -> bool:
        async with self.central.write() as db:
            moved = await self._changed(db, about, states, values)
            if moved and event is not None:
                await self.central.record(db, event)
        return moved

    async def _changed(
        self, db: AsyncConnection, about: Tenant, states: Collection[TenantState], values: Mapping[str, Any]
    ) -> bool:
        is_so = and_(
            tenant.c.id == about.tenant_id,
            tenant.c.database_name == about.database_name,
            tenant.c.state.in_([state.value for state in states]),
        )
        changed = update(tenant).where(is_so).values(**values, updated_at=to_iso(self.central.now()))
        return (await db.execute(changed)).rowcount == 1

    async def _change_reserved(self, database_name: str, **values: Any) -> bool:
        changed = update(unowned_database).where(is_reserved(database_name))
        changed = changed.values(**values, updated_at=to_iso(self.central.now()))
        return await self.central.change(changed) == 1


async def _require_user(db: AsyncConnection, user_id: str | None, reference: str) -> None:
    there = user_id and (await db.execute(select(user.c.id).where(user.c.id == user_id))).first()
    if not there:
        raise NotFound(f"there is no user `{reference}` who could own a database")


def _about(tenant: Tenant, **details: str) -> tuple[str, Facts]:
    """The target and details of an audit event."""
    return f"tenant:{tenant.tenant_id}", {"database": tenant.database_name, **details}
