"""Rows of tenants and of databases without one that say what is due. Implements `PendingOperations`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, func, literal_column, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.central.engine import Central
from freehold.central.tables import tenant, unowned_database
from freehold.dates import to_iso
from freehold.tenants.pending_operations import OperationKind, PendingOperation
from freehold.tenants.types import TenantState

_KINDS = {
    TenantState.DELETING.value: OperationKind.DELETE,
    TenantState.SUSPENDED.value: OperationKind.SUSPEND,
}
_STATES = {kind: state for state, kind in _KINDS.items()}
MAKING, WAITING, DISCARDED = "making", "waiting", "discarded"


@dataclass(frozen=True, slots=True)
class CentralPendingOperations:
    """A claim is the row's due time, as for provisioning: it only ever grows."""

    central: Central

    async def claim(
        self,
        provider: str,
        *,
        due_by_ms: int,
        lease_until_ms: int,
        limit: int,
        only_of: str | None = None,
    ) -> Sequence[PendingOperation]:
        lease = {"due_at_ms": lease_until_ms}
        async with self.central.write() as db:
            tenants = _due(tenant, _of_tenants(), provider, due_by_ms) & _is_of(tenant.c.id, only_of)
            found = await db.execute(
                _claiming(tenant, tenant.c.id, tenants, limit).values(lease).returning(tenant)
            )
            pending_operations = [_of_tenant(row, lease_until_ms) for row in found.mappings()]
            if len(pending_operations) < limit:
                others = _due(unowned_database, _of_nobody(), provider, due_by_ms)
                others &= _is_of(unowned_database.c.tenant_id, only_of)
                name = unowned_database.c.name
                found = await db.execute(
                    _claiming(unowned_database, name, others, limit - len(pending_operations))
                    .values(**lease, state=DISCARDED)
                    .returning(unowned_database)
                )
                pending_operations += [_of_unowned(row, lease_until_ms) for row in found.mappings()]
        return pending_operations

    async def next_due_ms(self, provider: str) -> int | None:
        async with self.central.read() as db:
            found = []
            for table, kinds in ((tenant, _of_tenants()), (unowned_database, _of_nobody())):
                first = (
                    select(table.c.due_at_ms)
                    .where(table.c.due_at_ms.is_not(None), kinds, table.c.provider == provider)
                    .order_by(table.c.due_at_ms)
                    .limit(1)
                )
                found.append((await db.execute(first)).scalar())
        return min((due_ms for due_ms in found if due_ms is not None), default=None)

    async def done(self, operation: PendingOperation) -> bool:
        about = (f"tenant:{operation.tenant_id}", {"database": operation.database_name})
        async with self.central.write() as db:
            match operation.kind:
                case OperationKind.DISCARD:
                    done = await db.execute(delete(unowned_database).where(_held(operation)))
                    event = Event("tenant.database_discarded", *about) if operation.tenant_id else None
                case OperationKind.DELETE:
                    values = {**_end(TenantState.DELETED), "updated_at": to_iso(self.central.now())}
                    done = await db.execute(update(tenant).where(_held(operation)).values(values))
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
        if operation.kind is not OperationKind.SUSPEND:  # that row says why it is suspended
            values["error"] = error
        async with self.central.write() as db:
            await db.execute(update(table).where(_held(operation)).values(**values))

    async def is_ready(self, tenant_id: str) -> bool:
        ready = select(tenant.c.id).where(tenant.c.id == tenant_id, tenant.c.state == TenantState.READY.value)
        async with self.central.read() as db:
            return (await db.execute(ready)).first() is not None

    async def retry_now(self, provider: str, now_ms: int, *, leases_until_ms: int | None = None) -> None:
        async with self.central.write() as db:
            for table, kinds in ((tenant, _of_tenants()), (unowned_database, _of_nobody())):
                failed = and_(
                    kinds, table.c.provider == provider, table.c.attempts > 0, table.c.due_at_ms > now_ms
                )
                await db.execute(update(table).where(failed).values(due_at_ms=now_ms))
            if leases_until_ms is not None:
                long = and_(_is_deletion(provider), tenant.c.due_at_ms > leases_until_ms)
                await db.execute(update(tenant).where(long).values(due_at_ms=leases_until_ms))

    async def in_work_until_ms(self, provider: str) -> int:
        untried = and_(_is_deletion(provider), tenant.c.attempts == 0)
        async with self.central.read() as db:
            return (await db.execute(select(func.max(tenant.c.due_at_ms)).where(untried))).scalar() or 0


async def _discard_copies(db: AsyncConnection, operation: PendingOperation, now_ms: int) -> None:
    """Copies that were kept of the tenant's database, e.g. by a rollout, go with it."""
    copies = and_(unowned_database.c.tenant_id == operation.tenant_id, unowned_database.c.state == MAKING)
    await db.execute(update(unowned_database).where(copies).values(state=DISCARDED, due_at_ms=now_ms))


def _is_deletion(provider: str) -> ColumnElement[bool]:
    return and_(tenant.c.state == TenantState.DELETING.value, tenant.c.provider == provider)


# With the plus SQLite looks for what is due by its time, and not for all that are in these states.
def _of_tenants() -> ColumnElement[bool]:
    return literal_column("+tenant.state").in_(list(_KINDS))


def _of_nobody() -> ColumnElement[bool]:
    return literal_column("+unowned_database.state").in_([MAKING, DISCARDED])


def _due(table: Table, kinds: ColumnElement[bool], provider: str, due_by_ms: int) -> ColumnElement[bool]:
    return and_(table.c.due_at_ms <= due_by_ms, kinds, table.c.provider == provider)


def _is_of(owner: ColumnElement[Any], tenant_id: str | None) -> ColumnElement[bool]:
    return true() if tenant_id is None else owner == tenant_id


def _claiming(table: Table, key: ColumnElement[Any], due: ColumnElement[bool], limit: int) -> Any:
    return update(table).where(key.in_(select(key).where(due).order_by(table.c.due_at_ms).limit(limit)))


def _held(operation: PendingOperation) -> ColumnElement[bool]:
    """The row, if nobody has taken the duty or changed what is to be done."""
    if operation.kind is OperationKind.DISCARD:
        table, state = (
            unowned_database,
            and_(unowned_database.c.name == operation.database_name, unowned_database.c.state == DISCARDED),
        )
        return and_(state, table.c.due_at_ms == operation.lease_until_ms)
    return and_(
        tenant.c.id == operation.tenant_id,
        tenant.c.database_name == operation.database_name,
        tenant.c.state == _STATES[operation.kind],
        # A deletion that the provider has confirmed is done, whoever asked it meanwhile.
        or_(tenant.c.due_at_ms == operation.lease_until_ms, tenant.c.state == TenantState.DELETING.value),
    )


def _end(state: TenantState) -> dict[str, Any]:
    return {"state": state.value, "error": None, "attempts": 0, "due_at_ms": None}


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
