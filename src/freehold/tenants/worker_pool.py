"""Tenants in work: a few at once, each with its lease kept and its outcome recorded."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from freehold.backoff import is_worth_a_line
from freehold.errors import CentralUnavailable, FreeholdError
from freehold.log import get_logger
from freehold.tenants.ports import Clock, TenantStore
from freehold.tenants.provision import Provision, describe, retry_delay_s
from freehold.tenants.provisioner_config import ProvisionerConfig
from freehold.tenants.types import Claim, Tenant

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one try. `error` is None when the database is ready, at `schema_version`."""

    tenant: Tenant
    schema_version: int = 0
    error: Exception | None = None


@dataclass(slots=True)
class _Job:
    claim: Claim  # replaced each time that the lease is renewed
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Works on claimed tenants side by side. One that fails or hangs keeps only its own place."""

    store: TenantStore
    provision: Provision
    pace: ProvisionerConfig
    clock: Clock
    random: Callable[[], float]
    on_end: Callable[[Outcome], None]
    jobs: dict[str, _Job]

    @property
    def room(self) -> int:
        """How many more tenants may be started."""
        return self.pace.concurrency - len(self.jobs)

    def lease_end_ms(self) -> int:
        """When a lease taken now is over."""
        return self.clock.now_ms() + int(self.pace.lease_s * 1000)

    def start(self, claims: Iterable[Claim]) -> None:
        """Begin the work on these; it ends by itself."""
        for claim in claims:
            tenant_id = claim.tenant.tenant_id
            if job := self.jobs.get(tenant_id):
                # Our own lease ran out while the central database was away: go on under the new one.
                job.claim = claim
            else:
                self.jobs[tenant_id] = _Job(claim, asyncio.create_task(self._work(claim)))

    async def some_end(self) -> None:
        """Return when at least one of those in work has ended."""
        await asyncio.wait([job.task for job in self.jobs.values()], return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """Give those in work a moment to end; cancel the rest and give their tenants back."""
        tasks = [job.task for job in self.jobs.values()]
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=self.pace.shutdown_limit_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, claim: Claim) -> None:
        tenant, started_ms = claim.tenant, self.clock.now_ms()
        try:
            version = await self._with_lease(claim)
            outcome = Outcome(tenant=tenant, schema_version=version)
            log.info(
                "tenant.provisioned",
                tenant_id=tenant.tenant_id,
                duration_ms=self.clock.now_ms() - started_ms,
                schema_version=version,
            )
        except asyncio.CancelledError:
            with contextlib.suppress(FreeholdError):
                await self.store.release(self.jobs[tenant.tenant_id].claim, self.clock.now_ms())
            raise
        except Exception as error:  # a bug met by one tenant must not stop the others
            outcome = Outcome(tenant=tenant, error=error)
            await self._record(self.jobs[tenant.tenant_id].claim, error)
        finally:
            self.jobs.pop(tenant.tenant_id, None)
        self.on_end(outcome)

    async def _with_lease(self, claim: Claim) -> int:
        """Provision, and keep the lease until that ends. One task does both in turn: no renewal can be under way
        when the outcome is recorded.
        """
        give_up_ms = self.clock.now_ms() + int(self.pace.tenant_limit_s * 1000)
        work = asyncio.create_task(self.provision.run(claim.tenant))
        try:
            while True:
                nap = asyncio.create_task(self.clock.sleep(self.pace.lease_s / 3))
                try:
                    await asyncio.wait({work, nap}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    nap.cancel()
                if work.done():
                    return work.result()
                if self.clock.now_ms() >= give_up_ms:
                    raise TimeoutError
                await self._renew(claim.tenant.tenant_id)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _renew(self, tenant_id: str) -> None:
        job = self.jobs[tenant_id]
        with contextlib.suppress(CentralUnavailable):  # the next renewal may still come in time
            # A lost lease is no reason to stop: two at work on one tenant do no harm.
            for claim in await self.store.renew([job.claim], self.lease_end_ms()):
                job.claim = claim

    async def _record(self, claim: Claim, error: Exception) -> None:
        tenant, failures = claim.tenant, claim.tenant.attempts + 1
        delay_s = retry_delay_s(error, failures, self.random)
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
            return  # nothing wrong with the tenant, and nowhere to write it: its lease runs out
        with contextlib.suppress(CentralUnavailable):
            await self.store.mark_failed(claim, describe(error), self.clock.now_ms() + int(delay_s * 1000))
