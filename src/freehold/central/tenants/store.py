"""The tenants' rows in the central database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    and_,
    exists,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)

from freehold.central.engine import Central
from freehold.central.leases import Leases
from freehold.central.tables import published_migration, tenant, unowned_database, user
from freehold.central.tenants.rows import new_tenant_row
from freehold.dates import to_iso
from freehold.errors import NotFound
from freehold.tenants.types import UNPROVISIONED, Claim, Marked, Tenant, TenantState

COLUMNS = (
    tenant.c.id.label("tenant_id"),
    tenant.c.user_id,
    tenant.c.database_name,
    tenant.c.provider,
    tenant.c.state,
    tenant.c.schema_version,
    tenant.c.error,
    tenant.c.attempts,
    tenant.c.created_at,
    tenant.c.updated_at,
)
# The plus makes SQLite use the index on the due time, not the one on the state.
_UNPROVISIONED = literal_column("+tenant.state").in_([state.value for state in UNPROVISIONED])
_LEASES = Leases(tenant, tenant.c.id, _UNPROVISIONED)


# SQLite allows more variables in one statement; a server's limit may be lower.
_AT_ONCE = 200

# Whether a tenant was restored to before a rollout. Joined by primary key, starting with rollouts, which are few.
_IS_HELD = text("""
SELECT 1 FROM rollout AS held_by
CROSS JOIN rollout_step AS held_step ON held_step.rollout_id = held_by.id AND held_step.tenant_id = :tenant_id
JOIN tenant AS held ON held.id = held_step.tenant_id
WHERE held_step.state = 'restored' AND held_by.to_version > held.schema_version
""")


@dataclass(frozen=True, slots=True)
class CentralTenants:
    """Implements `TenantStore`, `ListedTenants` and `Catalogue`. Each method is one short transaction."""

    central: Central

    async def of_user(self, user_id: str) -> Tenant:
        row = (await self.central.fetch(select(*COLUMNS).where(tenant.c.user_id == user_id))).mappings().first()
        if row is None:
            raise NotFound("this user has no database; ask the operator of this service")
        return to_tenant(row)

    async def claim_due(self, provider: str, *, due_by_ms: int, lease_until_ms: int, limit: int) -> Sequence[Claim]:
        claiming = _LEASES.claim(
            tenant.c.provider == provider, due_by_ms=due_by_ms, lease_until_ms=lease_until_ms, limit=limit
        )
        async with self.central.write() as db:
            rows = (await db.execute(claiming.returning(*COLUMNS))).mappings().all()
        return [Claim(tenant=to_tenant(row), lease_until_ms=lease_until_ms) for row in rows]

    async def renew(self, claims: Sequence[Claim], lease_until_ms: int) -> Sequence[Claim]:
        held = {claim.key: claim.lease_until_ms for claim in claims}
        async with self.central.write() as db:
            kept = set((await db.execute(_LEASES.renew(held, lease_until_ms))).scalars())
        return [replace(claim, lease_until_ms=lease_until_ms) for claim in claims if claim.key in kept]

    async def release(self, claim: Claim, due_at_ms: int) -> None:
        await self._change_claimed(claim, due_at_ms=due_at_ms)

    async def mark_ready(self, tenant_id: str, schema_version: int, database_name: str | None = None) -> Marked:
        is_this = tenant.c.id == tenant_id
        if database_name is not None:
            is_this = and_(is_this, tenant.c.database_name == database_name)
        is_newest = ~exists().where(published_migration.c.version > schema_version)
        ready = {
            "state": TenantState.READY.value,
            "schema_version": schema_version,
            "error": None,
            "attempts": 0,
            "due_at_ms": None,
            "updated_at": to_iso(self.central.now()),
        }
        async with self.central.write() as db:
            # Nobody can publish between this look at the registry and the commit.
            marked = await db.execute(update(tenant).where(is_this, _UNPROVISIONED, is_newest).values(ready))
            if marked.rowcount:
                return "ready"
            waits = (await db.execute(select(tenant.c.id).where(is_this, _UNPROVISIONED))).first()
        return "behind" if waits else "not_pending"

    async def mark_failed(self, claim: Claim, error: str, retry_at_ms: int) -> bool:
        return await self._change_claimed(
            claim,
            state=TenantState.FAILED.value,
            error=error,
            attempts=tenant.c.attempts + 1,
            due_at_ms=retry_at_ms,
            updated_at=to_iso(self.central.now()),
        )

    async def next_due_ms(self, provider: str) -> int | None:
        due_ms: int | None = (await self.central.fetch(_LEASES.next_due(tenant.c.provider == provider))).scalar()
        return due_ms

    async def count_due(self, provider: str, due_by_ms: int) -> int:
        due = _LEASES.due(tenant.c.provider == provider, due_by_ms)
        return await self._count(select(func.count()).select_from(tenant).where(due))

    async def page(self, *, after: str = "", limit: int = 500, state: TenantState | None = None) -> Sequence[Tenant]:
        page = select(*COLUMNS).where(tenant.c.id > after).order_by(tenant.c.id).limit(limit)
        if state is not None:
            page = page.where(tenant.c.state == state.value)
        return [to_tenant(row) for row in (await self.central.fetch(page)).mappings()]

    async def emails(self, user_ids: Sequence[str]) -> Mapping[str, str]:
        """The addresses of these users by id; forks and deleted users have none."""
        wanted = select(user.c.id, user.c.email).where(user.c.id.in_(user_ids))
        return {row.id: row.email for row in await self.central.fetch(wanted)}

    async def counts(self) -> Mapping[TenantState, int]:
        by_state = select(tenant.c.state, func.count()).group_by(tenant.c.state)
        return {TenantState(state): count for state, count in await self.central.fetch(by_state)}

    async def count_missing(self) -> int:
        return await self._count(select(func.count()).select_from(user).where(_has_no_tenant()))

    async def add_missing(self, provider: str, limit: int) -> int:
        async with self.central.write() as db:
            user_ids = (await db.execute(select(user.c.id).where(_has_no_tenant()).limit(limit))).scalars().all()
            if user_ids:
                now = self.central.now()
                await db.execute(insert(tenant), [new_tenant_row(user_id, provider, now) for user_id in user_ids])
        return len(user_ids)

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
            due_at_ms=int(self.central.now().timestamp() * 1000),
        )

    async def retry_now(self, provider: str, now_ms: int) -> int:
        failed = and_(tenant.c.state == TenantState.FAILED.value, tenant.c.provider == provider)
        async with self.central.write() as db:
            due = update(tenant).where(failed, tenant.c.due_at_ms > now_ms).values(due_at_ms=now_ms)
            return (await db.execute(due)).rowcount

    async def in_work_until_ms(self, provider: str) -> int:
        waits = and_(tenant.c.state == TenantState.PROVISIONING.value, tenant.c.provider == provider)
        return (await self.central.fetch(select(func.max(tenant.c.due_at_ms)).where(waits))).scalar() or 0

    async def _change(self, about: Tenant, states: Sequence[TenantState], **values: Any) -> bool:
        changed = update(tenant).where(_is(about, states)).values(**values, updated_at=to_iso(self.central.now()))
        return await self.central.change(changed) == 1

    async def _change_claimed(self, claim: Claim, **values: Any) -> bool:
        is_ours = _LEASES.held(claim.key, claim.lease_until_ms)
        return await self.central.change(update(tenant).where(is_ours).values(**values)) == 1

    async def _count(self, counting: Select[Any]) -> int:
        return int((await self.central.fetch(counting)).scalar_one())


async def is_held(central: Central, tenant_id: str) -> bool:
    """Whether the tenant was restored to before a rollout, and is still below that rollout's version."""
    return (await central.fetch(_IS_HELD, {"tenant_id": tenant_id})).first() is not None


def _is(about: Tenant, states: Sequence[TenantState]) -> ColumnElement[bool]:
    """The tenant's row, if its database and state have not changed since it was read."""
    return and_(
        tenant.c.id == about.tenant_id,
        tenant.c.database_name == about.database_name,
        tenant.c.state.in_([state.value for state in states]),
    )


def _has_no_tenant() -> ColumnElement[bool]:
    return ~exists().where(tenant.c.user_id == user.c.id)


def to_tenant(row: RowMapping | Mapping[str, Any]) -> Tenant:
    return Tenant(**{**row, "state": TenantState(row["state"])})
