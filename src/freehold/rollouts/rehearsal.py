"""Copies of tenants' databases: to rehearse a rollout on, and to go back to."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from freehold.errors import FreeholdError, NotFound
from freehold.migrate.apply import apply
from freehold.migrate.integrity import Fit, fit_of, unsoundness
from freehold.migrate.ledger import read_ledger
from freehold.migrate.schema import read_schema
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.rollouts.rows import row_counts
from freehold.rollouts.types import Step
from freehold.tenants.names import new_database_name
from freehold.tenants.ports import Clock, DatabaseProvider, LifecycleStore

_COPY_MS = 15 * 60_000
_DAY_MS = 24 * 3_600_000


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """One rehearsal: rows by table before and after. `faults` is empty if all went well."""

    tenant_id: str
    from_version: int
    duration_ms: int
    rows_before: dict[str, int]
    rows_after: dict[str, int]
    faults: tuple[str, ...] = ()

    @property
    def lost(self) -> dict[str, int]:
        """Tables that still exist with fewer rows, and how many fewer."""
        return {
            table: before - self.rows_after[table]
            for table, before in self.rows_before.items()
            if self.rows_after.get(table, before) < before
        }

    @property
    def summary(self) -> str:
        """One line for people."""
        changed = ", ".join(
            f"{table} {self.rows_before.get(table, 0)} to {after} rows"
            for table, after in self.rows_after.items()
            if self.rows_before.get(table, 0) != after
        )
        faults = "; ".join(self.faults) or "sound"
        return f"from version {self.from_version} in {self.duration_ms} ms, {changed or 'rows as before'}, {faults}"


@dataclass(frozen=True, slots=True)
class Copies:
    """Makes copies that are always cleaned up, because their names are recorded before they are created."""

    store: LifecycleStore
    provider: DatabaseProvider
    clock: Clock

    async def keep(self, database_name: str, tenant_id: str, days: int) -> str:
        """Copy the database as it is now, keep the copy for `days`, and return its name."""
        name = new_database_name()
        until_ms = self.clock.now_ms() + days * _DAY_MS
        await self.store.reserve(name, self.provider.name, tenant_id, until_ms)
        await self.provider.fork(database_name, name)
        return name

    async def is_outdated(self, copy_name: str, step: Step) -> bool:
        """Return whether the tenant's version is unchanged since the copy was made, or the copy is gone."""
        try:
            before = await read_ledger(await self.provider.open(copy_name))
        except NotFound:
            return True
        return before == await read_ledger(await self.provider.open(step.database_name))

    async def give_up(self, copy_name: str) -> None:
        """Schedule a copy that nobody needs for deletion."""
        await self.store.discard(copy_name, self.clock.now_ms())

    async def rehearse(
        self, database_name: str, tenant_id: str, migrations: Sequence[Migration], to_version: int
    ) -> Rehearsed:
        """Migrate a copy and check the result. The tenant's own database is only read."""
        async with self.passing(tenant_id) as name:
            await self.provider.fork(database_name, name)
            target = await self.provider.open(name)
            before, faults, fit = await row_counts(target), list[str](), Fit()
            # A user can have written anything into full-text indexes; such a fault is reported after the migrations.
            with contextlib.suppress(FreeholdError):
                fit = await fit_of(target, await read_schema(target))
            began_ms = self.clock.now_ms()
            from_version = to_version
            try:
                done = await apply(target, migrations, to=to_version, distrusts=True)
                from_version = done.version - len(done.applied)
            except FreeholdError as error:
                faults.append(str(error))
            duration_ms = self.clock.now_ms() - began_ms
            try:
                faults += await unsoundness(target, await read_schema(target), fit)
            except FreeholdError as error:
                faults.append(f"it could not be checked: {error}")
            return Rehearsed(
                tenant_id=tenant_id,
                from_version=from_version,
                duration_ms=duration_ms,
                rows_before=before,
                rows_after=await row_counts(target),
                faults=tuple(faults),
            )

    @asynccontextmanager
    async def scratch(self, migrations: Sequence[Migration], to_version: int) -> AsyncIterator[Target]:
        """A scratch database at this version, at the tenants' provider; deleted at the end."""
        async with self.passing(None) as name:
            await self.provider.create_empty(name)
            target = await self.provider.open(name)
            await apply(target, migrations, to=to_version)
            yield target

    @asynccontextmanager
    async def passing(self, tenant_id: str | None) -> AsyncIterator[str]:
        """A name for a database that is deleted in the end, unless it is adopted by then."""
        name = new_database_name()
        await self.store.reserve(name, self.provider.name, tenant_id, self.clock.now_ms() + _COPY_MS)
        try:
            yield name
        finally:
            with contextlib.suppress(FreeholdError):  # otherwise it is discarded when its time is over
                await self.store.discard(name, self.clock.now_ms())
