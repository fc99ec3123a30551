"""The tenants' rows as the catalogue that `reconcile` works with. Implements `tenants.reconcile.Catalogue`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update

from freehold.central.tables import tenant, unowned_database
from freehold.central.tenants.lifecycle import is_held
from freehold.central.tenants.store import CentralTenants
from freehold.dates import to_iso
from freehold.tenants.types import Tenant, TenantState

# SQLite takes more variables in one statement; a server's limit may be lower.
_AT_ONCE = 200


@dataclass(frozen=True)
class CentralCatalogue(CentralTenants):
    """Each method is one short transaction."""

    async def known(self, database_names: Sequence[str]) -> Mapping[str, TenantState | None]:
        found: dict[str, TenantState | None] = {}
        for start in range(0, len(database_names), _AT_ONCE):
            part = database_names[start : start + _AT_ONCE]
            states = select(tenant.c.database_name, tenant.c.state).where(tenant.c.database_name.in_(part))
            unowned = select(unowned_database.c.name).where(unowned_database.c.name.in_(part))
            async with self.central.read() as db:
                found |= dict.fromkeys((await db.execute(unowned)).scalars())
                found |= {name: TenantState(state) for name, state in await db.execute(states)}
        return found

    async def record_version(self, tenant: Tenant, schema_version: int) -> bool:
        return await self._change(tenant, (TenantState.READY,), schema_version=schema_version)

    async def is_held(self, tenant: Tenant) -> bool:
        return await is_held(self.central, tenant.tenant_id)

    async def provision_again(self, tenant: Tenant, reason: str) -> bool:
        return await self._change(
            tenant,
            (TenantState.READY,),
            state=TenantState.PROVISIONING.value,
            schema_version=0,
            error=reason,
            attempts=0,
            due_at_ms=int(self.now().timestamp() * 1000),
        )

    async def retry_now(self, provider: str, now_ms: int) -> int:
        failed = and_(tenant.c.state == TenantState.FAILED.value, tenant.c.provider == provider)
        async with self.central.write() as db:
            due = update(tenant).where(failed, tenant.c.due_at_ms > now_ms).values(due_at_ms=now_ms)
            return (await db.execute(due)).rowcount

    async def in_work_until_ms(self, provider: str) -> int:
        waits = and_(tenant.c.state == TenantState.PROVISIONING.value, tenant.c.provider == provider)
        async with self.central.read() as db:
            return (await db.execute(select(func.max(tenant.c.due_at_ms)).where(waits))).scalar() or 0

    async def _change(self, about: Tenant, states: Sequence[TenantState], **values: Any) -> bool:
        changed = update(tenant).where(_is(about, states)).values(**values, updated_at=to_iso(self.now()))
        async with self.central.write() as db:
            return (await db.execute(changed)).rowcount == 1


def _is(about: Tenant, states: Sequence[TenantState]) -> ColumnElement[bool]:
    """The tenant's row, if nobody has given it another database or state since it was read."""
    return and_(
        tenant.c.id == about.tenant_id,
        tenant.c.database_name == about.database_name,
        tenant.c.state.in_([state.value for state in states]),
    )
