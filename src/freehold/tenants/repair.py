"""Repair databases that the engine cannot open because a file beside the data is damaged.

That file is renamed, never deleted, and the engine rebuilds it from the data. Nothing is written to the data here. See
docs/self-hosting.md.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from freehold.audit.types import Event
from freehold.errors import CentralUnavailable, Conflict, FreeholdError, ProviderUnavailable
from freehold.log import get_logger
from freehold.migrate.fingerprint import ask
from freehold.migrate.integrity import unsoundness
from freehold.migrate.names import quoted
from freehold.migrate.schema import read_schema
from freehold.migrate.target import Target
from freehold.tenants.backup import BadBackup, OpenFile
from freehold.tenants.drift import Checked
from freehold.tenants.errors import DatabaseDamaged, describe
from freehold.tenants.listing import in_parts
from freehold.tenants.ports import DatabaseProvider
from freehold.tenants.types import Tenant, TenantState

log = get_logger()

_AT_ONCE = 8
_MOST_FILES = 3  # beside the data of one database
_TABLES_SQL = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"

# `sound`: the engine opens it, nothing was done. `repaired`: it opens again. `set_aside`: done, but the engine is not
# running, so only the data could be checked. `would_repair`: the same with `dry_run`. `failed`: nothing was done, or it
# still does not open.
Outcome = Literal["sound", "repaired", "set_aside", "would_repair", "failed"]


class NotRepairable(Conflict):
    """`tenants repair` cannot fix what is wrong with the database."""

    code = "not_repairable"
    remedy = "The message says what it is; restore from a backup."
    where = "cli"


class DatabaseFiles(Protocol):
    """The engine's files on this machine."""

    async def damaged(self) -> Sequence[str]:
        """Return the databases whose files alone show that the engine will not open them."""

    async def damage(self, database_name: str) -> DatabaseDamaged | None:
        """Return what is wrong with this database's files, if that can be seen."""

    def alone(self, database_name: str) -> AbstractAsyncContextManager[None]:
        """Exclude other repairs of this database while entered. Raises `NotFound`, and `Conflict` after a long wait."""

    async def copy(self, database_name: str, folder: Path) -> Path:
        """Copy the data, with commits not in its file yet, to a SQLite file. Raises `NotFound`, `Conflict`."""

    async def set_aside(self, database_name: str, file: str) -> str:
        """Rename a file beside the data and return the new name. Raises as `copy` does."""


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one database. `rows` are counted after the repair, `rows_before` in the data before it.

    `findings` lists remaining faults, in sentences; `set_aside` the new names of files.
    """

    tenant: Tenant
    outcome: Outcome
    reason: str = ""
    set_aside: tuple[str, ...] = ()
    rows_before: int | None = None
    rows: int | None = None
    findings: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether there is nothing left to look at."""
        return self.outcome != "failed" and not self.findings


class _Content(msgspec.Struct, frozen=True):
    """Rows by table, and the schema, to compare before and after."""

    rows: dict[str, int]
    schema: str

    @property
    def total(self) -> int:
        return sum(self.rows.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """`check` compares a database's schema with its version's; `record` writes an audit event."""

    provider: DatabaseProvider
    files: DatabaseFiles
    open_file: OpenFile
    check: Callable[[Tenant], Awaitable[Checked]]
    record: Callable[[Event], Awaitable[None]]

    async def broken(
        self, tenants: AsyncIterator[Tenant], on_checked: Callable[[int], None] = lambda _count: None
    ) -> AsyncIterator[Tenant]:
        """Yield the tenants whose database the engine does not open, judged by its files if it is not running.

        Raises:
            CentralUnavailable, ProviderUnavailable: the check cannot continue.
        """
        names = None if await self._is_running() else set(await self.files.damaged())
        count = 0
        async for part in in_parts(tenants, _AT_ONCE):
            looks = [self._is_broken(tenant, names) for tenant in part]
            for tenant, is_broken in zip(part, await asyncio.gather(*looks), strict=True):
                count += 1
                if is_broken:
                    yield tenant
            on_checked(count)

    async def run(self, tenant: Tenant, *, dry_run: bool = False) -> Repaired:
        """Repair one database. Safe to repeat after any failure, and harmless for a sound one.

        Raises:
            CentralUnavailable: the repair could not be recorded, so nothing was done.
            FreeholdError: nothing was done; the message says why.
        """
        is_running = await self._is_running()
        if await self._damage(tenant, is_running=is_running) is not None:
            async with self.files.alone(tenant.database_name):
                # Another repair may have ended since.
                damage = await self._damage(tenant, is_running=is_running)
                if damage is not None:
                    return await self._repaired(tenant, damage, is_running=is_running, dry_run=dry_run)
        sound = Repaired(tenant=tenant, outcome="sound")
        if is_running:
            return await self._verified(sound, None)
        return msgspec.structs.replace(sound, reason="its files look whole; sqld is not running")

    async def _repaired(self, tenant: Tenant, damage: DatabaseDamaged, *, is_running: bool, dry_run: bool) -> Repaired:
        with tempfile.TemporaryDirectory(prefix="freehold-repair-") as folder:
            before, findings = await self._look_at(await self.files.copy(tenant.database_name, Path(folder)))
        done = Repaired(
            tenant=tenant,
            outcome="would_repair",
            reason=f"{damage.file}: {damage.reason}",
            rows_before=before.total if before else None,
            findings=tuple(findings),
        )
        if dry_run:
            return done
        target = f"tenant:{tenant.tenant_id}"
        facts = {"database": tenant.database_name, "file": damage.file, "reason": damage.reason}
        await self.record(Event("tenant.repair_started", target, facts))
        done = await self._set_aside(done, damage, is_running=is_running)
        if done.outcome == "repaired":
            # Faults of the data are found again; that SQLite could not read them says nothing about libSQL.
            done = await self._verified(msgspec.structs.replace(done, findings=()), before)
        await self.record(
            Event(
                "tenant.repaired",
                target,
                {
                    "database": tenant.database_name,
                    "outcome": done.outcome,
                    "set_aside": ", ".join(done.set_aside),
                    "rows_before": done.rows_before,
                    "rows": done.rows,
                    "findings": "; ".join(done.findings)[:500],
                },
            )
        )
        log.info("tenant.repaired", tenant_id=tenant.tenant_id, outcome=done.outcome, rows=done.rows)
        return done

    async def _is_running(self) -> bool:
        try:
            await self.provider.check()
        except ProviderUnavailable:
            return False
        return True

    async def _is_broken(self, tenant: Tenant, names: set[str] | None) -> bool:
        if tenant.provider != self.provider.name or tenant.state is TenantState.DELETED:
            return False
        if names is not None:
            return tenant.database_name in names
        try:
            await self.provider.find(tenant.database_name)
        except DatabaseDamaged:
            return True
        return False

    async def _damage(self, tenant: Tenant, *, is_running: bool) -> DatabaseDamaged | None:
        if tenant.provider != self.provider.name:
            raise NotRepairable(f"its database is at the provider `{tenant.provider}`")
        if not is_running:
            return await self.files.damage(tenant.database_name)
        try:
            if await self.provider.find(tenant.database_name) is None:
                raise NotRepairable("its database is not there; `freehold tenants reconcile` says more")
        except DatabaseDamaged as damage:
            return damage
        return None

    async def _set_aside(self, done: Repaired, damage: DatabaseDamaged, *, is_running: bool) -> Repaired:
        """Set aside one file after the other while the engine complains about another one."""
        names: list[str] = []
        left: DatabaseDamaged | None = damage
        files: set[str] = set()
        while left is not None and left.file not in files and len(files) < _MOST_FILES:
            files.add(left.file)
            names.append(await self.files.set_aside(done.tenant.database_name, left.file))
            left = await self._damage(done.tenant, is_running=is_running)
        outcome: Outcome = "repaired" if is_running else "set_aside"
        if left is None:
            return msgspec.structs.replace(done, outcome=outcome, set_aside=tuple(names))
        why = f"it does not open all the same ({left.file}: {left.reason}); restore it from an export or a backup"
        return msgspec.structs.replace(done, outcome="failed", set_aside=tuple(names), findings=(*done.findings, why))

    async def _look_at(self, copy: Path) -> tuple[_Content | None, list[str]]:
        """Return the content of the data and their faults, as far as SQLite can read what libSQL wrote."""
        try:
            async with self.open_file(copy) as file:
                return await _content(file), await unsoundness(file, await read_schema(file))
        except (BadBackup, Conflict) as error:
            return None, [f"rows could not be counted beforehand: {describe(error)}"]

    async def _verified(self, done: Repaired, before: _Content | None) -> Repaired:
        """Check it through the engine itself."""
        if done.tenant.state is TenantState.SUSPENDED:
            return done  # it opens, but cannot be read; the data were checked
        try:
            target = await self.provider.open(done.tenant.database_name)
            after = await _content(target)
            found = await unsoundness(target, await read_schema(target))
            checked = await self.check(done.tenant)
        except CentralUnavailable:
            raise
        except FreeholdError as error:
            return msgspec.structs.replace(done, findings=(f"it cannot be read: {describe(error)}",))
        if before is not None:
            found += _differences(before, after)
        if checked.verdict != "same":
            found += [f"its schema is not that of version {checked.version}: {', '.join(checked.reasons)}"]
        return msgspec.structs.replace(done, rows=after.total, findings=tuple(found))


async def _content(target: Target) -> _Content:
    [tables] = await ask(target, _TABLES_SQL)
    names = [str(name) for [name] in tables]
    counts = await ask(target, *(f"SELECT count(*) FROM {quoted(name)}" for name in names)) if names else []
    rows = {name: int(str(found[0][0])) for name, found in zip(names, counts, strict=True)}
    return _Content(rows, (await read_schema(target)).fingerprint)


def _differences(before: _Content, after: _Content) -> list[str]:
    found = [
        f"the table {name} had {before.rows.get(name, 0)} rows and has {after.rows.get(name, 0)}"
        for name in sorted(before.rows.keys() | after.rows.keys())
        if before.rows.get(name) != after.rows.get(name)
    ]
    if before.schema != after.schema:
        found.append("the schema is not the one that was in the data")
    return found
