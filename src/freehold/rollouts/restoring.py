"""Take tenants back to their state before a rollout, from the copies it kept of their databases."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from freehold.clock import SystemClock
from freehold.dates import from_ms, to_iso
from freehold.errors import FreeholdError, NotFound
from freehold.log import get_logger
from freehold.migrate.ledger import read_ledger
from freehold.rollouts.errors import NoRestorePoint, RolloutRunning
from freehold.rollouts.ports import RestorePointStore, RolloutStore
from freehold.rollouts.rehearsal import Copies
from freehold.rollouts.types import RestorePoint, Rollout, RolloutState, StepState, TakenBack, TakenBackAs
from freehold.tenants.listing import in_parts
from freehold.tenants.ports import Clock, DatabaseProvider, LifecycleStore
from freehold.tenants.types import TenantState

log = get_logger()

_AT_ONCE = 8
_PAGE = 200
_DAY_MS = 24 * 3_600_000
# A copy in use is kept at least this long.
_AT_HAND_MS = 10 * 60_000

ALL: tuple[StepState, ...] = ("migrated", "skipped", "failed", "drifted", "restored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """Replaces a tenant's database by a fork of its copy, in one transaction: if killed before or after, run it again.

    The replaced database is kept as long as the copies of its rollout are, and no token opens it.
    """

    rollouts: RolloutStore
    points: RestorePointStore
    copies: Copies
    lifecycle: LifecycleStore
    provider: DatabaseProvider
    clock: Clock = field(default_factory=SystemClock)

    async def rollout(self, rollout_id: str | None) -> Rollout:
        """Return this rollout, or the newest, if tenants can be taken back from it.

        Raises:
            NotFound: no such rollout.
            RolloutRunning: it would start more tenants meanwhile.
            NoRestorePoint: it kept no copies, or they are gone.
        """
        found = await self.rollouts.find(rollout_id)
        if found.state is RolloutState.RUNNING:
            raise RolloutRunning(
                f"rollout {found.rollout_id} is running; `freehold rollout pause` first, then take tenants back"
            )
        kept = await self.points.kept(found.rollout_id)
        if not (kept.restore_points or kept.set_aside):
            why = "it was started without --restore-points; --rollout names an earlier one"
            why = "none was made yet, or they are gone" if found.options.restore_points else why
            raise NoRestorePoint(f"there are no restore points of rollout {found.rollout_id}: {why}")
        return found

    async def of(self, rollout: Rollout, tenant_ids: Sequence[str]) -> AsyncIterator[RestorePoint]:
        """Yield the restore points of these tenants. Raises `NotFound` for one that is not part of the rollout."""
        for tenant_id in tenant_ids:
            yield await self.points.find(rollout.rollout_id, tenant_id)

    async def each(self, rollout: Rollout, states: Sequence[StepState]) -> AsyncIterator[RestorePoint]:
        """Yield the restore points of tenants with steps in these states, page by page."""
        after = ""
        while page := await self.points.page(rollout.rollout_id, states, after=after, limit=_PAGE):
            for point in page:
                yield point
            after = page[-1].tenant.tenant_id

    async def restore(self, rollout: Rollout, points: AsyncIterator[RestorePoint]) -> AsyncIterator[TakenBack]:
        """Take these tenants back, some at once. A failure does not stop the others.

        Raises:
            CentralUnavailable: repeat it; those that were taken back are left unchanged.
        """
        async for part in in_parts(points, _AT_ONCE):
            for done in await asyncio.gather(*(self._one(rollout, point) for point in part)):
                yield done

    async def discard(self, rollout_id: str) -> int:
        """Delete its copies, and databases set aside, now instead of later; return how many."""
        return await self.points.discard(rollout_id, self.clock.now_ms())

    async def _one(self, rollout: Rollout, point: RestorePoint) -> TakenBack:
        try:
            return await self._take_back(rollout, point)
        except FreeholdError as error:
            return _as_it_was(point, "failed", str(error), error.code)

    async def _take_back(self, rollout: Rollout, point: RestorePoint) -> TakenBack:
        tenant = point.tenant
        if point.state == "pending":
            raise NoRestorePoint("it is still to be migrated, or a worker is migrating it")
        if tenant.state not in (TenantState.READY, TenantState.SUSPENDED):
            raise NoRestorePoint(f"a tenant that is {tenant.state.value} has no database to be replaced")
        if tenant.provider != self.provider.name:
            raise NoRestorePoint(f"its database is at the provider `{tenant.provider}`")
        copy_name = await self._at_hand(point)
        try:
            before = (await read_ledger(await self.provider.open(copy_name))).version
        except NotFound as error:
            raise NoRestorePoint("the copy from before its change is gone") from error
        if before >= await self._version(point):
            return _as_it_was(point, "unchanged", _why_unchanged(point, before))
        # A copy of the copy: a tenant that is migrated again, for example by its app, can be taken back again.
        async with self.copies.passing(tenant.tenant_id) as name:
            await self.provider.fork(copy_name, name)
            return await self._put_back(rollout, point, name, before)

    async def _put_back(self, rollout: Rollout, point: RestorePoint, name: str, version: int) -> TakenBack:
        tenant = point.tenant
        # If the provider keeps the tokens, revoke them before and after, so that none survives if we are killed.
        await self.provider.invalidate_tokens(tenant.database_name)
        if tenant.state is TenantState.SUSPENDED:
            await self.provider.suspend(name, tenant.error or "")
        until_ms = self.clock.now_ms() + rollout.options.keep_days * _DAY_MS
        if not await self.points.put_back(point, name, version, until_ms):
            raise NoRestorePoint("the tenant was changed meanwhile; look again")
        with contextlib.suppress(FreeholdError):
            await self.provider.invalidate_tokens(tenant.database_name)
        log.info("tenant.taken_back", tenant_id=tenant.tenant_id, database=name, schema_version=version)
        return TakenBack(
            tenant_id=tenant.tenant_id,
            outcome="restored",
            database_name=name,
            version=version,
            kept_as=tenant.database_name,
            kept_until=to_iso(from_ms(until_ms)),
        )

    async def _at_hand(self, point: RestorePoint) -> str:
        """Return the copy's name, kept for a while longer."""
        if point.name is None:
            raise NoRestorePoint("no copy of it was made")
        now_ms = self.clock.now_ms()
        if point.until_ms is None:
            raise NoRestorePoint("the copy from before its change is gone")
        if point.until_ms < now_ms + _AT_HAND_MS and not await self.lifecycle.keep(point.name, now_ms + _AT_HAND_MS):
            raise NoRestorePoint("the copy from before its change has just gone")
        return point.name

    async def _version(self, point: RestorePoint) -> int:
        """Return its database's version; a suspended one is not asked."""
        if point.tenant.state is TenantState.SUSPENDED:
            return point.tenant.schema_version
        return (await read_ledger(await self.provider.open(point.tenant.database_name))).version


def _why_unchanged(point: RestorePoint, version: int) -> str:
    if point.state != "restored":
        return f"it is at version {version}, as before the rollout"
    kept = f"; what it had is kept as {', '.join(point.set_aside)}" if point.set_aside else ""
    return f"it was taken back already, and is at version {version}{kept}"


def _as_it_was(point: RestorePoint, outcome: TakenBackAs, reason: str, code: str | None = None) -> TakenBack:
    return TakenBack(
        tenant_id=point.tenant.tenant_id,
        outcome=outcome,
        database_name=point.tenant.database_name,
        version=point.tenant.schema_version,
        reason=reason,
        code=code,
    )
