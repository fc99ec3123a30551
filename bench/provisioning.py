"""A new tenant on files: from a snapshot, by replaying, and one request a migration, for 5, 50 and 200 migrations.

The floor is the template file alone: written under another name, synced, linked, its folder synced. Ratios are times
over the floor's: 1 is best.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.report import Finding, compare, note
from freehold.migrate.apply import apply
from freehold.migrate.snapshot import Snapshot, build_snapshot
from freehold.migrate.target import Target
from freehold.migrate.types import Migration, chains
from freehold.providers.local.provider import LocalProvider
from freehold.providers.local.template import make_template
from freehold.providers.sqlite.file_target import local_scratch
from freehold.registry.published import PublishedRegistry
from freehold.registry.types import PublishedMigration
from freehold.tenants.snapshots import Snapshots

_ROUNDS = 5
_TENANTS = 20
_SLOW_TENANTS = 4
_TABLES = 10


def history(versions: int) -> list[Migration]:
    """Ten tables first, as in a grown app; then each version adds a column and an index, or changes rows."""
    found = []
    for version in range(1, versions + 1):
        table = f"entries_{version % _TABLES}"
        if version <= _TABLES and versions > _TABLES:
            sql = f"CREATE TABLE {table} (id TEXT PRIMARY KEY, word TEXT NOT NULL, due_at INTEGER);"
            sql += f"INSERT INTO {table} VALUES ('a', 'seed', 1);"
        elif versions <= _TABLES:
            sql = "".join(
                f"CREATE TABLE entries_{version}_{part} (id TEXT PRIMARY KEY, word TEXT NOT NULL, due_at INTEGER);"
                for part in range(2)
            )
        elif version % 2:
            sql = f"ALTER TABLE {table} ADD COLUMN added_{version} TEXT; UPDATE {table} SET due_at = {version};"
        else:
            sql = f"DROP INDEX IF EXISTS {table}_due; CREATE INDEX {table}_due ON {table} (due_at, word);"
        found.append(Migration(version=version, name=f"step_{version}", sql=sql))
    return found


class _Way:
    """One way to make tenants: a provider of its own, and what brings a new database up to date."""

    def __init__(
        self, folder: Path, bring: Callable[[Target], Awaitable[object]], snapshots: Snapshots | None = None
    ) -> None:
        self._bring = bring
        self._count = 0
        self.provider = LocalProvider(
            folder, "http://127.0.0.1", Ed25519PrivateKey.generate(), snapshot=snapshots.get if snapshots else None
        )

    async def tenants_ms(self, count: int) -> float:
        """Milliseconds a tenant, one after the other; the median."""
        took = []
        for _ in range(count):
            self._count += 1
            name = f"t-{self._count}"
            began = time.perf_counter()
            await self.provider.create(name)
            await self._bring(await self.provider.open(name))
            took.append(time.perf_counter() - began)
        return statistics.median(took) * 1000


async def run() -> AsyncIterator[Finding]:
    """Measure the four in turn for each number of migrations."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    for versions in (5, 50, 200):
        note(f"provisioning on files with {versions} migrations")
        with tempfile.TemporaryDirectory() as folder:
            async for finding in _compare(Path(folder), versions):
                yield finding
    with tempfile.TemporaryDirectory() as folder:
        yield await _flat(Path(folder))


async def _flat(folder: Path) -> Finding:
    """Few migrations over many, in turn: at 1 the cost does not grow with their number."""
    ways = []
    for versions in (5, 200):
        snapshots = snapshots_of(history(versions))
        ways.append(_Way(folder / str(versions), snapshots.bring_up_to_date, snapshots))
    few: list[float] = []
    many: list[float] = []
    try:
        for _ in range(_ROUNDS + 1):
            few.append(await ways[0].tenants_ms(_TENANTS))
            many.append(await ways[1].tenants_ms(_TENANTS))
    finally:
        for way in ways:
            await way.provider.aclose()
    return compare("tenant, 5 migrations over 200", "ms", few[1:], many[1:], at_least=0.5)


async def _compare(folder: Path, versions: int) -> AsyncIterator[Finding]:
    migrations = history(versions)

    async def one_by_one(target: Target) -> None:
        for version in range(1, versions + 1):
            await apply(target, migrations, to=version, recorded=version - 1)

    began = time.perf_counter()
    snapshot = await asyncio.to_thread(lambda: asyncio.run(build_snapshot(migrations, local_scratch)))
    note(f"  the snapshot is built once, in {(time.perf_counter() - began) * 1000:.0f} ms")
    copies, loads = snapshots_of(migrations), snapshots_of(migrations)
    ways = {
        "file copied": _Way(folder / "copy", copies.bring_up_to_date, copies),
        "snapshot loaded": _Way(folder / "load", loads.bring_up_to_date),
        "replayed at once": _Way(folder / "replay", lambda target: apply(target, migrations, recorded=0)),
        "replayed, one by one": _Way(folder / "single", one_by_one),
    }
    try:
        for way in ways.values():
            await way.tenants_ms(1)
        found: dict[str, list[float]] = {name: [] for name in (*ways, "floor")}
        for number in range(_ROUNDS):
            found["floor"].append(await asyncio.to_thread(_floor_ms, folder / f"floor-{number}", snapshot))
            for name, way in ways.items():
                is_quick = not name.startswith("replayed")
                found[name].append(await way.tenants_ms(_TENANTS if is_quick else _SLOW_TENANTS))
    finally:
        for way in ways.values():
            await way.provider.aclose()
    for name in ways:
        yield compare(f"tenant, {versions} migrations, {name}", "ms", found[name], found["floor"])


def _floor_ms(folder: Path, snapshot: Snapshot) -> float:
    content = make_template(snapshot).fill()
    folder.mkdir()
    took = []
    for number in range(_TENANTS):
        began = time.perf_counter()
        draft = folder / f"draft-{number}"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, folder / f"{number}.db")
        draft.unlink()
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def snapshots_of(migrations: list[Migration], *, prove: bool = False) -> Snapshots:
    """As the service makes them, over these migrations as if they were published."""
    rows = tuple(
        PublishedMigration(
            version=each.version, name=each.name, description="", sql=each.sql, checksum=each.checksum,
            chain=link, key_id="", signature="", created_at="",
        )
        for each, link in zip(migrations, chains(migrations), strict=True)
    )  # fmt: skip
    published = PublishedRegistry(rows, (), tuple(migrations))

    async def registry() -> PublishedRegistry:
        return published

    return Snapshots(registry, local_scratch, prove=prove)
