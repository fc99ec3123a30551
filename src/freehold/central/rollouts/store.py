"""Rollouts in the central database. Implements `rollouts.ports.RolloutStore`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from sqlalchemy import Row, and_, case, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event, Facts
from freehold.auth.random_ids import random_id
from freehold.central.engine import Central
from freehold.central.rollouts import sql
from freehold.central.tables import rollout, rollout_step, tenant
from freehold.dates import to_iso
from freehold.errors import NotFound
from freehold.rollouts.causes import Causes
from freehold.rollouts.errors import BadRollout, NobodyBehind, RolloutEnded, RolloutOpen
from freehold.rollouts.types import (
    OPEN,
    Census,
    Ended,
    Failure,
    Options,
    Progress,
    Rollout,
    RolloutState,
    Standing,
    Step,
    StepState,
)
from freehold.rollouts.waves import amount, wave_ends
from freehold.tenants.drift import Verdict
from freehold.tenants.types import TenantState

_OPEN = tuple(state.value for state in OPEN)
_CAUSES = 50
_PAGE = 1_000
# The causes of drifted tenants: see `rollouts.migrate_one`.
_DRIFTS = msgspec.json.encode([*get_args(Verdict), "full"]).decode()


@dataclass(frozen=True, slots=True)
class CentralRollouts:
    """A claim is the step's due time, as for tenants; see `central.leases`."""

    central: Central

    async def census(self, provider: str, *, include_restored: bool = False) -> Census:
        counting = (
            select(tenant.c.state, tenant.c.schema_version, func.count())
            .where(tenant.c.provider == provider)
            .group_by(tenant.c.state, tenant.c.schema_version)
        )
        ready: dict[int, int] = {}
        left_out: dict[str, int] = {}
        async with self.central.read() as db:
            for state, version, count in await db.execute(counting):
                if state == TenantState.READY.value:
                    ready[version] = count
                elif state != TenantState.DELETED.value:
                    left_out[state] = left_out.get(state, 0) + count
            if not include_restored:
                is_ready = and_(tenant.c.provider == provider, tenant.c.state == TenantState.READY.value)
                held = select(tenant.c.schema_version, func.count()).where(is_ready, sql.HELD_TENANTS)
                for version, count in await db.execute(held.group_by(tenant.c.schema_version)):
                    ready[version] -= count
                    left_out["restored"] = left_out.get("restored", 0) + count
        return Census(ready=ready, left_out=left_out)

    async def behind(self, provider: str, to_version: int, limit: int) -> Sequence[tuple[str, str]]:
        some = select(tenant.c.id, tenant.c.database_name).where(sql.is_behind(provider, to_version))
        return [(row.id, row.database_name) for row in await self.central.fetch(some.limit(limit))]

    async def drifted(self, provider: str, to_version: int) -> int:
        values = {"provider": provider, "to_version": to_version}
        return int((await self.central.fetch(sql.DRIFTED, values)).scalar_one())

    async def start(self, provider: str, to_version: int, options: Options) -> Rollout:
        rollout_id, now = random_id(), self.central.now()
        canaries = tuple(dict.fromkeys(options.canaries))
        are_behind = sql.is_behind(provider, to_version, include_restored=options.include_restored)
        async with self.central.write() as db:
            await _require_none_open(db)
            tenants = int((await db.execute(select(func.count()).where(are_behind))).scalar_one())
            if not tenants:
                left_out = sql.is_behind(provider, to_version, include_restored=True)
                held = int((await db.execute(select(func.count()).where(left_out))).scalar_one())
                raise NobodyBehind(to_version, held)
            known: set[str] = set()
            if canaries:
                among = select(tenant.c.id).where(are_behind, tenant.c.id.in_(canaries))
                known.update((await db.execute(among)).scalars())
            if missing := [each for each in canaries if each not in known]:
                raise BadRollout(f"`{missing[0]}` is not a ready tenant below version {to_version}")
            ends = wave_ends(options.waves, len(canaries), tenants)
            values = {
                "id": rollout_id,
                "provider": provider,
                "to_version": to_version,
                "state": RolloutState.RUNNING.value,
                "wave": 1,
                "waves": len(ends),
                "tenants": tenants,
                "budget": amount(options.failure_budget, tenants),
                "options": msgspec.json.encode(options).decode(),
                "created_at": to_iso(now),
                "updated_at": to_iso(now),
            }
            started = (await db.execute(insert(rollout).returning(*rollout.c), values)).one()
            await db.execute(
                sql.START,
                {
                    "rollout_id": rollout_id,
                    "provider": provider,
                    "to_version": to_version,
                    "canaries": msgspec.json.encode(canaries).decode(),
                    "ends": msgspec.json.encode(ends).decode(),
                    "now_ms": int(now.timestamp() * 1000),
                    "include_restored": options.include_restored,
                },
            )
            taken = {"rollout_id": rollout_id, "provider": provider, "to_version": to_version}
            await db.execute(sql.TAKE_OVER, {**taken, "drifts": _DRIFTS})
            await self._note(db, "rollout.started", rollout_id, to_version=to_version, tenants=tenants)
        return _rollout(started)

    async def find(self, rollout_id: str | None = None) -> Rollout:
        wanted = select(rollout).order_by(rollout.c.created_at.desc(), rollout.c.id).limit(1)
        if rollout_id is not None:
            wanted = select(rollout).where(rollout.c.id == rollout_id)
        row = (await self.central.fetch(wanted)).first()
        if row is None:
            raise NotFound("there is no such rollout; `freehold rollout plan` shows what one would do")
        return _rollout(row)

    async def newest(self, limit: int) -> Sequence[Rollout]:
        newest = select(rollout).order_by(rollout.c.created_at.desc(), rollout.c.id).limit(limit)
        return [_rollout(row) for row in await self.central.fetch(newest)]

    async def move(
        self, rollout_id: str, sources: Sequence[RolloutState], target: RolloutState, reason: str | None
    ) -> bool:
        is_in = and_(rollout.c.id == rollout_id, rollout.c.state.in_([state.value for state in sources]))
        values = {"state": target.value, "reason": reason, "updated_at": to_iso(self.central.now())}
        async with self.central.write() as db:
            moved = (await db.execute(update(rollout).where(is_in).values(**values))).rowcount == 1
            if moved:
                verb = "resumed" if target is RolloutState.RUNNING else target.value
                await self._note(db, f"rollout.{verb}", rollout_id, reason=reason)
        return moved

    async def advance(self, rollout_id: str, wave: int) -> Rollout | None:
        has_more = rollout.c.waves > rollout.c.wave
        # Failed steps may have been set to retry since the worker looked.
        is_due = exists().where(
            rollout_step.c.rollout_id == rollout_id, rollout_step.c.wave == wave, rollout_step.c.due_at_ms.is_not(None)
        )
        going_on = (
            update(rollout)
            .where(
                rollout.c.id == rollout_id,
                rollout.c.wave == wave,
                rollout.c.state == RolloutState.RUNNING.value,
                ~is_due,
            )
            .values(
                wave=case((has_more, rollout.c.wave + 1), else_=rollout.c.wave),
                state=case((has_more, rollout.c.state), else_=RolloutState.DONE.value),
                updated_at=to_iso(self.central.now()),
            )
            .returning(*rollout.c)
        )
        async with self.central.write() as db:
            row = (await db.execute(going_on)).first()
            if row is None:
                return None
            found = _rollout(row)
            if found.state is RolloutState.DONE:
                await self._note(db, "rollout.done", rollout_id)
            else:
                await self._note(db, "rollout.wave_finished", rollout_id, wave=wave)
        return found

    async def extend(self, rollout_id: str, wave: int, tenants: int) -> int:
        values = {"rollout_id": rollout_id, "wave": wave, "tenants": tenants}
        async with self.central.write() as db:
            count = (await db.execute(sql.EXTEND, values)).rowcount
            if count:
                await self._note(db, "rollout.wave_extended", rollout_id, wave=wave, tenants=count)
        return count

    async def claim(
        self, rollout_id: str, wave: int, *, now_ms: int, lease_until_ms: int, limit: int
    ) -> Sequence[Step]:
        values = {
            "of_rollout": rollout_id,
            "of_wave": wave,
            "now_ms": now_ms,
            "lease_until_ms": lease_until_ms,
            "limit": limit,
        }
        async with self.central.write() as db:
            rows = (await db.execute(sql.CLAIM, values)).all()
        return [
            Step(
                tenant_id=tenant_id,
                database_name=name or "",
                recorded_version=version or 0,
                attempts=attempts,
                lease_until_ms=lease_until_ms,
                restore_point=restore_point,
            )
            for tenant_id, attempts, restore_point, name, version in rows
        ]

    async def renew(self, rollout_id: str, steps: Sequence[Step], lease_until_ms: int) -> Sequence[Step]:
        held = {step.tenant_id: step.lease_until_ms for step in steps}
        renewing = sql.LEASES.renew(held, lease_until_ms)
        async with self.central.write() as db:
            kept = set((await db.execute(renewing, {"of_rollout": rollout_id})).scalars())
        return [
            msgspec.structs.replace(step, lease_until_ms=lease_until_ms) for step in steps if step.tenant_id in kept
        ]

    async def record(self, rollout_id: str, ended: Sequence[Ended]) -> Standing:
        now = to_iso(self.central.now())
        written = [sql.step_values(rollout_id, one) for one in ended]
        moved = [sql.tenant_values(one, now) for one in ended if one.version is not None]
        async with self.central.write() as db:
            if written:
                await db.execute(sql.RECORD, written)
            if moved:
                await db.execute(sql.MOVE, moved)
            state, wave, failed, is_due = (await db.execute(sql.STANDING, {"rollout_id": rollout_id})).one()
        return Standing(state=RolloutState(state), failed=failed, ended_wave=None if is_due else wave)

    async def note_restore_point(self, rollout_id: str, step: Step, database_name: str) -> None:
        noting = (
            update(rollout_step)
            .where(rollout_step.c.rollout_id == rollout_id, rollout_step.c.tenant_id == step.tenant_id)
            .values(restore_point=database_name)
        )
        await self.central.change(noting)

    async def next_due_ms(self, rollout_id: str, wave: int) -> int | None:
        found = await self.central.fetch(sql.NEXT_DUE, {"of_rollout": rollout_id, "of_wave": wave})
        due_ms: int | None = found.scalar()
        return due_ms

    async def sample(self, rollout_id: str, wave: int, limit: int) -> Sequence[str]:
        names = (
            select(tenant.c.database_name)
            .join(rollout_step, rollout_step.c.tenant_id == tenant.c.id)
            .where(
                rollout_step.c.rollout_id == rollout_id, rollout_step.c.wave == wave, rollout_step.c.state == "migrated"
            )
            .limit(limit)
        )
        return list((await self.central.fetch(names)).scalars())

    async def progress(self, rollout_id: str) -> Progress:
        found = await self.find(rollout_id)
        counting = (
            select(rollout_step.c.wave, rollout_step.c.state, func.count(), func.sum(rollout_step.c.requests))
            .where(rollout_step.c.rollout_id == rollout_id)
            .group_by(rollout_step.c.wave, rollout_step.c.state)
        )
        rows = (await self.central.fetch(counting)).all()
        return sql.progress_of(found, rows, self.central.now())

    async def failures(self, rollout_id: str, state: StepState) -> Sequence[Failure]:
        causes, wave, after = Causes(), 0, 0
        while True:
            values = {"rollout_id": rollout_id, "state": state, "wave": wave, "after": after, "page": _PAGE}
            rows = (await self.central.fetch(sql.NOT_MIGRATED, values)).all()
            for wave, after, tenant_id, cause, error in rows:  # noqa: B007 - the last row is where the next page starts
                causes.add(cause or "", error or "", tenant_id)
            if len(rows) < _PAGE:
                return causes.most_first(_CAUSES)

    async def retry(self, rollout_id: str, now_ms: int, states: Sequence[StepState]) -> int:
        is_meant = and_(rollout_step.c.rollout_id == rollout_id, rollout_step.c.state.in_(states))
        again = update(rollout_step).where(is_meant)
        async with self.central.write() as db:
            state = (await db.execute(select(rollout.c.state).where(rollout.c.id == rollout_id))).scalar()
            if state == RolloutState.ABORTED.value:
                raise RolloutEnded("an aborted rollout cannot be retried; start another one")
            await _require_none_open(db, besides=rollout_id)
            first = (await db.execute(select(func.min(rollout_step.c.wave)).where(is_meant))).scalar()
            if first is None:
                return 0
            again = again.values(state="pending", attempts=0, due_at_ms=now_ms)
            count = (await db.execute(again)).rowcount
            back = update(rollout).where(rollout.c.id == rollout_id, rollout.c.wave > first)
            await db.execute(back.values(wave=first))
            await self._note(db, "rollout.retried", rollout_id, tenants=count)
        return count

    async def reopen(self, rollout_id: str) -> Rollout | None:
        waiting = select(func.min(rollout_step.c.wave)).where(
            rollout_step.c.rollout_id == rollout_id, rollout_step.c.due_at_ms.is_not(None)
        )
        is_done = and_(rollout.c.id == rollout_id, rollout.c.state == RolloutState.DONE.value)
        async with self.central.write() as db:
            first = (await db.execute(waiting)).scalar()
            if first is None:
                return None
            await _require_none_open(db, besides=rollout_id)
            values = {"state": RolloutState.RUNNING.value, "reason": None, "wave": first}
            opening = update(rollout).where(is_done).values(**values, updated_at=to_iso(self.central.now()))
            row = (await db.execute(opening.returning(*rollout.c))).first()
            if row is None:
                return None
            await self._note(db, "rollout.resumed", rollout_id)
        return _rollout(row)

    async def _note(self, db: AsyncConnection, action: str, rollout_id: str, **facts: Any) -> None:
        details: Facts = {name: value for name, value in facts.items() if value is not None}
        await self.central.record(db, Event(action, f"rollout:{rollout_id}", details))


async def _require_none_open(db: AsyncConnection, besides: str = "") -> None:
    wanted = select(rollout.c.id, rollout.c.state, rollout.c.to_version).where(
        rollout.c.state.in_(_OPEN), rollout.c.id != besides
    )
    found = (await db.execute(wanted)).first()
    if found is not None:
        raise RolloutOpen(
            f"another rollout ({found.id}, to version {found.to_version}) is {found.state}; resume it or abort it first"
        )


def _rollout(row: Row[Any]) -> Rollout:
    found = dict(row._mapping)
    return Rollout(
        rollout_id=found.pop("id"),
        state=RolloutState(found.pop("state")),
        options=msgspec.json.decode(found.pop("options"), type=Options),
        **found,
    )
