"""What operators do with single tenants: create, suspend, resume, fork, export, restore, migrate, delete."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from freehold.clock import SystemClock
from freehold.errors import CentralUnavailable, Conflict, FreeholdError, InvalidInput, NotFound
from freehold.log import get_logger
from freehold.migrate.copying import CannotBeCopied, Copied, copy_database
from freehold.migrate.ledger import read_ledger
from freehold.migrate.target import Target
from freehold.registry.published import PublishedRegistry
from freehold.tenants.backup import BackupCheck, BadBackup, Checked, OpenFile
from freehold.tenants.errors import DatabaseDeleted, DatabaseDeleting, NoPointInTime
from freehold.tenants.names import new_database_name
from freehold.tenants.pending_operations import Done, OperationsWorker
from freehold.tenants.ports import BringUpToDate, Clock, DatabaseProvider, LifecycleStore
from freehold.tenants.types import Tenant, TenantState
from freehold.tenants.worker import renewed

log = get_logger()

_LEASE_MS = 30_000
_RENEW_S = 8.0
_MOST_REASON = 500
_WHOLE = (TenantState.READY, TenantState.SUSPENDED)
_RESTORABLE = (*_WHOLE, TenantState.FAILED)
_MAY_BE_GONE = (*_RESTORABLE, TenantState.DELETED)


class WrongState(Conflict):
    """The tenant's state does not allow this."""

    code = "wrong_state"
    remedy = "The message names the state: change it first."


class ReservationLost(Conflict):
    """The tenant was changed meanwhile, or the operation took too long; nothing was changed."""

    code = "reservation_lost"
    remedy = "Check, and repeat it if it is still needed."


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant whose database was created from a file, the check of that file, and how much was copied."""

    tenant: Tenant
    checked: Checked
    copied: Copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Every method may be repeated after an error or a crash, which finishes or cleans up what was begun.

    `published` returns the current registry.
    """

    store: LifecycleStore
    provider: DatabaseProvider
    bring_up_to_date: BringUpToDate
    published: Callable[[], Awaitable[PublishedRegistry]]
    operations_worker: OperationsWorker
    backups: BackupCheck
    open_file: OpenFile
    clock: Clock = field(default_factory=SystemClock)

    async def find(self, reference: str) -> Tenant:
        """Return the tenant with this id, user id, e-mail address or database name. Raises `NotFound`."""
        return await self.store.find(reference)

    async def create(self, reference: str) -> Tenant:
        """Request a new, empty database for the user with this id or address, if they have none, or no longer.

        Changes nothing if there is one. A deleted database's tokens, address and rows are not restored. The service
        creates it.

        Raises:
            NotFound: no such user.
            DatabaseDeleting: the provider has not yet confirmed that the previous one is gone.
            WrongState: there is one, and it is suspended.
        """
        with contextlib.suppress(NotFound):  # a user imported by another tool has none yet
            await self._seen_through(reference)
        tenant = await self.store.create(reference, self.provider.name)
        if tenant.state is TenantState.DELETING:
            raise _still_deleting()
        if tenant.state is TenantState.SUSPENDED:
            raise WrongState("the user has a database, and it is suspended: `freehold tenants resume` opens it")
        return tenant

    async def usable(self, reference: str, what: str) -> Tenant:
        """Return the tenant if its database is ready and at this provider; `what` completes the error message.

        Raises:
            NotFound, WrongState, DatabaseDeleting, DatabaseDeleted: it is not.
        """
        return await self._here(reference, (TenantState.READY,), what)

    async def suspend(self, reference: str, reason: str = "") -> Tenant:
        """Refuse all reads and writes. Idempotent, but replaces the reason, which the user can read.

        Raises:
            InvalidInput: the reason is too long.
            NotFound, WrongState, DatabaseDeleting, DatabaseDeleted: it cannot be suspended.
            ProviderUnavailable: it is suspended for its user; the provider is told as soon as it answers.
        """
        if len(reason) > _MOST_REASON:
            raise InvalidInput(f"the reason may have {_MOST_REASON} characters at most")
        tenant = await self._here(reference, _WHOLE, "suspended")
        if not await self.store.suspend(tenant, reason, self.clock.now_ms() + _LEASE_MS):
            raise _overtaken(tenant)
        await self.provider.suspend(tenant.database_name, reason)
        await self.store.suspended(tenant)
        return await self.store.find(tenant.tenant_id)

    async def resume(self, reference: str) -> Tenant:
        """End `suspend`, and migrate the database to the newest version, unless it was taken back from a rollout.

        Raises:
            NotFound, WrongState, DatabaseDeleting, DatabaseDeleted: it cannot be resumed.
            ProviderUnavailable: it is still suspended.
            FreeholdError: a migration failed on it; it is resumed, at the version before.
        """
        tenant = await self._here(reference, _WHOLE, "resumed")
        await self.provider.resume(tenant.database_name)
        if tenant.state is TenantState.READY:
            return tenant
        if not await self.store.resume(tenant):
            raise _overtaken(tenant)
        if await self.store.is_held(tenant):
            return await self.store.find(tenant.tenant_id)
        return await self.migrate(tenant.tenant_id)

    async def migrate(self, reference: str) -> Tenant:
        """Migrate the database to the newest published version, starting from its ledger.

        Raises:
            NotFound, WrongState, DatabaseDeleting, DatabaseDeleted, ProviderUnavailable: it is not available.
            FreeholdError: a migration failed on it; it is at the version before.
        """
        tenant = await self._here(reference, (TenantState.READY,), "migrated")
        target = await self.provider.open(tenant.database_name)
        try:
            await self.bring_up_to_date(target)
        finally:
            with contextlib.suppress(FreeholdError):  # some may have been applied before one failed
                await self.store.note_version(tenant, (await read_ledger(target)).version)
        return await self.store.find(tenant.tenant_id)

    async def delete(self, reference: str) -> list[Done]:
        """Delete the database permanently. The user stays, without one.

        Returns the results so far; if they contain an error, or are empty, the service continues until the database is
        gone.

        Raises:
            NotFound: no such tenant.
        """
        tenant = await self.store.find(reference)
        await self.store.delete(tenant, self.clock.now_ms())
        return await self.operations_worker.drain(only_of=tenant.tenant_id)

    async def fork(self, reference: str) -> Tenant:
        """Copy the database as it is now to a tenant without user. Works while it is suspended.

        Raises:
            NotFound, WrongState, DatabaseDeleting, DatabaseDeleted, ProviderUnavailable: it cannot be copied.
        """
        tenant = await self._here(reference, _WHOLE, "forked")
        async with self._reserved(tenant) as name:
            await self.provider.fork(tenant.database_name, name)
            version = (await read_ledger(await self.provider.open(name))).version
            made = await self.store.adopt(tenant, name, version)
            if made is None:
                raise _overtaken(tenant)
        log.info("tenant.forked", tenant_id=tenant.tenant_id, fork=made.tenant_id)
        return made

    async def export(self, reference: str, path: Path) -> tuple[Tenant, Copied]:
        """Write the database at one point in time to a SQLite file. Works while it is suspended.

        Also exports a copy that a rollout kept, by its name.

        Raises:
            NotFound, WrongState, DatabaseDeleting, DatabaseDeleted, ProviderUnavailable: it cannot be read.
            CannotBeCopied: the file is incomplete.
        """
        tenant = await self.store.find_copy(reference) or await self._here(reference, _WHOLE, "exported")
        async with self._reserved(tenant) as scratch_name:
            copied = await self.provider.export(tenant.database_name, path, scratch_name)
        await self.store.exported(tenant)
        return tenant, copied

    async def check_file(self, path: Path) -> Checked:
        """Check a file as `restore` does. Raises `BadBackup`."""
        async with self.open_file(path) as file:
            return await self.backups.check(file, await self.published())

    async def restore(
        self,
        reference: str,
        path: Path,
        *,
        accept_changes: bool = False,
        on_rows: Callable[[int], None] = lambda _rows: None,
    ) -> Restored:
        """Give the tenant a new database with the content of this file, at the newest version.

        The old one is kept until the new one is complete, and then discarded. What is written to it meanwhile is lost,
        and the address changes. A tenant whose database was deleted gets one again, unless its user no longer exists.
        With `accept_changes`, tables may differ from what the migrations created.

        Raises:
            BadBackup, NotFound: the file is unsuitable, or there is no such tenant; nothing was changed.
            CannotBeCopied, MigrationFailed, ReservationLost, ProviderUnavailable: the tenant is unchanged.
        """
        await self._seen_through(reference)
        tenant = await self._here(reference, _MAY_BE_GONE, "restored")
        async with self.open_file(path) as file:
            checked = await self.backups.check(file, await self.published())
            if checked.changed and not accept_changes:
                raise BadBackup([*checked.changed, "say that this is accepted, or restore another file"])
            async with self._reserved(tenant) as name:
                copied = await self._fill(name, file, on_rows)
                await self._put_in_place(tenant, name)
        await self._tidy(tenant)
        return Restored(tenant=await self.store.find(tenant.tenant_id), checked=checked, copied=copied)

    async def restore_at(self, reference: str, at: datetime) -> Tenant:
        """Give the tenant a new database with its state at `at`, an aware timestamp, at the newest version.

        Only if the provider supports it. As in `restore`, the old one is kept until the new one is complete, and then
        discarded; the provider may delete its history with it.

        Raises:
            InvalidInput, NotFound: `at` has no time zone or is in the future, or there is no such tenant.
            NoPointInTime, MigrationFailed, ReservationLost, ProviderUnavailable: the tenant is unchanged.
        """
        self.check_moment(at)
        tenant = await self._here(reference, _RESTORABLE, "restored")
        async with self._reserved(tenant) as name:
            await self.provider.fork_at(tenant.database_name, name, at)
            copy = await self.provider.open(name)
            if tenant.schema_version and not (await read_ledger(copy)).version:
                raise NoPointInTime(f"at {at.isoformat()} the database had nothing in it yet")
            await self._put_in_place(tenant, name)
        await self._tidy(tenant)
        return await self.store.find(tenant.tenant_id)

    def check_moment(self, at: datetime) -> None:
        """Check a timestamp as `restore_at` does. Raises `InvalidInput`."""
        if at.tzinfo is None:
            raise InvalidInput("the timestamp has no time zone; write 2026-01-31T10:20:30Z")
        if at.timestamp() * 1000 > self.clock.now_ms():
            raise InvalidInput(f"{at.isoformat()} is in the future")

    async def _put_in_place(self, tenant: Tenant, name: str) -> None:
        version = await self.bring_up_to_date(await self.provider.open(name))
        if tenant.state is TenantState.SUSPENDED:
            await self.provider.suspend(name, tenant.error or "")
        if not await self.store.replace(tenant, (tenant.state,), name, version):
            raise _overtaken(tenant)
        log.info("tenant.restored", tenant_id=tenant.tenant_id, database=name, schema_version=version)

    async def _fill(self, name: str, file: Target, on_rows: Callable[[int], None]) -> Copied:
        await self.provider.create_empty(name)
        copied = await copy_database(file, await self.provider.open(name), on_rows)
        if copied.skipped:
            raise CannotBeCopied(f"the provider does not take all of it: {'; '.join(copied.skipped)}")
        return copied

    async def _here(self, reference: str, states: tuple[TenantState, ...], what: str) -> Tenant:
        tenant = await self.store.find(reference)
        if tenant.state is TenantState.DELETED:
            if tenant.state in states:
                return tenant
            raise DatabaseDeleted(
                "the database was deleted; `freehold tenants restore` of an export makes another one, and"
                " `freehold tenants create` an empty one"
            )
        if tenant.state is TenantState.DELETING:
            raise _still_deleting()
        if tenant.state not in states:
            raise WrongState(f"a tenant that is {tenant.state.value} cannot be {what}")
        if tenant.provider != self.provider.name:
            raise WrongState(f"its database is at the provider `{tenant.provider}`, not `{self.provider.name}`")
        return tenant

    async def _seen_through(self, reference: str) -> None:
        """If the tenant's database is being deleted, try to finish that now."""
        tenant = await self.store.find(reference)
        if tenant.state is TenantState.DELETING:
            await self._tidy(tenant)

    @asynccontextmanager
    async def _reserved(self, tenant: Tenant) -> AsyncIterator[str]:
        """Reserve a name for a new database, which is deleted unless a tenant gets it in the end."""
        name = new_database_name()
        await self.store.reserve(name, self.provider.name, tenant.tenant_id, self.clock.now_ms() + _LEASE_MS)
        try:
            async with renewed(_RENEW_S, self.clock, lambda: self.store.keep(name, self.clock.now_ms() + _LEASE_MS)):
                yield name
        finally:
            with contextlib.suppress(CentralUnavailable):  # its lease expires
                await self.store.discard(name, self.clock.now_ms())
            await self._tidy(tenant)

    async def _tidy(self, tenant: Tenant) -> None:
        with contextlib.suppress(FreeholdError):  # the service keeps trying
            await self.operations_worker.drain(only_of=tenant.tenant_id)


def _still_deleting() -> DatabaseDeleting:
    return DatabaseDeleting(
        "the database is being deleted, and its provider has not confirmed yet that it is gone; try again later"
    )


def _overtaken(tenant: Tenant) -> ReservationLost:
    return ReservationLost(f"the tenant {tenant.tenant_id} was changed meanwhile; look again")
