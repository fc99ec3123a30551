"""Provisioning with snapshots: real files, real processes killed at each step, and the next one that finishes."""

import asyncio
import contextlib
import multiprocessing
import random
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from freehold.errors import Unavailable
from freehold.migrate.apply import apply
from freehold.migrate.snapshot import Snapshot, SnapshotUnfit, build_snapshot, sqlite_scratch
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.types import Migration
from freehold.providers.local.files import TenantFiles
from freehold.providers.local.provider import LocalProvider
from freehold.providers.sqlite.file_target import FileTarget, local_scratch
from freehold.tenants.types import TenantState
from tests.integration.migrate_parts import bahar, history
from tests.integration.test_provisioning_crashes import CrashSite
from tests.integration.test_provisioning_crashes import published as published  # noqa: PLC0414 - a fixture
from tests.integration.test_snapshot_load import LEDGER, SEARCH, SEEDED
from tests.integration.test_snapshot_property import look
from tests.simulators.snapshot_process import installation, provision_until_killed

_LIMIT_S = 30.0
_processes = multiprocessing.get_context("forkserver")

STEPS = [
    "after claim_due", "before create", "after create", "before open", "after open", "before transaction 1",
    "after transaction 1", "before mark_ready", "after mark_ready",
]  # fmt: skip


def query(path: Path, sql: str) -> list[Any]:
    """All rows, by the copy of SQLite that the provider uses: two in one process do not see each other's locks."""
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        return list(connection.execute(sql))


class SnapshotHouse(CrashSite):
    """The same house; `copies` says how a database gets its snapshot."""

    copies = True

    def process(self, step: str = "", nth: int = 1, *, lease_s: float = 0.2, concurrency: int = 2) -> BaseProcess:
        child = _processes.Process(
            target=provision_until_killed, args=(str(self.folder), step, nth, lease_s, concurrency, self.copies)
        )
        child.start()
        return child

    async def finish(self, count: int) -> None:
        async with installation(self.folder, copies=self.copies) as parts:
            task = asyncio.create_task(parts.provisioner(lease_s=5.0).run())
            async with asyncio.timeout(_LIMIT_S):
                while await parts.store.counts() != {TenantState.READY: count}:
                    await asyncio.sleep(0.01)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture(params=[True, False], ids=["copied", "loaded"])
def house(request: pytest.FixtureRequest, tmp_path: Path, published: Path) -> SnapshotHouse:
    made = SnapshotHouse(tmp_path / "house", published)
    made.copies = request.param
    return made


@pytest.mark.parametrize("step", STEPS)
async def test_what_a_killed_process_left_is_found_and_finished(house: SnapshotHouse, step: str) -> None:
    house.add_tenants(3)
    child = house.process(step, 2)
    await asyncio.to_thread(child.join, _LIMIT_S)
    is_over = child.exitcode == -signal.SIGKILL
    child.kill()  # one whose step never came would go on for ever
    assert is_over
    await house.finish(3)
    house.check(3)


def test_processes_killed_at_any_moment_leave_nothing_behind(house: SnapshotHouse) -> None:
    source = random.Random()
    house.add_tenants(30)
    kills = 0
    while house.state_counts() != {"ready": 30} and kills < 25:
        child = house.process(lease_s=0.05)
        child.join(source.uniform(0.05, 0.4))
        child.kill()
        child.join()
        kills += 1
    children = [house.process(), house.process()]
    try:
        house.wait_until_ready(30)
    finally:
        for child in children:
            child.kill()
            child.join()
    house.check(30)


class CopyingProvider:
    """A local provider whose new databases are copies."""

    def __init__(self, folder: Path) -> None:
        self.snapshot: Snapshot | None = None
        self.files = TenantFiles(folder / "tenants")
        self.provider = LocalProvider(folder, "http://127.0.0.1:8000", Ed25519PrivateKey.generate(), snapshot=self.get)

    async def get(self) -> Snapshot | None:
        return self.snapshot


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[CopyingProvider]:
    made = CopyingProvider(tmp_path / "data")
    yield made
    await made.provider.aclose()


@pytest.mark.parametrize("migrations", [SEEDED, SEARCH, bahar()], ids=["seeded", "search", "bahar"])
async def test_a_copied_database_is_the_one_that_replaying_gives(
    place: CopyingProvider, tmp_path: Path, migrations: list[Migration]
) -> None:
    place.snapshot = await build_snapshot(migrations, local_scratch)
    began = datetime.now(UTC).isoformat()
    await place.provider.create("a")
    path = place.files.path_of("a")
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    await apply(SqliteTarget(tmp_path / "replayed.db"), migrations)
    if migrations is not SEARCH:  # the shadow tables of a search index differ by the SQLite that wrote them
        assert look(path) == look(tmp_path / "replayed.db")
    assert query(path, LEDGER) == query(tmp_path / "replayed.db", LEDGER)
    moments = {moment for (moment,) in query(path, "SELECT applied_at FROM freehold_ledger")}
    assert len(moments) == 1
    assert began[:23] <= moments.pop()[:23] <= datetime.now(UTC).isoformat()[:23]
    # And it can be gone on from, as any other.
    more = history(*(each.sql for each in migrations), "CREATE TABLE later (a)")
    more = [*migrations, Migration(version=len(more), name="later", sql=more[-1].sql)]
    target = await place.provider.open("a")
    assert (await apply(target, more)).applied == (len(more),)


async def test_each_copy_is_a_database_of_its_own(place: CopyingProvider) -> None:
    place.snapshot = await build_snapshot(SEEDED, local_scratch)
    await asyncio.gather(*(place.provider.create(f"t-{number % 10}") for number in range(30)))
    target = await place.provider.open("t-1")
    await apply(target, [*SEEDED, Migration(version=5, name="later", sql="DELETE FROM word")])
    counts = [query(place.files.path_of(f"t-{n}"), "SELECT count(*) FROM word")[0][0] for n in range(10)]
    assert sorted(counts) == [0, *[2] * 9]
    assert list((place.files.root / ".drafts").iterdir()) == []


async def test_a_database_that_exists_is_never_overwritten(place: CopyingProvider) -> None:
    await place.provider.create("a")
    target = await place.provider.open("a")
    await apply(target, history("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)"))
    place.snapshot = await build_snapshot(SEEDED, local_scratch)
    await place.provider.create("a")
    assert query(place.files.path_of("a"), "SELECT a FROM mine") == [(1,)]


async def test_a_newer_snapshot_makes_a_new_template_and_none_an_empty_database(place: CopyingProvider) -> None:
    for name, migrations in (("a", SEEDED[:1]), ("b", SEEDED)):
        place.snapshot = await build_snapshot(migrations, local_scratch)
        await place.provider.create(name)
        assert len(query(place.files.path_of(name), LEDGER)) == len(migrations)
    place.snapshot = None
    await place.provider.create("c")
    assert query(place.files.path_of("c"), "SELECT count(*) FROM sqlite_schema") == [(0,)]


async def test_seeds_that_look_like_the_mark_make_no_template_but_still_a_database(place: CopyingProvider) -> None:
    seeds = history("CREATE TABLE a (text); INSERT INTO a VALUES ('@freehold-applied-at@@@@')")
    place.snapshot = await build_snapshot(seeds, local_scratch)
    with capture_logs() as lines:
        await place.provider.create("a")
        await place.provider.create("b")
    assert [line["event"] for line in lines] == ["template.failed"]
    assert query(place.files.path_of("a"), "SELECT count(*) FROM sqlite_schema") == [(0,)]


async def test_a_disk_without_room_for_the_template_costs_no_tenant(
    place: CopyingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.snapshot = await build_snapshot(SEEDED, local_scratch)
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with capture_logs() as lines:
        await place.provider.create("a")
    assert [line["event"] for line in lines] == ["template.failed"]
    assert place.files.exists("a")


ENDLESS = """CREATE TABLE a (i);
INSERT INTO a WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n"""


async def test_a_migration_without_end_ends_in_the_scratch_database(tmp_path: Path) -> None:
    target = FileTarget.scratch(tmp_path / "scratch.db", limit_s=0.2)
    with pytest.raises(SnapshotUnfit, match="longer than"):
        await asyncio.to_thread(lambda: asyncio.run(apply(target, history(ENDLESS))))
    assert (await apply(target, history("CREATE TABLE b (i)"))).version == 1
    await target.close()


async def test_the_same_on_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.migrate.snapshot._SCRATCH_S", 0.2)
    with pytest.raises(Unavailable, match="interrupted"):
        await build_snapshot(history(ENDLESS), sqlite_scratch)
