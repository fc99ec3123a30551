"""Due operations on tenants and on databases without one. Implements `PendingOperations`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, func, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.central.engine import Central
from freehold.central.leases import Leases
from freehold.central.tables import tenant, unowned_database
from freehold.central.tenants.rows import DISCARDED, MAKING
from freehold.dates import to_iso
from freehold.tenants.pending_operations import OperationKind, PendingOperation
from freehold.tenants.types import TenantState

_KINDS = {TenantState.DELETING.value: OperationKind.DELETE, TenantState.SUSPENDED.value: OperationKind.SUSPEND}
_STATES = {kind: state for state, kind in _KINDS.items()}
# The plus makes SQLite use the index on the due time, not the one on the state.
_TENANTS = Leases(tenant, tenant.c.id, literal_column("+tenant.state").in_(list(_KINDS)))
_UNOWNED = Leases(
    unowned_database, unowned_database.c.name, literal_column("+unowned_database.state").in_([MAKING, DISCARDED])
)


@dataclass(frozen=True, slots=True)
class CentralPendingOperations:
    """Each method is one short transaction."""

    central: Central

    async def claim(
        self, provider: str, *, due_by_ms: int, lease_until_ms: int, limit: int, only_of: str | None = None
    ) -> Sequence[PendingOperation]:
        times = {"due_by_ms": due_by_ms, "lease_until_ms": lease_until_ms}
        async with self.central.write() as db:
            tenants = _TENANTS.claim(_of(tenant, provider, tenant.c.id, only_of), **times, limit=limit)
            found = await db.execute(tenants.returning(tenant))
            operations = [_of_tenant(row, lease_until_ms) for row in found.mappings()]
            if len(operations) < limit:
                nobodys = _of(unowned_database, provider, unowned_database.c.tenant_id, only_of)
                others = _UNOWNED.claim(nobodys, **times, limit=limit - len(operations), state=DISCARDED)
                found = await db.execute(others.returning(unowned_database))
                operations += [_of_unowned(row, lease_until_ms) for row in found.mappings()]
        return operations

    async def next_due_ms(self, provider: str) -> int | None:
        found = [
            (await self.central.fetch(leases.next_due(leases.table.c.provider == provider))).scalar()
            for leases in (_TENANTS, _UNOWNED)
        ]
        return min((due_ms for due_ms in found if due_ms is not None), default=None)

    async def done(self, operation: PendingOperation) -> bool:
        about = (f"tenant:{operation.tenant_id}", {"database": operation.database_name})
        async with self.central.write() as db:
            match operation.kind:
                case OperationKind.DISCARD:
                    done = await db.execute(delete(unowned_database).where(_held(operation)))
                    event = Event("tenant.database_discarded", *about) if operation.tenant_id else None
                case OperationKind.DELETE:
                    values = {"state": TenantState.DELETED.value, "error": None, "attempts": 0, "due_at_ms": None}
                    deleting = update(tenant).where(_held(operation))
                    done = await db.execute(deleting.values(**values, updated_at=to_iso(self.central.now())))
                    event = Event("tenant.deleted", *about)
                    if done.rowcount:
                        await _discard_copies(db, operation, int(self.central.now().timestamp() * 1000))
                case OperationKind.SUSPEND:
                    told = {"due_at_ms": None, "attempts": 0}
                    done = await db.execute(update(tenant).where(_held(operation)).values(told))
                    event = None
            if done.rowcount and event is not None:
                await self.central.record(db, event)
        return done.rowcount == 1

    async def failed(self, operation: PendingOperation, error: str, retry_at_ms: int) -> None:
        table = unowned_database if operation.kind is OperationKind.DISCARD else tenant
        values: dict[str, Any] = {"attempts": table.c.attempts + 1, "due_at_ms": retry_at_ms}
        if operation.kind is not OperationKind.SUSPEND:  # that row's error is the reason for the suspension
            values["error"] = error
        await self.central.change(update(table).where(_held(operation)).values(**values))

    async def is_ready(self, tenant_id: str) -> bool:
        ready = select(tenant.c.id).where(tenant.c.id == tenant_id, tenant.c.state == TenantState.READY.value)
        return (await self.central.fetch(ready)).first() is not None

    async def retry_now(self, provider: str, now_ms: int, *, leases_until_ms: int | None = None) -> None:
        async with self.central.write() as db:
            for leases in (_TENANTS, _UNOWNED):
                table = leases.table
                failed = and_(
                    leases.work, table.c.provider == provider, table.c.attempts > 0, table.c.due_at_ms > now_ms
                )
                await db.execute(update(table).where(failed).values(due_at_ms=now_ms))
            if leases_until_ms is not None:
                long = and_(_is_deletion(provider), tenant.c.due_at_ms > leases_until_ms)
                await db.execute(update(tenant).where(long).values(due_at_ms=leases_until_ms))

    async def in_work_until_ms(self, provider: str) -> int:
        untried = and_(_is_deletion(provider), tenant.c.attempts == 0)
        return (await self.central.fetch(select(func.max(tenant.c.due_at_ms)).where(untried))).scalar() or 0


async def _discard_copies(db: AsyncConnection, operation: PendingOperation, now_ms: int) -> None:
    """Discard the copies of the tenant's database, e.g. those of a rollout, with it."""
    copies = and_(unowned_database.c.tenant_id == operation.tenant_id, unowned_database.c.state == MAKING)
    await db.execute(update(unowned_database).where(copies).values(state=DISCARDED, due_at_ms=now_ms))


def _is_deletion(provider: str) -> ColumnElement[bool]:
    return and_(tenant.c.state == TenantState.DELETING.value, tenant.c.provider == provider)


def _of(table: Table, provider: str, owner: ColumnElement[Any], tenant_id: str | None) -> ColumnElement[bool]:
    is_provider = table.c.provider == provider
    return is_provider if tenant_id is None else and_(is_provider, owner == tenant_id)


def _held(operation: PendingOperation) -> ColumnElement[bool]:
    """The row, if the operation is still ours and unchanged."""
    if operation.kind is OperationKind.DISCARD:
        held = _UNOWNED.held(operation.database_name, operation.lease_until_ms)
        return and_(held, unowned_database.c.state == DISCARDED)
    held = _TENANTS.held(operation.tenant_id, operation.lease_until_ms)
    if operation.kind is OperationKind.DELETE:
        # A deletion that the provider has confirmed is done, whoever claimed it meanwhile.
        held = tenant.c.id == operation.tenant_id
    is_this = tenant.c.database_name == operation.database_name
    return and_(held, is_this, tenant.c.state == _STATES[operation.kind])


def _of_tenant(row: Any, lease_until_ms: int) -> PendingOperation:
    return PendingOperation(
        kind=_KINDS[row["state"]],
        database_name=row["database_name"],
        tenant_id=row["id"],
        reason=row["error"] or "",
        attempts=row["attempts"],
        lease_until_ms=lease_until_ms,
    )


def _of_unowned(row: Any, lease_until_ms: int) -> PendingOperation:
    return PendingOperation(
        kind=OperationKind.DISCARD,
        database_name=row["name"],
        tenant_id=row["tenant_id"],
        reason="",
        attempts=row["attempts"],
        lease_until_ms=lease_until_ms,
    )
