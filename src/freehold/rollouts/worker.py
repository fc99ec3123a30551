"""Run a rollout: any number of these may share one, and each may be killed at any time."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from freehold.errors import CentralUnavailable
from freehold.rollouts.migrate_one import MigrateOne
from freehold.rollouts.ports import RolloutStore, WorkerStore
from freehold.rollouts.types import Ended, Rollout, RolloutState, Step
from freehold.tenants.ports import Clock
from freehold.tenants.worker import Worker, WorkerConfig, renewed

_SLOWER = 2.0
_SMOOTH = 0.1
_FIRST = 4.0  # enough to saturate a small server; slowness alone never lowers the limit below it


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutWorkerConfig(WorkerConfig):
    """`concurrency` is the maximum number migrated at once; outcomes are recorded in batches.

    A stopped worker finishes tenants in progress: their changes are made anyway.
    """

    concurrency: int = 16
    lease_s: float = 15.0
    poll_s: float = 0.5
    flush_s: float = 0.25
    flush_at: int = 100
    shutdown_limit_s: float | None = None


@dataclass(slots=True)
class Throttle:
    """How many tenants are migrated at once: more while that helps, half as many when the provider is overloaded.

    Additive increase, multiplicative decrease, as in TCP (RFC 5681). `most` is the operator's limit.
    """

    most: int
    limit: float = _FIRST
    best_ms: float = float("inf")
    smooth_ms: float = 0.0
    refused_at_s: float = float("-inf")

    @property
    def room(self) -> int:
        """How many may be in progress."""
        return max(1, min(int(self.limit), self.most))

    @property
    def in_a_second(self) -> int:
        """The likely number of tenants per second: 1 to 100 times `room`, and 4 times while unknown."""
        rounds = 1000 / self.smooth_ms if self.smooth_ms else 4.0
        return int(self.room * min(max(rounds, 1.0), 100.0))

    def served(self, duration_ms: float) -> None:
        """Record a migration's duration: raise the limit a little as long as it does not slow down responses."""
        self.smooth_ms += _SMOOTH * (duration_ms - self.smooth_ms) if self.smooth_ms else duration_ms
        self.best_ms = min(self.best_ms, self.smooth_ms)
        if self.smooth_ms <= _SLOWER * self.best_ms:
            self.limit = min(self.limit + 1 / self.limit, float(self.most))
        elif self.limit > _FIRST:
            self.limit = max(self.limit - 1 / self.limit, _FIRST)

    def refused(self, now_s: float) -> None:
        """Record an overload or a missing answer. Those that ran at the same time count once."""
        if now_s - self.refused_at_s > 1:
            self.refused_at_s = now_s
            self.limit = max(1.0, self.limit / 2)


class Wave:
    """One wave of one rollout, from the claims to the last recorded outcome."""

    def __init__(
        self,
        store: RolloutStore,
        rollout: Rollout,
        migrate: MigrateOne,
        *,
        clock: Clock,
        config: RolloutWorkerConfig,
        on_recorded: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._rollout = rollout
        self._migrate = migrate
        self._clock = clock
        self._on_recorded = on_recorded
        self._throttle = Throttle(most=config.concurrency)
        self._is_over = self._is_stopped = False
        self._worker = Worker(
            clock=clock,
            config=config,
            next_due_ms=self._next_due_ms,
            claim=self._claim,
            do=self._do,
            record=self._record,
            renew=self._renew,
            give_back=self._give_back,
            room=lambda: self._throttle.room,
            wanted=self._wanted,
        )

    async def run(self) -> bool:
        """Work until the wave is over (True), or the rollout is no longer running (False).

        Cancelled once, it finishes and records tenants in progress first; cancelled twice, it stops at once.

        Raises:
            CentralUnavailable: work in progress ends by itself, and its leases expire.
        """
        await self._worker.run()
        return self._is_over and not self._is_stopped

    def _wanted(self, waiting: int) -> int:
        """Keep about a second's work waiting: others share the rollout, and each claim is a transaction."""
        ahead = self._throttle.in_a_second
        return ahead if waiting < max(ahead // 2, self._throttle.room) else 0

    async def _next_due_ms(self) -> int | None:
        due_ms = await self._store.next_due_ms(self._rollout.rollout_id, self._rollout.wave)
        if due_ms is None:
            self._is_over = True
            self._worker.end()
        elif due_ms > self._clock.now_ms():
            await self._look_around()
        return due_ms

    async def _claim(self, limit: int, lease_until_ms: int) -> Sequence[Step]:
        claimed = await self._store.claim(
            self._rollout.rollout_id,
            self._rollout.wave,
            now_ms=self._clock.now_ms(),
            lease_until_ms=lease_until_ms,
            limit=limit,
        )
        if not claimed:
            await self._look_around()
        return claimed

    async def _look_around(self) -> None:
        """Check that the rollout is still running: others have claimed what is left, or it is due later."""
        if not self._worker.is_at_rest:
            return  # recording will find out
        await self._on_recorded()
        if (await self._store.find(self._rollout.rollout_id)).state is not RolloutState.RUNNING:
            self._stop()

    async def _do(self, step: Step) -> Ended:
        ended = await self._migrate.run(step)
        if ended.state == "pending":
            self._throttle.refused(self._clock.now_ms() / 1000)
        else:
            self._throttle.served(ended.duration_ms)
        return ended

    async def _renew(self, steps: Sequence[Step], lease_until_ms: int) -> Sequence[Step]:
        return await self._store.renew(self._rollout.rollout_id, steps, lease_until_ms)

    async def _record(self, ended: Sequence[tuple[Step, Ended]]) -> None:
        """Record what has ended, in one transaction, and decide whether to continue."""
        current = [msgspec.structs.replace(one, step=step) for step, one in ended]
        standing = await self._store.record(self._rollout.rollout_id, current)
        if not self._worker.is_running:
            return
        if standing.ended_wave == self._rollout.wave:
            self._is_over = True
            self._worker.end()
        if standing.state is not RolloutState.RUNNING:
            self._stop()
        elif standing.failed > self._rollout.budget:
            self._stop()
            await self._store.move(
                self._rollout.rollout_id,
                (RolloutState.RUNNING,),
                RolloutState.PAUSED,
                f"{standing.failed} failed, and {self._rollout.budget} may; see the failures,"
                " then `freehold rollout retry` or `abort`",
            )
        await self._on_recorded()

    async def _give_back(self, steps: Sequence[Step]) -> None:
        now_ms = self._clock.now_ms()
        back = [Ended(step=step, state="pending", due_at_ms=now_ms) for step in steps]
        await self._store.record(self._rollout.rollout_id, back)

    def _stop(self) -> None:
        self._is_stopped = True
        self._worker.end()


@asynccontextmanager
async def presence(store: WorkerStore, rollout_id: str, clock: Clock, lease_s: float) -> AsyncIterator[None]:
    """Count one more worker in the store while this is entered; a killed one counts until its lease expires."""
    worker_id = secrets.token_hex(8)

    async def tell() -> None:
        await store.is_at_work(rollout_id, worker_id, clock.now_ms() + int(lease_s * 1000))

    with contextlib.suppress(CentralUnavailable):
        await tell()
    try:
        # Still counted after one or two missed renewals, as happens on a busy machine.
        async with renewed(lease_s / 3, clock, tell):
            yield
    finally:
        with contextlib.suppress(CentralUnavailable):
            await store.has_left(worker_id, clock.now_ms())
