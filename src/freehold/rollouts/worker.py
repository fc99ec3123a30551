"""Works on a rollout: any number of these may share one, and each may be killed at any moment."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from freehold.rollouts.migrate_one import MigrateOne
from freehold.rollouts.ports import RolloutStore
from freehold.rollouts.types import Ended, Rollout, RolloutState, Step
from freehold.tenants.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """`lease_s` is how long a killed worker keeps others from its tenants."""

    concurrency: int = 16
    lease_s: float = 15.0
    poll_s: float = 0.5
    flush_s: float = 0.25
    flush_at: int = 100


class Worker:
    """One wave of one rollout, from the claims to the last outcome written."""

    def __init__(
        self,
        store: RolloutStore,
        rollout: Rollout,
        migrate: MigrateOne,
        *,
        clock: Clock,
        pace: WorkerConfig,
        on_flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._rollout = rollout
        self._migrate = migrate
        self._clock = clock
        self._pace = pace
        self._on_flush = on_flush
        self._throttle = Throttle(most=pace.concurrency)
        self._held: dict[str, Step] = {}  # claimed and not yet written down, with the newest lease
        self._waiting: deque[str] = deque()
        self._tasks: set[asyncio.Task[Ended]] = set()
        self._ended: list[Ended] = []
        # Claiming and writing down go on beside the work: it never waits for the central database.
        self._claiming: asyncio.Task[None] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._flushed_ms = self._renewed_ms = clock.now_ms()
        self._claim_from_ms = self._flushed_ms  # before that there is nothing to be had
        self._is_stopping = False
        self._is_over = False

    async def run(self) -> bool:
        """Work until the wave is over (True), or the rollout is not running any more (False).

        Cancelled once, it lets those at work end and writes them down first: a claim or an outcome on its way to the
        central database is not lost. Cancelled twice, it stops at once, and leases run out.

        Raises:
            CentralUnavailable: what is under way ends by itself, and its leases run out.
        """
        working = asyncio.create_task(self._run())
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            self._is_stopping = True
            try:
                await working
            finally:
                working.cancel()
            raise

    async def _run(self) -> bool:
        try:
            while True:
                self._begin_what_can_begin()
                if under_way := self._under_way():
                    await asyncio.wait(
                        under_way, timeout=self._pace.poll_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    self._take_in()
                    await self._renew_if_due()
                    continue
                if self._is_stopping:
                    return False
                if self._is_over:
                    return True
                due_ms = await self._store.next_due_ms(self._rollout.rollout_id, self._rollout.wave)
                if due_ms is None:
                    return True
                await self._wait_for_others(due_ms)
        finally:
            await self._stop()

    def _begin_what_can_begin(self) -> None:
        room = self._throttle.room
        if not self._is_stopping:
            while self._waiting and len(self._tasks) < room:
                step = self._held[self._waiting.popleft()]
                self._tasks.add(asyncio.create_task(self._migrate.run(step)))
            ahead = self._throttle.in_a_second
            is_low = len(self._waiting) < max(ahead // 2, room)
            if is_low and self._claiming is None and self._clock.now_ms() >= self._claim_from_ms:
                self._claiming = asyncio.create_task(self._claim(ahead))
        if self._ended and self._flushing is None and self._is_flush_due():
            self._flushing = asyncio.create_task(self._flush())

    def _under_way(self) -> set[asyncio.Task[Ended] | asyncio.Task[None]]:
        return {*self._tasks, *(task for task in (self._claiming, self._flushing) if task is not None)}

    def _is_flush_due(self) -> bool:
        is_time = self._clock.now_ms() - self._flushed_ms >= self._pace.flush_s * 1000
        is_rest = not (self._tasks or self._waiting or self._claiming)
        return is_time or is_rest or len(self._ended) >= self._pace.flush_at

    async def _claim(self, limit: int) -> None:
        """Have as many waiting as are done in a second: others share the rollout, and each claim is a transaction."""
        now_ms = self._clock.now_ms()
        claimed = await self._store.claim(
            self._rollout.rollout_id,
            self._rollout.wave,
            now_ms=now_ms,
            lease_until_ms=self._lease_end_ms(),
            limit=limit,
        )
        if len(claimed) < limit:
            # That was all for now: asking again after each tenant would be a transaction for nothing.
            self._claim_from_ms = now_ms + int(self._pace.poll_s * 1000)
        for step in claimed:
            # A lease of our own that ran out meanwhile comes back as a new claim: once is enough.
            if step.tenant_id not in self._held:
                self._waiting.append(step.tenant_id)
            self._held[step.tenant_id] = step

    def _take_in(self) -> None:
        """What has come to its end. Raises what claiming or writing down raised."""
        done = {task for task in self._tasks if task.done()}
        self._tasks -= done
        for task in done:
            ended = task.result()
            self._ended.append(ended)
            if ended.state == "pending":
                self._throttle.refused(self._clock.now_ms() / 1000)
            else:
                self._throttle.served(ended.duration_ms)
        if self._claiming is not None and self._claiming.done():
            claiming, self._claiming = self._claiming, None
            claiming.result()
        if self._flushing is not None and self._flushing.done():
            flushing, self._flushing = self._flushing, None
            flushing.result()

    async def _flush(self) -> None:
        """Write down what has ended, in one transaction, and see whether to go on."""
        ended, self._ended = self._ended, []
        current = [_under_lease(one, self._held.pop(one.step.tenant_id)) for one in ended]
        standing = await self._store.record(self._rollout.rollout_id, current)
        self._flushed_ms = self._clock.now_ms()
        self._is_over = standing.ended_wave == self._rollout.wave
        if standing.state is not RolloutState.RUNNING:
            self._is_stopping = True
        elif standing.failed > self._rollout.budget:
            self._is_stopping = True
            await self._store.move(
                self._rollout.rollout_id,
                (RolloutState.RUNNING,),
                RolloutState.PAUSED,
                f"{standing.failed} failed, and {self._rollout.budget} may; see the failures,"
                " then `freehold rollout retry` or `abort`",
            )
        await self._on_flush()

    async def _renew_if_due(self) -> None:
        if not self._held or self._clock.now_ms() - self._renewed_ms < self._pace.lease_s * 1000 / 3:
            return
        self._renewed_ms = self._clock.now_ms()
        for step in await self._store.renew(
            self._rollout.rollout_id, list(self._held.values()), self._lease_end_ms()
        ):
            if step.tenant_id in self._held:  # else it was written down meanwhile
                self._held[step.tenant_id] = step

    async def _wait_for_others(self, due_ms: int) -> None:
        """What is left is claimed by others, or to be tried again later."""
        await self._on_flush()
        until_due_s = max(due_ms - self._clock.now_ms(), 10) / 1000
        await self._clock.sleep(min(until_due_s, self._pace.poll_s))
        self._claim_from_ms = 0
        if (await self._store.find(self._rollout.rollout_id)).state is not RolloutState.RUNNING:
            self._is_stopping = True

    async def _stop(self) -> None:
        """Let what is under way end, write it down, give the others back."""
        self._is_stopping = True
        if under_way := self._under_way():
            await asyncio.wait(under_way)
        for task in (self._claiming, self._flushing):
            if task is not None and not task.cancelled():
                task.exception()  # is on its way up already, or is met again when the rest is written down
        self._ended += [task.result() for task in self._tasks if not task.cancelled()]
        self._tasks = set()
        back = [self._held[tenant_id] for tenant_id in self._waiting]
        self._waiting.clear()
        now_ms = self._clock.now_ms()
        given_back = [Ended(step=step, state="pending", due_at_ms=now_ms) for step in back]
        ended = [_under_lease(one, self._held[one.step.tenant_id]) for one in self._ended]
        self._ended = []
        self._held.clear()
        if ended or given_back:
            await self._store.record(self._rollout.rollout_id, [*ended, *given_back])

    def _lease_end_ms(self) -> int:
        return self._clock.now_ms() + int(self._pace.lease_s * 1000)


def _under_lease(ended: Ended, held: Step) -> Ended:
    """The outcome under the lease as it was renewed meanwhile."""
    return msgspec.structs.replace(ended, step=held)


# How many tenants are migrated at once: more while that helps, half as many when the provider has had enough.

_SLOWER = 2.0
_SMOOTH = 0.1
_FIRST = 4.0  # as many saturate a small server; being slow alone never takes it below


@dataclass(slots=True)
class Throttle:
    """Additive increase, multiplicative decrease, as TCP does (RFC 5681). `most` is the operator's limit."""

    most: int
    limit: float = _FIRST
    best_ms: float = float("inf")
    smooth_ms: float = 0.0
    refused_at_s: float = float("-inf")

    @property
    def room(self) -> int:
        """How many may be at work."""
        return max(1, min(int(self.limit), self.most))

    @property
    def in_a_second(self) -> int:
        """How many are probably done in a second: 1 to 100 times `room`, and 4 times while nothing is known."""
        rounds = 1000 / self.smooth_ms if self.smooth_ms else 4.0
        return int(self.room * min(max(rounds, 1.0), 100.0))

    def served(self, duration_ms: float) -> None:
        """One was migrated in this time: a little more is tried as long as answers do not get slow for it."""
        self.smooth_ms += _SMOOTH * (duration_ms - self.smooth_ms) if self.smooth_ms else duration_ms
        self.best_ms = min(self.best_ms, self.smooth_ms)
        if self.smooth_ms <= _SLOWER * self.best_ms:
            self.limit = min(self.limit + 1 / self.limit, float(self.most))
        elif self.limit > _FIRST:
            self.limit = max(self.limit - 1 / self.limit, _FIRST)

    def refused(self, now_s: float) -> None:
        """Too many requests, or no answer. Those that were under way together count once."""
        if now_s - self.refused_at_s > 1:
            self.refused_at_s = now_s
            self.limit = max(1.0, self.limit / 2)
