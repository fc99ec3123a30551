"""Compare the provider's databases with the central database, both ways, and repair what can be repaired."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from freehold.errors import Forbidden, FreeholdError, NotFound, ProviderUnavailable, Unavailable
from freehold.log import get_logger
from freehold.migrate.ledger import read_ledger
from freehold.tenants.errors import describe
from freehold.tenants.findings import NOT_OURS, Finding, Kind, Reconciled
from freehold.tenants.listing import ListedTenants, TenantListing
from freehold.tenants.names import is_ours
from freehold.tenants.pending_operations import Done, OperationKind, OperationsWorker
from freehold.tenants.ports import BringUpToDate, Clock, DatabaseProvider
from freehold.tenants.provisioner import Outcome
from freehold.tenants.types import UNPROVISIONED, Tenant, TenantState

# The central database as the catalogue of all databases: what `reconcile` reads and corrects there.


class Catalogue(ListedTenants, Protocol):
    """Each method is one short transaction. All raise `CentralUnavailable` when the database does not answer."""

    async def known(self, database_names: Sequence[str]) -> Mapping[str, TenantState | None]:
        """Return the names in use, including deleted tenants', each with its tenant's state or None."""

    async def record_version(self, tenant: Tenant, schema_version: int) -> bool:
        """Record the version in a ready tenant's ledger. False if it has another database or state by now."""

    async def is_held(self, tenant: Tenant) -> bool:
        """Return whether it was taken back from a rollout to a version that it is still below."""

    async def provision_again(self, tenant: Tenant, reason: str) -> bool:
        """Let a ready tenant without database wait for a new one, due at once. False as above."""

    async def retry_now(self, provider: str, now_ms: int) -> int:
        """Make the failed tenants due at once; return how many."""

    async def in_work_until_ms(self, provider: str) -> int:
        """Return when the last lease on a tenant that waits for its database ends; 0 if there is none."""


log = get_logger()

_PAGE = 500
_AT_ONCE = 8
_LEASE_MS = 15_000
_LOOK_S = 0.2
# This many missing databases more likely mean a wrong setting than accidents.
_ALARMING = 10
_ALARMING_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    """`dry_run` changes nothing; `yes` allows irreversible repairs: see `Reconciler.run`."""

    dry_run: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Safe to run beside the service and itself: each repair takes effect only if nothing changed meanwhile.

    `drain` provisions what is due and reports each outcome; `newest` returns the newest published version.
    `central_names` are the names of the central database, which may live beside the tenants'.
    """

    catalogue: Catalogue
    provider: DatabaseProvider
    bring_up_to_date: BringUpToDate
    drain: Callable[[Callable[[Outcome], None]], Awaitable[object]]
    operations_worker: OperationsWorker
    newest: Callable[[], Awaitable[int]]
    clock: Clock
    central_names: frozenset[str] = frozenset()

    async def run(
        self,
        options: Options,
        on_finding: Callable[[Finding], None] = lambda _finding: None,
        on_checked: Callable[[int], None] = lambda _checked: None,
    ) -> Reconciled:
        """Check every database and every tenant once, and repair.

        Without `yes`, databases that never had a tenant are only reported, and so are missing databases if there are
        suspiciously many: the settings may then name the wrong place, and all would be created again, empty.

        Raises:
            CentralUnavailable, ProviderUnavailable: the check cannot continue.
        """
        return await _Run(self, options, on_finding, on_checked).all()


@dataclass(slots=True)
class _Run:
    parts: Reconciler
    options: Options
    on_finding: Callable[[Finding], None]
    on_checked: Callable[[int], None]
    checked: int = 0
    ready: int = 0
    found: Counter[Kind] = field(default_factory=Counter)
    left: Counter[Kind] = field(default_factory=Counter)
    missing: list[Tenant] = field(default_factory=list)
    newest: int = 0

    async def all(self) -> Reconciled:
        self.newest = await self.parts.newest()
        if not self.options.dry_run:
            await self._pending_operations()
        # Names first: a name is stored before its database is created, so one that is listed here but missing in the
        # central database afterwards never belonged to anyone.
        names = self.parts.provider.names()
        if names is not None:
            await self._names(names)
        await self._tenants(knows_orphans=names is not None)
        await self._missing()
        await self._pending()
        return Reconciled(checked=self.checked, found=dict(self.found), left=dict(self.left))

    async def _pending_operations(self) -> None:
        operations_worker, clock = self.parts.operations_worker, self.parts.clock
        await operations_worker.retry_now(lease_limit_ms=_LEASE_MS)
        self._done(await operations_worker.drain())
        # Others may be working on some, or have died doing so.
        give_up_ms = clock.now_ms() + _LEASE_MS
        name = self.parts.provider.name
        while clock.now_ms() < min(await operations_worker.pending_operations.in_work_until_ms(name), give_up_ms):
            await clock.sleep(_LOOK_S)
        self._done(await operations_worker.drain())

    def _done(self, what: Sequence[Done]) -> None:
        for done in what:
            operation = done.operation
            if operation.kind is OperationKind.SUSPEND or (operation.kind is OperationKind.DELETE and done.error):
                continue  # found again in the tenant's row
            kind = Kind.DELETING if operation.kind is OperationKind.DELETE else Kind.ORPHAN
            detail = done.error or "deleted"
            self._note(kind, operation.database_name, operation.tenant_id, repaired=not done.error, detail=detail)

    def _note(self, kind: Kind, database_name: str, tenant_id: str | None, *, repaired: bool, detail: str = "") -> None:
        self.found[kind] += 1
        if not repaired and kind not in NOT_OURS:
            self.left[kind] += 1
        if kind is Kind.MISSING:
            log.error("tenant.database_missing", tenant_id=tenant_id, database=database_name, detail=detail)
        self.on_finding(
            Finding(kind=kind, database_name=database_name, tenant_id=tenant_id, is_repaired=repaired, detail=detail)
        )

    def _note_tenant(self, kind: Kind, tenant: Tenant, detail: str, *, repaired: bool = False) -> None:
        self._note(kind, tenant.database_name, tenant.tenant_id, repaired=repaired, detail=detail)

    # From the provider to the central database -----------------------------------------------------------

    async def _names(self, pages: AsyncIterator[Sequence[str]]) -> None:
        async for page in pages:
            known = await self.parts.catalogue.known(page)
            for name in page:
                if known.get(name) is TenantState.DELETED:
                    await self._orphan(name, "its tenant was deleted", may_delete=True)
                elif name in known or name in self.parts.central_names:
                    continue
                elif not is_ours(name):
                    self._note(Kind.FOREIGN, name, None, repaired=False, detail="not a name of Freehold's")
                else:
                    await self._orphan(name, "no tenant has it", may_delete=self.options.yes)

    async def _orphan(self, name: str, reason: str, *, may_delete: bool) -> None:
        provider = self.parts.provider
        if await provider.find(name) is None:
            return  # gone by now, or only a trace of it was left
        if self.options.dry_run or not may_delete:
            hint = "" if self.options.dry_run and may_delete else "; --yes deletes it"
            self._note(Kind.ORPHAN, name, None, repaired=False, detail=reason + hint)
            return
        await provider.delete(name)
        log.warning("database.orphan_deleted", database=name, reason=reason)
        self._note(Kind.ORPHAN, name, None, repaired=True, detail=f"{reason}; deleted")

    # From the central database to the provider -----------------------------------------------------------

    async def _tenants(self, *, knows_orphans: bool) -> None:
        after = ""
        while page := await self.parts.catalogue.page(after=after, limit=_PAGE):
            after = page[-1].tenant_id
            for start in range(0, len(page), _AT_ONCE):
                part = page[start : start + _AT_ONCE]
                looks = [self._tenant(tenant, knows_orphans=knows_orphans) for tenant in part]
                for error in await asyncio.gather(*looks, return_exceptions=True):
                    if error is not None:
                        raise error
                self.checked += len(part)
                self.on_checked(self.checked)

    async def _tenant(self, tenant: Tenant, *, knows_orphans: bool) -> None:
        if tenant.provider != self.parts.provider.name:
            self._note_tenant(Kind.ELSEWHERE, tenant, f"its database is at the provider `{tenant.provider}`")
            return
        match tenant.state:
            case TenantState.READY:
                await self._ready(tenant)
            case TenantState.SUSPENDED:
                await self._suspended(tenant)
            case TenantState.DELETING:
                self._note_tenant(Kind.DELETING, tenant, tenant.error or "to be deleted")
            case TenantState.DELETED if not knows_orphans:
                await self._orphan(tenant.database_name, "its tenant was deleted", may_delete=True)
            case _:
                pass  # pending ones come last

    async def _ready(self, tenant: Tenant) -> None:
        self.ready += 1
        try:
            target = await self.parts.provider.open(tenant.database_name)
            version = (await read_ledger(target)).version
            if version > tenant.schema_version and not self.options.dry_run:
                await self.parts.catalogue.record_version(tenant, version)
            if version < self.newest and await self.parts.catalogue.is_held(tenant):
                # Not a fault: someone had a reason.
                detail = f"at version {version} of {self.newest}, since it was taken back from a rollout"
                self._note_tenant(Kind.TAKEN_BACK, tenant, detail)
            elif version < self.newest and not self.options.dry_run:
                now = await self.parts.bring_up_to_date(target)
                await self.parts.catalogue.record_version(tenant, now)
                self._behind(tenant, version, repaired=now >= self.newest)
            elif version < self.newest:
                self._behind(tenant, version, repaired=False)
            elif version != tenant.schema_version and not self.options.dry_run:
                await self.parts.catalogue.record_version(tenant, version)
        except NotFound:
            self.missing.append(tenant)
        except Forbidden:
            await self._reopen(tenant)
        except Unavailable as error:
            self._note_tenant(Kind.UNCHECKED, tenant, describe(error))
        except FreeholdError as error:
            self._note_tenant(Kind.BEHIND, tenant, describe(error))

    def _behind(self, tenant: Tenant, version: int, *, repaired: bool) -> None:
        detail = f"at version {version} of {self.newest}"
        if version < tenant.schema_version:
            detail += f", and it was at {tenant.schema_version} before"
        if repaired:
            detail += "; brought up"
        self._note_tenant(Kind.BEHIND, tenant, detail, repaired=repaired)

    async def _suspended(self, tenant: Tenant) -> None:
        try:
            found = await self.parts.provider.find(tenant.database_name)
            if found is None or found.is_suspended:
                return
            if not self.options.dry_run:
                await self.parts.provider.suspend(tenant.database_name, tenant.error or "")
        except Unavailable as error:
            self._note_tenant(Kind.UNCHECKED, tenant, describe(error))
        else:
            self._tell(Kind.NOT_SUSPENDED, tenant, "its tenant is suspended, but it answers", "suspended again")

    async def _reopen(self, tenant: Tenant) -> None:
        """Resume the database of a ready tenant if it is suspended."""
        try:
            found = await self.parts.provider.find(tenant.database_name)
            if found is None or not found.is_suspended:
                raise ProviderUnavailable("its database refuses to be read")
            if not self.options.dry_run:
                await self.parts.provider.resume(tenant.database_name)
        except FreeholdError as error:
            self._note_tenant(Kind.UNCHECKED, tenant, describe(error))
        else:
            self._tell(Kind.WRONGLY_SUSPENDED, tenant, "its tenant is ready, but it is suspended", "resumed")

    def _tell(self, kind: Kind, tenant: Tenant, what: str, repair: str) -> None:
        repaired = not self.options.dry_run
        self._note_tenant(kind, tenant, f"{what}; {repair}" if repaired else what, repaired=repaired)

    # What follows ------------------------------------------------------------------------------------------

    async def _missing(self) -> None:
        many = len(self.missing) > max(_ALARMING, self.ready * _ALARMING_SHARE)
        may_repair = not self.options.dry_run and (self.options.yes or not many)
        detail = "its database is not there"
        if many and not self.options.yes:
            detail += "; with this many missing the settings may be wrong: --yes makes them again, empty"
        for tenant in self.missing:
            repaired = may_repair and await self.parts.catalogue.provision_again(
                tenant, "its database was missing and is created again"
            )
            text = "its database was missing and is created again, empty" if repaired else detail
            self._note_tenant(Kind.MISSING, tenant, text, repaired=repaired)

    async def _pending(self) -> None:
        if not self.options.dry_run:
            await self._provision()
        for state in UNPROVISIONED:
            async for tenant in TenantListing(self.parts.catalogue).each(state=state):
                if tenant.provider == self.parts.provider.name:
                    self._note_tenant(Kind.PENDING, tenant, tenant.error or "waits for its database")

    async def _provision(self) -> None:
        catalogue, clock, provider = self.parts.catalogue, self.parts.clock, self.parts.provider.name
        await catalogue.retry_now(provider, clock.now_ms())
        await self.parts.drain(self._provisioned)
        # Others may be working on some, or have died doing so: their leases end soon.
        give_up_ms = clock.now_ms() + _LEASE_MS
        while clock.now_ms() < min(await catalogue.in_work_until_ms(provider), give_up_ms):
            await clock.sleep(_LOOK_S)
        await self.parts.drain(self._provisioned)

    def _provisioned(self, outcome: Outcome) -> None:
        if outcome.error is None:  # failures are found again in their rows
            self._note_tenant(Kind.PENDING, outcome.tenant, "provisioned", repaired=True)
