"""Pending operations on databases other than creation: rows that remain until the provider confirms the operation.

They guarantee that databases are deleted, and stay suspended.
"""

import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec

from freehold.backoff import SOON, is_worth_a_line
from freehold.clock import SystemClock
from freehold.errors import FreeholdError, NotFound, ProviderUnavailable
from freehold.log import get_logger
from freehold.tenants.errors import describe
from freehold.tenants.ports import Clock, DatabaseProvider
from freehold.tenants.worker import Cooldown, Worker, WorkerConfig, within

log = get_logger()

# A call ends before its lease, so no lease is renewed. An interrupted one is due again when its lease expires.
_CONFIG = WorkerConfig(concurrency=4, lease_s=60.0, limit_s=45.0, shutdown_limit_s=0.0)


class OperationKind(StrEnum):
    """`delete` a tenant's database, keep one `suspend`ed, `discard` one without a tenant."""

    DELETE = "delete"
    SUSPEND = "suspend"
    DISCARD = "discard"


class PendingOperation(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do, exclusively ours until `lease_until_ms`. `reason` is why a tenant is suspended."""

    kind: OperationKind
    database_name: str
    tenant_id: str | None
    reason: str
    attempts: int
    lease_until_ms: int

    @property
    def key(self) -> str:
        """Identifies it: a database has only one pending operation."""
        return self.database_name


class PendingOperations(Protocol):
    """Each method is one short transaction. All raise `CentralUnavailable` when the database does not answer."""

    async def claim(
        self, provider: str, *, due_by_ms: int, lease_until_ms: int, limit: int, only_of: str | None = None
    ) -> Sequence[PendingOperation]:
        """Claim what is due at `due_by_ms`, optionally of one tenant only. Only one of two callers gets it.

        Also discards a database that was being created under a lease that has expired.
        """

    async def next_due_ms(self, provider: str) -> int | None:
        """Return when the next operation is due, or None."""

    async def done(self, operation: PendingOperation) -> bool:
        """Record that it is done, and audit a deletion. False if something newer replaced it."""

    async def failed(self, operation: PendingOperation, error: str, retry_at_ms: int) -> None:
        """Record the error and when to retry; does nothing if something newer replaced it."""

    async def is_ready(self, tenant_id: str) -> bool:
        """Return whether the tenant is `ready` now."""

    async def retry_now(self, provider: str, now_ms: int, *, leases_until_ms: int | None = None) -> None:
        """Make failed operations due at once; keep leases, those of deletions until `leases_until_ms` at most.

        Deleting one database twice does no harm, so there is no need to wait for the lease of a process that may be
        dead. Only a provisioner must have ended, and its lease is short.
        """

    async def in_work_until_ms(self, provider: str) -> int:
        """Return when the last lease of a deletion that has not failed yet ends; 0 without any."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one operation; `error` is None if the provider has confirmed it."""

    operation: PendingOperation
    error: str | None = None


@dataclass(frozen=True, slots=True)
class OperationsWorker:
    """Any number of processes may run this at once, and be killed at any time: all state is in rows.

    `also` is called before each look, e.g. to keep a pool full.
    """

    pending_operations: PendingOperations
    provider: DatabaseProvider
    clock: Clock = field(default_factory=SystemClock)
    random: Callable[[], float] = random.random
    also: Callable[[], Awaitable[object]] | None = None

    async def run(self) -> None:
        """Work until cancelled."""

        async def next_due_ms() -> int | None:
            if self.also is not None:
                await self.also()
            return await self.pending_operations.next_due_ms(self.provider.name)

        await Worker(
            clock=self.clock,
            config=_CONFIG,
            next_due_ms=next_due_ms,
            claim=lambda limit, lease_until_ms: self._claim(self.clock.now_ms(), limit, lease_until_ms),
            do=self._do,
            record=self._record,
            cooldown=Cooldown(self.random),
        ).run()

    async def drain(self, *, only_of: str | None = None) -> list[Done]:
        """Do what is due now, each once; return the results. Raises `CentralUnavailable`."""
        due_by_ms, found = self.clock.now_ms(), list[Done]()

        async def due_now() -> int:
            return due_by_ms

        async def claim(limit: int, lease_until_ms: int) -> Sequence[PendingOperation]:
            claims = await self._claim(due_by_ms, limit, lease_until_ms, only_of)
            if not claims:
                worker.end()
            return claims

        async def record(ended: Sequence[tuple[PendingOperation, Exception | None]]) -> None:
            await self._record(ended)
            for operation, error in ended:
                found.append(Done(operation=operation, error=None if error is None else describe(error)))

        worker = Worker(clock=self.clock, config=_CONFIG, next_due_ms=due_now, claim=claim, do=self._do, record=record)
        await worker.run()
        return found

    async def _claim(
        self, due_by_ms: int, limit: int, lease_until_ms: int, only_of: str | None = None
    ) -> Sequence[PendingOperation]:
        return await self.pending_operations.claim(
            self.provider.name, due_by_ms=due_by_ms, lease_until_ms=lease_until_ms, limit=limit, only_of=only_of
        )

    async def retry_now(self, *, lease_limit_ms: int | None = None) -> None:
        """Make failed operations due at once; with a limit, leases of deletions end within it."""
        now_ms = self.clock.now_ms()
        until_ms = None if lease_limit_ms is None else now_ms + lease_limit_ms
        await self.pending_operations.retry_now(self.provider.name, now_ms, leases_until_ms=until_ms)

    async def _do(self, operation: PendingOperation) -> Exception | None:
        """Return why it could not be done; None if the provider has confirmed it and that is recorded."""
        try:
            await within(_CONFIG.limit_s, self.clock, self._see_to(operation))
        except Exception as error:  # a bug met with one database must not stop the others
            if not isinstance(error, FreeholdError | TimeoutError):
                log.error(  # noqa: TRY400
                    "operation.failed", kind=operation.kind.value, database=operation.database_name, exc_info=error
                )
            return error
        return None

    async def _see_to(self, operation: PendingOperation) -> None:
        name, kind = operation.database_name, operation.kind
        if kind is OperationKind.SUSPEND:
            await self._suspend(operation)
            return
        await self.provider.delete(name)
        if await self.provider.find(name) is not None:
            raise ProviderUnavailable("the provider still has the database after deleting it")
        if await self.pending_operations.done(operation):
            log.info("database.deleted", database=name, tenant_id=operation.tenant_id, kind=kind.value)

    async def _suspend(self, operation: PendingOperation) -> None:
        with contextlib.suppress(NotFound):  # nothing that could be read; `reconcile` reports that it is missing
            await self.provider.suspend(operation.database_name, operation.reason)
        if (
            not await self.pending_operations.done(operation)
            and operation.tenant_id
            and await self.pending_operations.is_ready(operation.tenant_id)
        ):
            await self.provider.resume(operation.database_name)  # someone resumed it while we suspended it again

    async def _record(self, ended: Sequence[tuple[PendingOperation, Exception | None]]) -> None:
        for operation, error in ended:
            if error is None:
                continue
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
