"""The background work that creates every tenant's database, driven by rows that say what is due."""

import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from freehold.backoff import SLOWLY, SOON, is_worth_a_line
from freehold.clock import SystemClock
from freehold.errors import CentralUnavailable, FreeholdError, ProviderUnavailable, Unavailable
from freehold.log import get_logger
from freehold.tenants.errors import describe
from freehold.tenants.ports import BringUpToDate, Clock, DatabaseProvider, TenantStore
from freehold.tenants.types import Claim, Tenant, TenantState
from freehold.tenants.worker import Cooldown, Worker, WorkerConfig, within

log = get_logger()

_CHECK_LIMIT_S = 10.0
# Migrations are rarely published while we work; this many in a row mean that we never reach the newest one.
_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one attempt. `error` is None if the database is ready, at `schema_version`."""

    tenant: Tenant
    schema_version: int = 0
    error: Exception | None = None


def retry_delay_s(error: Exception, failures: int, random: Callable[[], float]) -> float:
    """Return seconds until the next attempt: short for a passing failure, long if someone must fix it."""
    backoff = SOON if isinstance(error, Unavailable | TimeoutError) else SLOWLY
    return backoff.delay_s(failures, random)


class Provisioner:
    """Claims due tenants and creates their databases, a few at a time. Any number of processes may run it at once.

    `take_waiting` gives a new tenant an already created database, if there is one.
    """

    def __init__(
        self,
        store: TenantStore,
        provider: DatabaseProvider,
        bring_up_to_date: BringUpToDate,
        *,
        config: WorkerConfig | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random.random,
        take_waiting: Callable[[Tenant], Awaitable[str | None]] | None = None,
    ) -> None:
        self._store = store
        self._provider = provider
        self._bring_up_to_date = bring_up_to_date
        self._take_waiting = take_waiting
        self._config = config or WorkerConfig()
        self._clock = clock or SystemClock()
        self._random = random
        self._suspects_provider = False
        self._background = Worker(
            clock=self._clock,
            config=self._config,
            next_due_ms=self._next_due_ms,
            claim=self._claim,
            do=self._do,
            record=self._record,
            renew=self._renew,
            give_back=self._give_back,
            cooldown=Cooldown(random),
        )

    def wake(self) -> None:
        """Look for due tenants at once. Takes microseconds; any thread may call it."""
        self._background.wake()

    async def run(self) -> None:
        """Work until cancelled; then work in progress gets a moment to finish, and the rest is returned."""
        await self._background.run()

    async def drain(self, on_end: Callable[[Outcome], None] = lambda _outcome: None) -> list[Outcome]:
        """Provision all that is due now, each once; return the failures and call `on_end` for every outcome.

        Raises:
            CentralUnavailable, ProviderUnavailable: nothing more can be done at the moment.
        """
        failed: list[Outcome] = []
        due_by_ms = self._clock.now_ms()  # what fails now is due later than this, so it ends

        async def due_now() -> int:
            await self._check_provider()
            return due_by_ms

        async def claim(limit: int, lease_until_ms: int) -> Sequence[Claim]:
            claims = await self._claim(limit, lease_until_ms, due_by_ms)
            if not claims:
                worker.end()
            return claims

        async def record(ended: Sequence[tuple[Claim, Outcome]]) -> None:
            await self._record(ended)
            for _, outcome in ended:
                if outcome.error is not None:
                    failed.append(outcome)
                on_end(outcome)

        worker = replace(self._background, next_due_ms=due_now, claim=claim, record=record, cooldown=None)
        await worker.run()
        return failed

    async def count_due(self) -> int:
        """Return how many tenants `drain` would process now."""
        return await self._store.count_due(self._provider.name, self._clock.now_ms())

    async def one(self, tenant: Tenant) -> int:
        """Create this tenant's database now and return its version, even if others are doing the same.

        If it fails, the service retries. Each of the three steps may be repeated after any failure and run twice at
        once: create the database, migrate it to the newest version, and record it as ready.

        Raises:
            CentralUnavailable: nothing is recorded; the lease expires and another call follows.
            ProviderUnavailable: nothing is recorded either.
            FreeholdError: a migration failed on this database, with the reason.
        """
        # No transaction is open here: a slow provider must not hold the central write lock.
        tenant = await self._with_database(tenant)
        target = await self._provider.open(tenant.database_name)
        for _ in range(_ROUNDS):
            version = await self._bring_up_to_date(target)
            marked = await self._store.mark_ready(tenant.tenant_id, version, tenant.database_name)
            if marked == "not_pending":
                await self._take_back(tenant)
            if marked != "behind":
                return version
        raise Unavailable(f"newer migrations than {version} are published, but the database stays there")

    async def _with_database(self, tenant: Tenant) -> Tenant:
        """Return the tenant with its database: a waiting one if the tenant is new and there is one, or its own."""
        if self._take_waiting and not tenant.attempts and (name := await self._take_waiting(tenant)):
            return msgspec.structs.replace(tenant, database_name=name)
        await self._provider.create(tenant.database_name)
        return tenant

    async def _take_back(self, tenant: Tenant) -> None:
        """Delete the database if its tenant was deleted or got another one meanwhile.

        Whoever did that may have looked for this database before it existed.
        """
        found = await self._store.of_user(tenant.user_id)
        is_going = found.state in (TenantState.DELETING, TenantState.DELETED)
        if is_going or found.database_name != tenant.database_name:
            await self._provider.delete(tenant.database_name)

    # What the worker does ----------------------------------------------------------------------------------

    async def _next_due_ms(self) -> int | None:
        await self._check_provider()
        return await self._store.next_due_ms(self._provider.name)

    async def _check_provider(self) -> None:
        """After a failure, check whether only that tenant is affected or nothing can be created at the moment."""
        if not self._suspects_provider:
            return
        try:
            await within(_CHECK_LIMIT_S, self._clock, self._provider.check())
        except TimeoutError as error:
            raise ProviderUnavailable("the place where tenant databases live does not answer") from error
        self._suspects_provider = False

    async def _claim(self, limit: int, lease_until_ms: int, due_by_ms: int | None = None) -> Sequence[Claim]:
        by_ms = self._clock.now_ms() if due_by_ms is None else due_by_ms
        return await self._store.claim_due(
            self._provider.name, due_by_ms=by_ms, lease_until_ms=lease_until_ms, limit=limit
        )

    async def _do(self, claim: Claim) -> Outcome:
        tenant, started_ms = claim.tenant, self._clock.now_ms()
        try:
            version = await within(self._config.limit_s, self._clock, self.one(tenant))
        except Exception as error:  # a bug met by one tenant must not stop the others
            self._suspects_provider |= isinstance(error, ProviderUnavailable | TimeoutError)
            return Outcome(tenant=tenant, error=error)
        log.info(
            "tenant.provisioned",
            tenant_id=tenant.tenant_id,
            duration_ms=self._clock.now_ms() - started_ms,
            schema_version=version,
        )
        return Outcome(tenant=tenant, schema_version=version)

    async def _renew(self, claims: Sequence[Claim], lease_until_ms: int) -> Sequence[Claim]:
        """Losing a lease is no reason to stop: the next renewal may be in time, and two workers do no harm."""
        try:
            return await self._store.renew(claims, lease_until_ms)
        except CentralUnavailable:
            return ()

    async def _record(self, ended: Sequence[tuple[Claim, Outcome]]) -> None:
        """Record failures only: success was recorded in `one`."""
        for claim, outcome in ended:
            if outcome.error is not None:
                await self._record_failure(claim, outcome.error)

    async def _record_failure(self, claim: Claim, error: Exception) -> None:
        tenant, failures = claim.tenant, claim.tenant.attempts + 1
        delay_s = retry_delay_s(error, failures, self._random)
        facts = {
            "tenant_id": tenant.tenant_id,
            "attempts": failures,
            "retry_in_s": round(delay_s, 1),
            "code": error.code if isinstance(error, FreeholdError) else type(error).__name__,
        }
        if not isinstance(error, FreeholdError | TimeoutError):
            log.error("tenant.provisioning_failed", **facts, exc_info=error)
        elif is_worth_a_line(failures):
            log.warning("tenant.provisioning_failed", **facts, reason=describe(error))
        if isinstance(error, CentralUnavailable):
            return  # the tenant is fine, and there is nowhere to record it: its lease expires
        with contextlib.suppress(CentralUnavailable):
            await self._store.mark_failed(claim, describe(error), self._clock.now_ms() + int(delay_s * 1000))

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            with contextlib.suppress(FreeholdError):  # its lease expires
                await self._store.release(claim, self._clock.now_ms())
