"""The background work that gives every tenant its database, from rows that say what is due."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from freehold.clock import SystemClock
from freehold.errors import ProviderUnavailable
from freehold.tenants.cooldown import Cooldown
from freehold.tenants.ports import BringUpToDate, Clock, DatabaseProvider, TenantStore
from freehold.tenants.provision import Provision
from freehold.tenants.provisioner_config import ProvisionerConfig
from freehold.tenants.types import Tenant
from freehold.tenants.worker_pool import Outcome, WorkerPool


class Provisioner:
    """Claims due tenants and provisions them, a few at a time; any number of processes may do so at once.

    All that it knows is in the tenants' rows, so that it may be killed at any moment.
    """

    def __init__(
        self,
        store: TenantStore,
        provider: DatabaseProvider,
        bring_up_to_date: BringUpToDate,
        *,
        pace: ProvisionerConfig | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random.random,
        take_waiting: Callable[[Tenant], Awaitable[str | None]] | None = None,
    ) -> None:
        self._store = store
        self._provider = provider
        self._provision = Provision(store, provider, bring_up_to_date, take_waiting)
        self._pace = pace or ProvisionerConfig()
        self._clock = clock or SystemClock()
        self._random = random
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._suspects_provider = False

    def wake(self) -> None:
        """Look at once for tenants that are due. Costs a few microseconds; any thread may call it."""
        if self._loop is None:
            self._woken.set()
            return
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody sleeps in it
            self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Work until cancelled; then what is in work gets a moment to end, and the rest is given back."""
        crew = self._crew(lambda _outcome: self._woken.set())
        outage = Cooldown(self._clock, self._random)
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._woken.clear()  # before the look: who wakes us during it wants another one
                try:
                    idle_s = await self._look(crew)
                except Exception as error:  # whatever it is, this work must not stop for good
                    await outage.wait_after(error)  # and no wake-up shortens it
                else:
                    outage.is_over()
                    await self._idle(idle_s)
        finally:
            self._loop = None
            await crew.stop()

    async def drain(self, on_end: Callable[[Outcome], None] = lambda _outcome: None) -> list[Outcome]:
        """Provision all that is due now, each once; gives those that failed, `on_end` hears of every one.

        Raises:
            CentralUnavailable, ProviderUnavailable: nothing more can be done at the moment.
        """
        failed: list[Outcome] = []

        def note(outcome: Outcome) -> None:
            if outcome.error is not None:
                failed.append(outcome)
            on_end(outcome)

        crew = self._crew(note)
        due_by_ms = self._clock.now_ms()  # what fails now is due later than this, so there is an end
        try:
            while True:
                await self._check_provider()
                await self._take_on(crew, due_by_ms)
                if not crew.jobs:
                    return failed
                await crew.some_end()
        finally:
            await crew.stop()

    async def one(self, tenant: Tenant) -> int:
        """Provision this tenant now, whoever else does so; gives the version. Raises as `Provision.run` does.

        If it fails, the service goes on trying.
        """
        return await self._provision.run(tenant)

    async def count_due(self) -> int:
        """How many tenants `drain` would take on now."""
        return await self._store.count_due(self._provider.name, self._clock.now_ms())

    async def _look(self, crew: WorkerPool) -> float:
        """Start what is due and there is room for; gives the seconds until there may be more to do."""
        await self._check_provider()
        if not crew.room:
            return self._pace.poll_s  # the end of a job wakes us sooner
        due_ms = await self._store.next_due_ms(self._provider.name)
        now_ms = self._clock.now_ms()
        if due_ms is None:
            return self._pace.poll_s
        if due_ms > now_ms:
            return min(self._pace.poll_s, (due_ms - now_ms) / 1000)
        return 0 if await self._take_on(crew, now_ms) else self._pace.poll_s

    async def _take_on(self, crew: WorkerPool, due_by_ms: int) -> int:
        claims = await self._store.claim_due(
            self._provider.name, due_by_ms=due_by_ms, lease_until_ms=crew.lease_end_ms(), limit=crew.room
        )
        crew.start(claims)
        return len(claims)

    async def _check_provider(self) -> None:
        """After a failure: is it that one tenant, or can nothing be made at the moment?"""
        if not self._suspects_provider:
            return
        try:
            async with asyncio.timeout(self._pace.check_limit_s):
                await self._provider.check()
        except TimeoutError as error:
            raise ProviderUnavailable("the place where tenant databases live does not answer") from error
        self._suspects_provider = False

    async def _idle(self, seconds: float) -> None:
        nap = asyncio.create_task(self._clock.sleep(seconds))
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait({nap, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            woken.cancel()

    def _crew(self, on_end: Callable[[Outcome], None]) -> WorkerPool:
        def note(outcome: Outcome) -> None:
            if isinstance(outcome.error, ProviderUnavailable | TimeoutError):
                self._suspects_provider = True
            on_end(outcome)

        return WorkerPool(
            self._store, self._provision, self._pace, self._clock, self._random, on_end=note, jobs={}
        )
