"""Compare each tenant's database with the schema that its version must have, and propose a repair."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import Struct

from freehold.errors import CentralUnavailable, FreeholdError, ProviderUnavailable, Unavailable
from freehold.migrate.apply import apply
from freehold.migrate.failures import LedgerUnreadable
from freehold.migrate.fingerprint import SchemaUnreadable
from freehold.migrate.full_text_settings import with_settings
from freehold.migrate.integrity import fault_of, mending_of, unfit_indexes
from freehold.migrate.ledger import LedgerRow, ledger_rows
from freehold.migrate.schema import EMPTY, Schema, Table, read_schema
from freehold.migrate.snapshot import Scratch
from freehold.migrate.target import Target
from freehold.migrate.types import Migration, chains
from freehold.registry.diff.describe import differences
from freehold.registry.diff.difference import CannotDiff, difference
from freehold.registry.diff.rows import losses
from freehold.tenants.errors import DatabaseDamaged, describe
from freehold.tenants.ports import DatabaseProvider
from freehold.tenants.types import Tenant, TenantState

# The databases of one server share its disk, so more at once would only wait there.
_AT_ONCE = 8
_PATIENCE_S = 60.0
_REASONS_SHOWN = 5

# `drifted`: the schema is not its version's. `diverged`: the ledger's history differs, is ahead of the registry, or
# belongs to another schema. `unreadable`: it could not be checked. `suspended`: nor can it be until it is resumed.
Verdict = Literal["same", "drifted", "diverged", "damaged", "unreadable", "suspended"]


class Checked(Struct, frozen=True, kw_only=True):
    """One database. `repair` holds statements that would correct it, to be reviewed; `losses` is what they remove."""

    tenant: Tenant
    verdict: Verdict
    version: int = 0
    reasons: tuple[str, ...] = ()
    repair: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    foreign_keys_off: bool = False


class OwnChange(Struct, frozen=True):
    """What someone changed in a database apart from the registry's migrations; `reasons` has one sentence each."""

    verdict: Verdict
    reasons: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The first few reasons."""
        shown = "; ".join(self.reasons[:_REASONS_SHOWN])
        more = len(self.reasons) - _REASONS_SHOWN
        return f"{shown}; and {more} more" if more > 0 else shown


@dataclass(slots=True)
class DriftCheck:
    """Reads only. `published` returns all migrations, `scratch` opens an empty database to replay them on."""

    provider: DatabaseProvider
    published: Callable[[], Awaitable[Sequence[Migration]]]
    scratch: Scratch
    again_after_s: Sequence[float] = (0.2, 1.0)  # the waits before a provider that does not answer is asked again
    _links: Sequence[str] | None = None
    _wanted: dict[int, Schema] = field(default_factory=dict)
    _replaying: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, tenants: AsyncIterator[Tenant]) -> AsyncIterator[Checked]:
        """Yield each tenant's check, some at once, in no order; only `CentralUnavailable` stops the others."""
        links = await self._replay()
        running: set[asyncio.Task[Checked]] = set()
        try:
            async for tenant in tenants:
                running.add(asyncio.create_task(self._check(tenant, links)))
                if len(running) >= _AT_ONCE:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        yield task.result()
            for finished in asyncio.as_completed(running):
                yield await finished
        finally:
            for task in running:
                task.cancel()

    async def one(self, tenant: Tenant) -> Checked:
        """Check one tenant's database, as `run` does."""
        return await self._check(tenant, await self._replay())

    async def own_change(self, target: Target) -> OwnChange | None:
        """Return how the database differs from what its version must be; None if it does not. Takes a bounded time.

        Raises:
            FreeholdError: it cannot be read; Unavailable if not in time.
        """
        links = await self._replay()
        try:
            ledger, found = await _read(target)
        except LedgerUnreadable as error:  # only its user can have caused this
            return OwnChange("diverged", (describe(error),))
        if reason := self._other_history(ledger, links, found):
            return OwnChange("diverged", (reason,))
        wanted = self._wanted[ledger[-1].version if ledger else 0]
        is_same = found.fingerprint == wanted.fingerprint
        return None if is_same else OwnChange("drifted", tuple(differences(found, wanted)))

    async def _replay(self) -> Sequence[str]:
        """Replay all versions once to get the schema of each; return the chain hashes."""
        migrations = tuple(await self.published())
        links = chains(migrations)
        async with self._replaying:
            if self._links != links:
                wanted = {0: EMPTY}
                async with self.scratch() as target:
                    for version in range(1, len(migrations) + 1):
                        await apply(target, migrations, to=version, recorded=version - 1)
                        wanted[version] = await read_schema(target)
                # Replaced, never modified: concurrent checks keep the old mapping, whose versions still hold.
                self._wanted, self._links = wanted, links
        return links

    async def _check(self, tenant: Tenant, links: Sequence[str]) -> Checked:
        try:
            target, ledger, found = await self._opened(tenant)
            unfit = await _unfit(target, found)
        except CentralUnavailable:
            raise
        except DatabaseDamaged as error:
            reason = f"{error.file} is damaged ({error.reason}): `freehold tenants repair` sets it aside"
            return Checked(tenant=tenant, verdict="damaged", reasons=(reason,))
        except FreeholdError as error:
            verdict: Verdict = "suspended" if tenant.state is TenantState.SUSPENDED else "unreadable"
            return Checked(tenant=tenant, verdict=verdict, reasons=(describe(error),))
        version = ledger[-1].version if ledger else 0
        if reason := self._other_history(ledger, links, found):
            return Checked(tenant=tenant, verdict="diverged", version=version, reasons=(reason,))
        return _with_indexes(await self._compare(tenant, version, found, target), unfit)

    async def _opened(self, tenant: Tenant) -> tuple[Target, Sequence[LedgerRow], Schema]:
        """Open and read a database; again after a moment if the provider does not answer, as when an engine dies."""
        for wait_s in self.again_after_s:
            try:
                target = await self.provider.open(tenant.database_name)
                return target, *await _read(target)
            except DatabaseDamaged:
                raise
            except ProviderUnavailable:
                await asyncio.sleep(wait_s)
        target = await self.provider.open(tenant.database_name)
        return target, *await _read(target)

    def _other_history(self, ledger: Sequence[LedgerRow], links: Sequence[str], found: Schema) -> str:
        """Return why its target schema is unknown: repairing towards a wrong one would drop tables with rows."""
        for number, row in enumerate(ledger, start=1):
            if number > len(links):
                return f"its ledger is at version {ledger[-1].version}, and the registry ends at {len(links)}"
            if row.version != number or row.chain != links[number - 1]:
                return f"its ledger has another history at version {number} than the registry"
        if found.fingerprint == self._wanted[len(ledger)].fingerprint:
            return ""
        # The schema of an earlier version counts as drift, because its repair only adds.
        for version in range(len(links), len(ledger), -1):
            if found.fingerprint == self._wanted[version].fingerprint:
                return f"its ledger is at version {len(ledger)}, and its schema is that of version {version}"
        if not ledger and found.tables:
            return "it has tables, and its ledger says that nothing was applied"
        return ""

    async def _compare(self, tenant: Tenant, version: int, found: Schema, target: Target) -> Checked:
        wanted = self._wanted[version]
        if found.fingerprint == wanted.fingerprint:
            return Checked(tenant=tenant, verdict="same", version=version)
        reasons = tuple(differences(found, wanted))
        try:
            found = await with_settings(target, found)
            repair = await difference(found, wanted, scratch=self.scratch)
        except (CannotDiff, SchemaUnreadable, Unavailable) as error:
            reasons += (f"no repair is known: {error}",)
            return Checked(tenant=tenant, verdict="drifted", version=version, reasons=reasons)
        return Checked(
            tenant=tenant,
            verdict="drifted",
            version=version,
            reasons=(*reasons, *(f"made up by the repair: {note}" for note in repair.notes)),
            repair=repair.statements,
            losses=tuple(losses(found, wanted)),
            foreign_keys_off=repair.foreign_keys_off,
        )


async def _unfit(target: Target, found: Schema) -> list[Table]:
    """Return its full-text indexes with faults. One that takes too long to check does not count as faulty."""
    with suppress(TimeoutError, Unavailable):
        async with asyncio.timeout(_PATIENCE_S):
            return await unfit_indexes(target, found)
    return []


def _with_indexes(checked: Checked, unfit: Sequence[Table]) -> Checked:
    """Add faulty indexes and the statements that rebuild them."""
    if not unfit:
        return checked
    # The schema comes first; the next check finds what is left.
    mending = [] if checked.repair else [sql for table in unfit if (sql := mending_of(table))]
    return msgspec.structs.replace(
        checked,
        verdict="drifted" if checked.verdict == "same" else checked.verdict,
        reasons=(*checked.reasons, *map(fault_of, unfit)),
        repair=(*checked.repair, *mending),
    )


async def _read(target: Target) -> tuple[Sequence[LedgerRow], Schema]:
    """Read ledger and schema, within a time limit, so that no user's schema can delay the others."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await ledger_rows(target), await read_schema(target)
    except TimeoutError as error:
        raise Unavailable(f"its schema could not be read within {_PATIENCE_S:g} s") from error
