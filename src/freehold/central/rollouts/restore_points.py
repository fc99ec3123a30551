"""Copies of databases from before a rollout. Implements `rollouts.ports.RestorePointStore`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal_column, select, update

from freehold.audit.types import Event
from freehold.central.engine import Central
from freehold.central.rollouts.sql import COPIES, KEPT, LET_BE, STILL_ASIDE
from freehold.central.tables import rollout_step, tenant, unowned_database
from freehold.central.tenants.lifecycle import OvertakenError, all_or_nothing
from freehold.central.tenants.rotations import next_generation
from freehold.central.tenants.rows import DISCARDED, MAKING, add_unowned, take_reserved
from freehold.central.tenants.store import COLUMNS, to_tenant
from freehold.dates import from_ms, to_iso
from freehold.errors import NotFound
from freehold.rollouts.types import Kept, RestorePoint, StepState

# In these states no worker has the tenant.
_OVER = ("migrated", "skipped", "failed", "drifted", "restored")


@dataclass(frozen=True, slots=True)
class CentralRestorePoints:
    """Each method is one short transaction."""

    central: Central

    async def kept(self, rollout_id: str) -> Kept:
        points, aside, first_ms = (await self.central.fetch(KEPT, {"rollout_id": rollout_id})).one()
        until = to_iso(from_ms(first_ms)) if points or aside else None
        return Kept(restore_points=points, set_aside=aside, until=until)

    async def page(
        self, rollout_id: str, states: Sequence[StepState], *, after: str, limit: int
    ) -> Sequence[RestorePoint]:
        wanted = _points(rollout_id).where(rollout_step.c.state.in_(states), rollout_step.c.tenant_id > after)
        return await self._read(rollout_id, wanted.order_by(rollout_step.c.tenant_id).limit(limit))

    async def find(self, rollout_id: str, tenant_id: str) -> RestorePoint:
        found = await self._read(rollout_id, _points(rollout_id).where(rollout_step.c.tenant_id == tenant_id))
        if not found:
            raise NotFound(f"the tenant {tenant_id} is not part of the rollout {rollout_id}")
        return found[0]

    async def put_back(self, point: RestorePoint, database_name: str, schema_version: int, keep_until_ms: int) -> bool:
        now = self.central.now()
        old, kept_until = point.tenant, to_iso(from_ms(keep_until_ms))
        is_so = and_(
            tenant.c.id == old.tenant_id, tenant.c.database_name == old.database_name, tenant.c.state == old.state.value
        )
        values = {"database_name": database_name, "schema_version": schema_version, "updated_at": to_iso(now)}
        aside = " ".join([*point.set_aside, old.database_name])
        restored = {"state": "restored", "version": schema_version, "set_aside": aside}
        async with all_or_nothing(self.central) as db:
            for changed in (
                (await db.execute(update(tenant).where(is_so).values(**values))).rowcount,
                await take_reserved(db, database_name),
                (await db.execute(update(rollout_step).where(_is_step(point)).values(**restored))).rowcount,
            ):
                if changed != 1:
                    raise OvertakenError
            await db.execute(
                LET_BE, {"tenant_id": old.tenant_id, "rollout_id": point.rollout_id, "version": schema_version}
            )
            await add_unowned(
                db,
                old.database_name,
                old.provider,
                state=MAKING,
                due_at_ms=keep_until_ms,
                now=now,
                tenant_id=old.tenant_id,
                schema_version=old.schema_version,
            )
            # Writes with its old tokens would be lost.
            await next_generation(db, old.database_name, to_iso(now))
            details = {
                "database": database_name,
                "instead_of": old.database_name,
                "rollout": point.rollout_id,
                "kept_until": kept_until,
            }
            await self.central.record(db, Event("tenant.taken_back", f"tenant:{old.tenant_id}", details))
            return True
        return False

    async def discard(self, rollout_id: str, now_ms: int) -> int:
        now = to_iso(self.central.now())
        going = (
            update(unowned_database)
            .where(COPIES.bindparams(copies_of=rollout_id))
            .values(state=DISCARDED, due_at_ms=now_ms, updated_at=now)
        )
        async with self.central.write() as db:
            count = (await db.execute(going)).rowcount
            if count:
                details = {"databases": count}
                await self.central.record(db, Event("rollout.copies_discarded", f"rollout:{rollout_id}", details))
        return count

    async def _read(self, rollout_id: str, wanted: Select[tuple[object, ...]]) -> list[RestorePoint]:
        rows = (await self.central.fetch(wanted)).mappings().all()
        return [
            RestorePoint(
                rollout_id=rollout_id,
                tenant=to_tenant({each.name: row[each.name] for each in COLUMNS}),
                state=row["step_state"],
                name=row["restore_point"],
                until_ms=row["until_ms"],
                set_aside=tuple((row["still_aside"] or "").split()),
            )
            for row in rows
        ]


def _points(rollout_id: str) -> Select[tuple[object, ...]]:
    copy = unowned_database.alias("copy")
    is_copy = and_(copy.c.name == rollout_step.c.restore_point, copy.c.state == MAKING)
    columns: tuple[ColumnElement[Any], ...] = (
        *COLUMNS,
        rollout_step.c.state.label("step_state"),
        rollout_step.c.restore_point,
        copy.c.due_at_ms.label("until_ms"),
        literal_column(STILL_ASIDE).label("still_aside"),
    )
    tenants = rollout_step.join(tenant, tenant.c.id == rollout_step.c.tenant_id)
    everything = tenants.outerjoin(copy, is_copy)
    return select(*columns).select_from(everything).where(rollout_step.c.rollout_id == rollout_id)


def _is_step(point: RestorePoint) -> ColumnElement[bool]:
    return and_(
        rollout_step.c.rollout_id == point.rollout_id,
        rollout_step.c.tenant_id == point.tenant.tenant_id,
        rollout_step.c.restore_point == point.name,
        rollout_step.c.state.in_(_OVER),
    )
