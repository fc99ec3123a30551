"""The background work that sees duties through: databases go for sure, and stay suspended for sure."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
import structlog

from freehold.backoff import SOON, is_worth_a_line
from freehold.clock import SystemClock
from freehold.errors import FreeholdError, NotFound, ProviderUnavailable
from freehold.tenants.cooldown import Outage
from freehold.tenants.pending_operations import Duties, Duty, DutyKind
from freehold.tenants.ports import Clock, DatabaseProvider
from freehold.tenants.provision import describe

log = structlog.get_logger()

_AT_ONCE = 4
_LEASE_MS = 60_000
_LIMIT_S = 45.0  # of one call, so that it ends before the lease does
_POLL_S = 1.0


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one duty; `error` is None when the provider has confirmed it."""

    duty: Duty
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Caretaker:
    """Any number of processes may do this at once, and be killed at any moment: all that it knows is in rows.

    `also` is looked at each time besides, e.g. to keep a pool full.
    """

    duties: Duties
    provider: DatabaseProvider
    clock: Clock = field(default_factory=SystemClock)
    random: Callable[[], float] = random.random
    also: Callable[[], Awaitable[object]] | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        outage = Outage(self.clock, self.random)
        while True:
            try:
                if self.also is not None:
                    await self.also()
                due_ms = await self.duties.next_due_ms(self.provider.name)
                worked = (
                    due_ms is not None and due_ms <= self.clock.now_ms() and await self.drain(limit=_AT_ONCE)
                )
            except Exception as error:  # whatever it is, this work must not stop for good
                await outage.sit_out(error)
            else:
                outage.is_over()
                if not worked:
                    await self.clock.sleep(_POLL_S)

    async def drain(self, *, only_of: str | None = None, limit: int | None = None) -> list[Done]:
        """Do what is due now, each once; gives what came of each.

        Raises:
            CentralUnavailable: nothing more can be done at the moment.
        """
        due_by_ms, found = self.clock.now_ms(), list[Done]()
        while limit is None or len(found) < limit:
            duties = await self.duties.claim(
                self.provider.name,
                due_by_ms=due_by_ms,
                lease_until_ms=self.clock.now_ms() + _LEASE_MS,
                limit=_AT_ONCE,
                only_of=only_of,
            )
            if not duties:
                break
            found += await asyncio.gather(*(self._see_to(duty) for duty in duties))
        return found

    async def hurry(self, *, lease_limit_ms: int | None = None) -> None:
        """What failed before is due at once; leases of deletions end within the limit, if one is given."""
        now_ms = self.clock.now_ms()
        until_ms = None if lease_limit_ms is None else now_ms + lease_limit_ms
        await self.duties.hurry(self.provider.name, now_ms, leases_until_ms=until_ms)

    async def _see_to(self, duty: Duty) -> Done:
        try:
            async with asyncio.timeout(_LIMIT_S):
                await self._do(duty)
        except (FreeholdError, TimeoutError) as error:
            return await self._failed(duty, error)
        except Exception as error:  # a bug met with one database must not stop the others
            log.error("duty.failed", kind=duty.kind.value, database=duty.database_name, exc_info=error)  # noqa: TRY400
            return await self._failed(duty, error)
        return Done(duty=duty)

    async def _do(self, duty: Duty) -> None:
        name = duty.database_name
        match duty.kind:
            case DutyKind.SUSPEND:
                await self._suspend(duty)
            case DutyKind.DELETE | DutyKind.DISCARD:
                await self.provider.delete(name)
                if await self.provider.find(name) is not None:
                    raise ProviderUnavailable("the provider still has the database after deleting it")
                if await self.duties.done(duty):
                    log.info(
                        "database.deleted", database=name, tenant_id=duty.tenant_id, kind=duty.kind.value
                    )

    async def _suspend(self, duty: Duty) -> None:
        with contextlib.suppress(
            NotFound
        ):  # nothing that could be read; `reconcile` tells that it is missing
            await self.provider.suspend(duty.database_name, duty.reason)
        if not await self.duties.done(duty) and duty.tenant_id and await self.duties.is_ready(duty.tenant_id):
            await self.provider.resume(
                duty.database_name
            )  # somebody resumed it while we suspended it once more

    async def _failed(self, duty: Duty, error: Exception) -> Done:
        failures, text = duty.attempts + 1, describe(error)
        delay_s = SOON.delay_s(failures, self.random)
        if is_worth_a_line(failures):
            log.warning(
                "duty.delayed",
                kind=duty.kind.value,
                database=duty.database_name,
                tenant_id=duty.tenant_id,
                attempts=failures,
                retry_in_s=round(delay_s, 1),
                reason=text,
            )
        await self.duties.failed(duty, text, self.clock.now_ms() + int(delay_s * 1000))
        return Done(duty=duty, error=text)
