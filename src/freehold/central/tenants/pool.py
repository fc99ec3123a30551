"""Databases that are ready for a tenant. Implements `tenants.pool.PoolStore`."""

from dataclasses import dataclass

from msgspec.structs import asdict
from sqlalchemy import and_, func, or_, select, update

from freehold.central.engine import Central
from freehold.central.tables import tenant as tenants
from freehold.central.tables import unowned_database as unowned
from freehold.central.tenants.rows import DISCARDED, MAKING, WAITING, add_unowned, is_reserved, take_reserved
from freehold.tenants.pool import SchemaKey
from freehold.tenants.types import UNPROVISIONED, Tenant

_LEASE_MS = 15_000  # another provisioner may be working on the tenant's previous name


@dataclass(frozen=True, slots=True)
class CentralPool:
    """Each method is one short transaction."""

    central: Central

    async def reserve(self, name: str, provider: str, schema: SchemaKey, *, size: int, until_ms: int) -> bool:
        now = self.central.now()
        ours = and_(unowned.c.provider == provider, unowned.c.chain.is_not(None), unowned.c.tenant_id.is_(None))
        counting = select(func.count()).select_from(unowned).where(ours, unowned.c.state.in_([MAKING, WAITING]))
        async with self.central.write() as db:
            if (await db.execute(counting)).scalar_one() >= size:
                return False
            await add_unowned(db, name, provider, state=MAKING, due_at_ms=until_ms, now=now, **asdict(schema))
        return True

    async def put(self, name: str, schema: SchemaKey) -> bool:
        values = {**asdict(schema), "state": WAITING, "due_at_ms": None}
        return await self.central.change(update(unowned).where(is_reserved(name)).values(values)) == 1

    async def claim(self, provider: str, schema: SchemaKey, tenant_id: str, until_ms: int) -> str | None:
        is_schema = [unowned.c[name] == value for name, value in asdict(schema).items()]
        waits = and_(unowned.c.state == WAITING, unowned.c.provider == provider, *is_schema)
        first = select(unowned.c.name).where(waits).limit(1).scalar_subquery()
        claiming = (
            update(unowned)
            .where(unowned.c.name == first, unowned.c.state == WAITING)
            .values(state=MAKING, tenant_id=tenant_id, due_at_ms=until_ms)
            .returning(unowned.c.name)
        )
        async with self.central.write() as db:
            name: str | None = (await db.execute(claiming)).scalar()
            return name

    async def give(self, name: str, tenant: Tenant) -> bool:
        now = self.central.now()
        waits = and_(
            tenants.c.id == tenant.tenant_id,
            tenants.c.database_name == tenant.database_name,
            tenants.c.state.in_([state.value for state in UNPROVISIONED]),
        )
        due_at_ms = int(now.timestamp() * 1000) + _LEASE_MS
        async with self.central.write() as db:
            if (await db.execute(select(tenants.c.id).where(waits))).first() is None:
                return False
            if not await take_reserved(db, name):
                return False
            await db.execute(update(tenants).where(waits).values(database_name=name))
            await add_unowned(
                db,
                tenant.database_name,
                tenant.provider,
                state=DISCARDED,
                due_at_ms=due_at_ms,
                now=now,
                created_at=tenant.created_at,
            )
        return True

    async def discard(self, name: str) -> None:
        values = {"state": DISCARDED, "due_at_ms": int(self.central.now().timestamp() * 1000)}
        await self.central.change(update(unowned).where(is_reserved(name)).values(values))

    async def discard_others(self, provider: str, schema: SchemaKey) -> int:
        others = and_(
            unowned.c.state == WAITING,
            unowned.c.provider == provider,
            or_(unowned.c.chain != schema.chain, unowned.c.fingerprint != schema.fingerprint),
        )
        if (await self.central.fetch(select(unowned.c.name).where(others).limit(1))).first() is None:
            return 0
        values = {"state": DISCARDED, "due_at_ms": int(self.central.now().timestamp() * 1000)}
        return await self.central.change(update(unowned).where(others).values(values))
