"""The background work that sees duties through: databases go for sure, and stay suspended for sure."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from freehold.backoff import SOON, is_worth_a_line
from freehold.clock import SystemClock
from freehold.errors import FreeholdError, NotFound, ProviderUnavailable
from freehold.log import get_logger
from freehold.tenants.cooldown import Cooldown
from freehold.tenants.pending_operations import OperationKind, PendingOperation, PendingOperations
from freehold.tenants.ports import Clock, DatabaseProvider
from freehold.tenants.provision import describe

log = get_logger()

_AT_ONCE = 4
_LEASE_MS = 60_000
_LIMIT_S = 45.0  # of one call, so that it ends before the lease does
_POLL_S = 1.0


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one duty; `error` is None when the provider has confirmed it."""

    operation: PendingOperation
    error: str | None = None


@dataclass(frozen=True, slots=True)
class OperationsWorker:
    """Any number of processes may do this at once, and be killed at any moment: all that it knows is in rows.

    `also` is looked at each time besides, e.g. to keep a pool full.
    """

    pending_operations: PendingOperations
    provider: DatabaseProvider
    clock: Clock = field(default_factory=SystemClock)
    random: Callable[[], float] = random.random
    also: Callable[[], Awaitable[object]] | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        outage = Cooldown(self.clock, self.random)
        while True:
            try:
                if self.also is not None:
                    await self.also()
                due_ms = await self.pending_operations.next_due_ms(self.provider.name)
                worked = (
                    due_ms is not None and due_ms <= self.clock.now_ms() and await self.drain(limit=_AT_ONCE)
                )
            except Exception as error:  # whatever it is, this work must not stop for good
                await outage.wait_after(error)
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
            pending_operations = await self.pending_operations.claim(
                self.provider.name,
                due_by_ms=due_by_ms,
                lease_until_ms=self.clock.now_ms() + _LEASE_MS,
                limit=_AT_ONCE,
                only_of=only_of,
            )
            if not pending_operations:
                break
            found += await asyncio.gather(*(self._see_to(operation) for operation in pending_operations))
        return found

    async def retry_now(self, *, lease_limit_ms: int | None = None) -> None:
        """What failed before is due at once; leases of deletions end within the limit, if one is given."""
        now_ms = self.clock.now_ms()
        until_ms = None if lease_limit_ms is None else now_ms + lease_limit_ms
        await self.pending_operations.retry_now(self.provider.name, now_ms, leases_until_ms=until_ms)

    async def _see_to(self, operation: PendingOperation) -> Done:
        try:
            async with asyncio.timeout(_LIMIT_S):
                await self._do(operation)
        except (FreeholdError, TimeoutError) as error:
            return await self._failed(operation, error)
        except Exception as error:  # a bug met with one database must not stop the others
            log.error(  # noqa: TRY400
                "operation.failed",
                kind=operation.kind.value,
                database=operation.database_name,
                exc_info=error,
            )
            return await self._failed(operation, error)
        return Done(operation=operation)

    async def _do(self, operation: PendingOperation) -> None:
        name = operation.database_name
        match operation.kind:
            case OperationKind.SUSPEND:
                await self._suspend(operation)
            case OperationKind.DELETE | OperationKind.DISCARD:
                await self.provider.delete(name)
                if await self.provider.find(name) is not None:
                    raise ProviderUnavailable("the provider still has the database after deleting it")
                if await self.pending_operations.done(operation):
                    log.info(
                        "database.deleted",
                        database=name,
                        tenant_id=operation.tenant_id,
                        kind=operation.kind.value,
                    )

    async def _suspend(self, operation: PendingOperation) -> None:
        with contextlib.suppress(
            NotFound
        ):  # nothing that could be read; `reconcile` tells that it is missing
            await self.provider.suspend(operation.database_name, operation.reason)
        if (
            not await self.pending_operations.done(operation)
            and operation.tenant_id
            and await self.pending_operations.is_ready(operation.tenant_id)
        ):
            await self.provider.resume(
                operation.database_name
            )  # somebody resumed it while we suspended it once more

    async def _failed(self, operation: PendingOperation, error: Exception) -> Done:
        failures, text = operation.attempts + 1, describe(error)
        delay_s = SOON.delay_s(failures, self.random)
        if is_worth_a_line(failures):
            log.warning(
                "operation.delayed",
                kind=operation.kind.value,
                database=operation.database_name,
                tenant_id=operation.tenant_id,
                attempts=failures,
                retry_in_s=round(delay_s, 1),
                reason=text,
            )
        await self.pending_operations.failed(operation, text, self.clock.now_ms() + int(delay_s * 1000))
        return Done(operation=operation, error=text)
