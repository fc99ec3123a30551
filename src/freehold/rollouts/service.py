"""Plan, start, run and control rollouts."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from freehold.clock import SystemClock
from freehold.errors import FreeholdError
from freehold.log import get_logger
from freehold.migrate.history import History
from freehold.registry.published import PublishedRegistry
from freehold.rollouts.errors import BadRollout, RolloutEnded
from freehold.rollouts.health import Health, health_of, try_health
from freehold.rollouts.migrate_one import MigrateOne
from freehold.rollouts.ports import RolloutStore, WorkerStore
from freehold.rollouts.rehearsal import Copies, Rehearsed
from freehold.rollouts.restoring import Restoring
from freehold.rollouts.rows import SAMPLE, estimated_bytes, estimated_rows
from freehold.rollouts.types import OPEN, Kept, Options, Plan, Progress, Rollout, RolloutState, Step, StepState
from freehold.rollouts.waves import amount, wave_ends
from freehold.rollouts.worker import RolloutWorkerConfig, Wave, presence
from freehold.tenants.drift import DriftCheck
from freehold.tenants.ports import Clock, DatabaseProvider

log = get_logger()

_HEALTH_SAMPLE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """All state is in rows: a process that runs a rollout may be stopped and restarted, here or elsewhere.

    `published` returns the current registry; `drift` finds what users changed in their databases' schemas.
    """

    store: RolloutStore
    workers: WorkerStore
    restoring: Restoring
    provider: DatabaseProvider
    published: Callable[[], Awaitable[PublishedRegistry]]
    copies: Copies
    drift: DriftCheck
    clock: Clock = field(default_factory=SystemClock)
    random: Callable[[], float] = random.random

    async def plan(self, options: Options, to_version: int | None = None) -> Plan:
        """Return what a rollout to this version, by default the newest, would do now. Changes nothing.

        Raises:
            BadRollout: there is no such version, or the waves are invalid.
        """
        published = await self.published()
        to_version = self._wanted(published, to_version)
        census = await self.store.census(self.provider.name, include_restored=options.include_restored)
        behind = {version: count for version, count in sorted(census.ready.items()) if version < to_version}
        tenants = sum(behind.values())
        pending = published.migrations[min(behind, default=to_version) : to_version]
        sample = [name for _, name in await self.store.behind(self.provider.name, to_version, SAMPLE)]
        return Plan(
            to_version=to_version,
            tenants=tenants,
            behind=behind,
            left_out=census.left_out,
            migrations=tuple(f"{each.version:04}_{each.name}" for each in pending),
            statements=sum(
                count * sum(len(each.statements) for each in published.migrations[version:to_version])
                for version, count in behind.items()
            ),
            rebuilds=tuple(f"{each.version:04}_{each.name}" for each in pending if each.foreign_keys_off),
            estimated_rows=await estimated_rows(self.provider.open, sample, tenants, pending),
            estimated_bytes=await estimated_bytes(self.provider.open, sample, tenants),
            waves=wave_ends(options.waves, len(options.canaries), tenants),
            budget=amount(options.failure_budget, tenants),
            drifted=await self.store.drifted(self.provider.name, to_version),
        )

    async def rehearse(self, to_version: int, count: int) -> AsyncIterator[Rehearsed]:
        """Migrate copies of some tenants that are behind, one by one. Their own databases are only read."""
        migrations = (await self.published()).migrations
        for tenant_id, database_name in await self.store.behind(self.provider.name, to_version, count):
            yield await self.copies.rehearse(database_name, tenant_id, migrations, to_version)

    async def start(self, options: Options, to_version: int | None = None) -> Rollout:
        """Create a rollout over all ready tenants below the version; `work` runs it.

        Raises:
            BadRollout: as `plan`, a canary is not a tenant that is behind, or `check` fails.
            NobodyBehind: it would have nothing to do, and is not created.
            RolloutOpen: another one has not ended.
        """
        wanted = self._wanted(await self.published(), to_version)
        await self.check(options, wanted)
        rollout = await self.store.start(self.provider.name, wanted, options)
        log.info("rollout.started", rollout_id=rollout.rollout_id, tenants=rollout.tenants)
        return rollout

    async def check(self, options: Options, to_version: int | None = None) -> bool:
        """Try the health query on an empty scratch database at that version; return whether it is true there.

        Raises:
            BadRollout: it cannot be run there, or returns nothing.
            ProviderUnavailable: it could not be tried.
        """
        if options.health_sql is None:
            return True
        published = await self.published()
        wanted = self._wanted(published, to_version)
        async with self.copies.scratch(published.migrations, wanted) as target:
            return await try_health(target, options.health_sql)

    async def work(
        self,
        rollout_id: str,
        *,
        config: RolloutWorkerConfig | None = None,
        on_progress: Callable[[], Awaitable[None]] | None = None,
    ) -> Rollout:
        """Run the rollout, together with other workers, until it is done, paused or aborted.

        Raises:
            NotFound: no such rollout.
            CentralUnavailable: call again later; nothing is lost.
        """
        config = config or RolloutWorkerConfig()
        rollout = await self.store.reopen(rollout_id) or await self.store.find(rollout_id)
        if rollout.state is not RolloutState.RUNNING:
            return rollout
        history = History((await self.published()).migrations)
        async with presence(self.workers, rollout_id, self.clock, config.lease_s):
            migrate = MigrateOne(
                open=self.provider.open,
                migrations=history,
                to_version=rollout.to_version,
                clock=self.clock,
                random=self.random,
                prepare=partial(self._prepare, rollout),
                own_change=self.drift.own_change,
            )
            while rollout.state is RolloutState.RUNNING:
                wave = Wave(
                    self.store, rollout, migrate, clock=self.clock, config=config, on_recorded=on_progress or _nothing
                )
                moved = await self._end_wave(rollout) if await wave.run() else None
                rollout = moved or await self.store.find(rollout_id)
        return rollout

    async def pause(self, rollout_id: str, reason: str = "paused by an operator") -> Rollout:
        """Stop it from starting further tenants; those in progress finish. Raises `NotFound`, `RolloutEnded`.

        A paused one is unchanged, including the reason.
        """
        return await self._move(rollout_id, RolloutState.RUNNING, RolloutState.PAUSED, reason)

    async def resume(self, rollout_id: str) -> Rollout:
        """Let it run again; `work` runs it. Raises `NotFound`, `RolloutEnded`.

        Also reopens a finished one with tenants to retry: raises `RolloutOpen` while another one has not ended.
        """
        reopened = await self.store.reopen(rollout_id)
        return reopened or await self._move(rollout_id, RolloutState.PAUSED, RolloutState.RUNNING, None)

    async def abort(self, rollout_id: str, reason: str = "aborted by an operator") -> Rollout:
        """End it without taking tenants back. Raises `NotFound`, `RolloutEnded`."""
        rollout = await self.store.find(rollout_id)
        if rollout.state is RolloutState.PAUSED and rollout.reason:
            reason = f"{reason}; it was paused: {rollout.reason}"
        if not await self.store.move(rollout_id, OPEN, RolloutState.ABORTED, reason):
            raise _over(await self.store.find(rollout_id))
        return await self.store.find(rollout_id)

    async def retry(self, rollout_id: str, *, states: Sequence[StepState] = ("failed",)) -> int:
        """Retry the tenants in these states; return how many there are. `resume` continues, even after the end.

        Raises:
            NotFound: no such rollout.
            RolloutEnded: it was aborted.
            RolloutOpen: it has ended, and another one has not.
        """
        await self.store.find(rollout_id)
        return await self.store.retry(rollout_id, self.clock.now_ms(), states)

    async def progress(self, rollout_id: str | None = None) -> Progress:
        """Return the progress of this rollout, or the newest, with unmigrated tenants by cause. Raises `NotFound`."""
        rollout = await self.store.find(rollout_id)
        found = await self.store.progress(rollout.rollout_id)
        has_copies = rollout.options.restore_points
        return msgspec.structs.replace(
            found,
            failures=tuple(await self.store.failures(rollout.rollout_id, "failed")),
            drifted=tuple(await self.store.failures(rollout.rollout_id, "drifted")),
            kept=await self.restoring.points.kept(rollout.rollout_id) if has_copies else Kept(),
            workers=await self.workers.count(rollout.rollout_id, self.clock.now_ms()),
        )

    async def _end_wave(self, rollout: Rollout) -> Rollout | None:
        """Check the wave's health and move to the next. None if it did not, or another worker did.

        If all users of a wave had changed their schemas, it proves nothing, so as many other tenants are added to it
        first.
        """
        health, sql = Health(), rollout.options.health_sql
        if sql is not None:
            names = await self.store.sample(rollout.rollout_id, rollout.wave, _HEALTH_SAMPLE)
            health = await health_of(self.provider.open, names, sql, self.drift.own_change)
        if health.reason is not None:
            await self.store.move(rollout.rollout_id, (RolloutState.RUNNING,), RolloutState.PAUSED, health.reason)
            return None
        outcomes = (await self.store.progress(rollout.rollout_id)).waves[rollout.wave - 1]
        drifted = outcomes.get("drifted", 0) + health.set_aside
        ended_well = outcomes.get("migrated", 0) + outcomes.get("skipped", 0) - health.set_aside
        if (
            drifted
            and (ended_well <= 0 or (health.set_aside and not health.well))
            and (more := await self.store.extend(rollout.rollout_id, rollout.wave, drifted))
        ):
            log.info("rollout.wave_extended", rollout_id=rollout.rollout_id, wave=rollout.wave, tenants=more)
            return None
        moved = await self.store.advance(rollout.rollout_id, rollout.wave)
        if moved is not None:
            log.info("rollout.wave_finished", rollout_id=rollout.rollout_id, wave=rollout.wave)
        return moved

    async def _prepare(self, rollout: Rollout, step: Step) -> Step:
        old = step.restore_point
        # A copy from an earlier attempt holds the original state. If that attempt changed nothing, the user may have
        # written since then, and the copy would lack that.
        is_kept = old is not None and (step.attempts > 0 or not await self.copies.is_outdated(old, step))
        if not rollout.options.restore_points or is_kept:
            return step
        name = await self.copies.keep(step.database_name, step.tenant_id, rollout.options.keep_days)
        await self.store.note_restore_point(rollout.rollout_id, step, name)
        if old is not None:
            await self.copies.give_up(old)
        return msgspec.structs.replace(step, restore_point=name)

    async def _move(self, rollout_id: str, source: RolloutState, target: RolloutState, reason: str | None) -> Rollout:
        """Move the rollout to the target state, unless it is there already. Raises `RolloutEnded`."""
        await self.store.move(rollout_id, (source,), target, reason)
        rollout = await self.store.find(rollout_id)
        if rollout.state not in OPEN:
            raise _over(rollout)
        return rollout

    def _wanted(self, published: PublishedRegistry, to_version: int | None) -> int:
        if not published.version and to_version is None:
            raise BadRollout("nothing is published yet: `freehold registry publish` comes first")
        wanted = published.version if to_version is None else to_version
        if not 0 < wanted <= published.version:
            raise BadRollout(f"there is no version {wanted}; the newest published one is {published.version}")
        return wanted


async def _nothing() -> None:
    """The default for `on_progress`."""


def _over(rollout: Rollout) -> FreeholdError:
    return RolloutEnded(f"the rollout is {rollout.state.value}; start another one")
