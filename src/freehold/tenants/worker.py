"""The one background worker: looks for due work, claims it, does it under a lease, and records the outcome.

Three kinds of work use it: creating databases (`provisioner.py`), other pending operations (`pending_operations.py`),
and the waves of a rollout (`rollouts/worker.py`). `DESIGN.md` beside this file draws the loop.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from freehold.backoff import OUTAGE, is_worth_a_line
from freehold.errors import CentralUnavailable, FreeholdError
from freehold.log import get_logger
from freehold.tenants.ports import Clock

log = get_logger()

T = TypeVar("T")


class Leased(Protocol):
    """Something claimed: ours until its lease expires."""

    @property
    def key(self) -> str:
        """Identifies the work, regardless of who has claimed it and how often."""


ClaimT = TypeVar("ClaimT", bound=Leased)
OutcomeT = TypeVar("OutcomeT")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Limits of a worker.

    `lease_s` is how long a killed process blocks its claims; leases are renewed during work. `limit_s` is the most time
    for one piece of work. Outcomes are recorded every `flush_s`, or once there are `flush_at`. A stopped worker waits
    `shutdown_limit_s` for work in progress; None: without limit.
    """

    concurrency: int = 4
    lease_s: float = 10.0
    poll_s: float = 1.0
    limit_s: float = 120.0
    flush_s: float = 0.0
    flush_at: int = 1
    shutdown_limit_s: float | None = 3.0


@dataclass(slots=True)
class Cooldown:
    """Counts consecutive failures, pauses longer after each, and logs only some of them."""

    random: Callable[[], float]
    failures: int = 0
    since_ms: int = 0

    def after(self, error: Exception, now_ms: int) -> float:
        """Return the seconds to pause after this failure."""
        if not self.failures:
            self.since_ms = now_ms
        self.failures += 1
        if not isinstance(error, FreeholdError):
            log.error("provisioner.failed", failures=self.failures, exc_info=error)
        elif is_worth_a_line(self.failures):
            log.warning("provisioner.paused", code=error.code, reason=str(error), failures=self.failures)
        return OUTAGE.delay_s(self.failures, self.random)

    def is_over(self, now_ms: int) -> None:
        """Record that everything answers, or answers again."""
        if self.failures:
            log.info("provisioner.resumed", after_ms=now_ms - self.since_ms)
            self.failures = 0


@dataclass(slots=True, kw_only=True)
class Worker(Generic[ClaimT, OutcomeT]):
    """Any number may share the work, and each may be killed at any time: all lasting state is in rows.

    What differs between kinds of work is passed in:

    - `next_due_ms` returns when something is due, now or later; None if nothing is. Called before each claim.
    - `claim` claims up to a number of due items, under a lease until a given time.
    - `do` does one, and never raises.
    - `record` records outcomes, each with the claim as last renewed.
    - `renew` returns the claims that are still ours, with the longer lease; None for work that ends before its lease.
    - `give_back` returns claims unfinished; None for work that is due again when its lease expires.
    - `room` is how many run at once, `wanted` how many to claim while this many wait for room. By default nothing
      waits: as many are claimed as there is room for.

    With a `cooldown`, a failure to look, renew or record causes a pause, and the work continues; without one, it is
    raised.
    """

    clock: Clock
    config: WorkerConfig
    next_due_ms: Callable[[], Awaitable[int | None]]
    claim: Callable[[int, int], Awaitable[Sequence[ClaimT]]]
    do: Callable[[ClaimT], Coroutine[Any, Any, OutcomeT]]
    record: Callable[[Sequence[tuple[ClaimT, OutcomeT]]], Awaitable[None]]
    renew: Callable[[Sequence[ClaimT], int], Awaitable[Sequence[ClaimT]]] | None = None
    give_back: Callable[[Sequence[ClaimT]], Awaitable[None]] | None = None
    room: Callable[[], int] | None = None
    wanted: Callable[[int], int] | None = None
    cooldown: Cooldown | None = None

    # Claimed but not yet recorded, with the newest lease. The next three partition it: waiting, in progress, ended.
    _held: dict[str, ClaimT] = field(default_factory=dict, init=False)
    _waiting: deque[str] = field(default_factory=deque, init=False)
    _doing: dict[asyncio.Task[OutcomeT], str] = field(default_factory=dict, init=False)
    _ended: list[tuple[str, OutcomeT]] = field(default_factory=list, init=False)
    # These run beside the work, which never waits for the central database.
    _looking: asyncio.Task[None] | None = field(default=None, init=False)
    _renewing: asyncio.Task[None] | None = field(default=None, init=False)
    _recording: asyncio.Task[None] | None = field(default=None, init=False)
    _alarm: asyncio.Task[None] | None = field(default=None, init=False)
    _alarm_ms: float = field(default=0, init=False)
    _look_from_ms: float = field(default=0, init=False)
    _rest_until_ms: float = field(default=0, init=False)
    _renew_from_ms: float = field(default=0, init=False)
    _recorded_ms: float = field(default=0, init=False)
    _is_woken: bool = field(default=False, init=False)
    _is_ending: bool = field(default=False, init=False)
    _stirred: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)

    def wake(self) -> None:
        """Look for due work at once. Takes microseconds; any thread may call it."""
        self._is_woken = True
        if loop := self._loop:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody sleeps in it
                loop.call_soon_threadsafe(self._stirred.set)

    def end(self) -> None:
        """Begin nothing more: `run` returns once work in progress has ended and is recorded."""
        self._is_ending = True
        self._stirred.set()

    @property
    def is_running(self) -> bool:
        """Whether it has neither ended nor been stopped."""
        return self._loop is not None

    @property
    def is_at_rest(self) -> bool:
        """Whether everything claimed has ended and is recorded."""
        return not self._held and self._recording is None

    async def run(self) -> None:
        """Work until `end` is called, or until cancelled.

        Cancelled once, it waits for work in progress for a while, records outcomes and returns the other claims, so
        that no claim or outcome on its way to the central database is lost. Cancelled twice, it stops at once, and
        leases expire.
        """
        self._loop, self._is_ending = asyncio.get_running_loop(), False
        self._recorded_ms = self.clock.now_ms()
        try:
            while self._begin() or not self._is_ending:
                await self._stirred.wait()
                self._stirred.clear()
                self._take_in()
        finally:
            self._loop = None
            await self._stop()

    def _begin(self) -> bool:
        """Begin everything that can begin now; return whether anything is in progress."""
        now_ms = self.clock.now_ms()
        alarms: list[float] = []
        if not self._is_ending:
            room = self.config.concurrency if self.room is None else self.room()
            while self._waiting and len(self._doing) < room:
                key = self._waiting.popleft()
                self._doing[self._start(self.do(self._held[key]))] = key
            wanted = room - len(self._held) if self.wanted is None else self.wanted(len(self._waiting))
            if wanted > 0 and self._looking is None:
                look_from_ms = max(0 if self._is_woken else self._look_from_ms, self._rest_until_ms)
                if now_ms >= look_from_ms:
                    self._is_woken = False  # before the look: whoever wakes us during it wants another one
                    self._looking = self._start(self._look(wanted))
                else:
                    alarms.append(look_from_ms)
        # Never while leases are being renewed: an outcome counts only under the newest lease.
        if self._ended and self._recording is None and self._renewing is None:
            record_from_ms = self._recorded_ms + self.config.flush_s * 1000
            is_rest = not (self._doing or self._waiting or self._looking)
            if is_rest or now_ms >= record_from_ms or len(self._ended) >= self.config.flush_at:
                self._recording = self._start(self._record())
            else:
                alarms.append(record_from_ms)
        if self._held and self._renewing is None and self.renew is not None:
            if now_ms >= self._renew_from_ms:
                self._renewing = self._start(self._renew(self.renew))
            else:
                alarms.append(self._renew_from_ms)
        if alarms:
            self._set_alarm(min(alarms), now_ms)
        return bool(self._doing or self._looking or self._renewing or self._recording or self._ended)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _task: self._stirred.set())
        return task

    def _set_alarm(self, at_ms: float, now_ms: int) -> None:
        if self._alarm is not None:
            if self._alarm_ms <= at_ms:
                return  # waking early does no harm
            self._alarm.cancel()
        self._alarm_ms = at_ms
        self._alarm = self._start(self.clock.sleep((at_ms - now_ms) / 1000))

    def _take_in(self) -> None:
        """Collect what has ended. Raises, or pauses for, errors of looking, renewing or recording."""
        for doing in [task for task in self._doing if task.done()]:
            self._ended.append((self._doing.pop(doing), doing.result()))
        if self._alarm is not None and self._alarm.done():
            self._alarm = None
        ended = [task for task in (self._looking, self._renewing, self._recording) if task and task.done()]
        self._looking = None if self._looking in ended else self._looking
        self._renewing = None if self._renewing in ended else self._renewing
        if self._recording in ended:
            self._recording = None
            self._is_woken = True
        for task in ended:
            try:
                task.result()
            except Exception as error:  # no error may stop this work for good
                if self.cooldown is None:
                    raise
                now_ms = self.clock.now_ms()
                self._rest_until_ms = now_ms + self.cooldown.after(error, now_ms) * 1000

    async def _look(self, wanted: int) -> None:
        """Claim what is due, and schedule the next look."""
        due_ms, now_ms = await self.next_due_ms(), self.clock.now_ms()
        idle_ms = self.config.poll_s * 1000
        if due_ms is not None and due_ms > now_ms:
            idle_ms = min(idle_ms, due_ms - now_ms)
        elif due_ms is not None:
            claims = await self.claim(wanted, self._lease_end_ms())
            self._take_on(claims)
            idle_ms = 0 if claims else idle_ms
        self._look_from_ms = self.clock.now_ms() + idle_ms
        if self.cooldown is not None:
            self.cooldown.is_over(self.clock.now_ms())

    def _take_on(self, claims: Sequence[ClaimT]) -> None:
        if not self._held:
            self._renew_soon()
        for claim in claims:
            # A lease of our own that expired meanwhile comes back as a new claim: do it only once.
            if claim.key not in self._held:
                self._waiting.append(claim.key)
            self._held[claim.key] = claim

    async def _renew(self, renew: Callable[[Sequence[ClaimT], int], Awaitable[Sequence[ClaimT]]]) -> None:
        self._renew_soon()
        for claim in await renew(list(self._held.values()), self._lease_end_ms()):
            self._held[claim.key] = claim

    def _renew_soon(self) -> None:
        self._renew_from_ms = self.clock.now_ms() + self.config.lease_s * 1000 / 3

    async def _record(self) -> None:
        """Record what has ended, under the leases as renewed meanwhile."""
        ended, self._ended = self._ended, []
        await self.record([(self._held.pop(key), outcome) for key, outcome in ended])
        self._recorded_ms = self.clock.now_ms()

    async def _stop(self) -> None:
        """Let work in progress end, record it, and return the other claims."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        others = {task for task in (self._looking, self._renewing, self._recording) if task is not None}
        self._looking = self._renewing = self._recording = None
        if under_way := {*self._doing, *others}:
            await asyncio.wait(under_way, timeout=self.config.shutdown_limit_s)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        self._ended += [(key, task.result()) for task, key in self._doing.items() if not task.cancelled()]
        self._doing.clear()
        self._waiting.clear()
        if self._ended:
            await self._record()
        back = list(self._held.values())
        self._held.clear()
        if back and self.give_back is not None:
            await self.give_back(back)

    def _lease_end_ms(self) -> int:
        """Return when a lease taken now expires."""
        return self.clock.now_ms() + int(self.config.lease_s * 1000)


async def within(limit_s: float, clock: Clock, work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns. Raises `TimeoutError`, and cancels it, if it takes longer."""
    working, nap = asyncio.create_task(work), asyncio.create_task(clock.sleep(limit_s))
    try:
        await asyncio.wait({working, nap}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise TimeoutError
        return working.result()
    finally:
        nap.cancel()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@asynccontextmanager
async def renewed(every_s: float, clock: Clock, renew: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Renew something periodically inside the `async with` block; a failed renewal is followed by the next."""

    async def renew_again_and_again() -> None:
        while True:
            await clock.sleep(every_s)
            with contextlib.suppress(CentralUnavailable):
                await renew()

    renewing = asyncio.create_task(renew_again_and_again())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
