"""Real processes that are killed at each step of provisioning, and the next one that must finish the work."""

import asyncio
import contextlib
import multiprocessing
import random
import shutil
import signal
import sqlite3
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import insert

from freehold.central.engine import open_central
from freehold.central.tables import published_migration
from freehold.central.tenants.rows import new_tenant_row
from freehold.central.upgrade import upgrade_central
from freehold.dates import utc_now
from freehold.migrate.ledger import LEDGER_TABLE
from freehold.tenants.types import TenantState
from tests.simulators.provisioning_process import MIGRATIONS, STEPS, installation, provision_until_killed

_MOMENT = "2026-01-01T00:00:00.000Z"
_LIMIT_S = 30.0

# Children are forked from a server that has everything imported, and that has no thread and no event loop.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.simulators.provisioning_process"])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A central database with the migrations published and no users; tests work on copies."""
    path = tmp_path_factory.mktemp("published") / "central.db"

    async def make() -> None:
        central = open_central(path)
        await upgrade_central(central)
        async with central.write() as db:
            for migration in MIGRATIONS:
                await db.execute(
                    insert(published_migration).values(
                        version=migration.version, name=migration.name, description="d", sql=migration.sql,
                        checksum=migration.checksum, chain=f"chain-{migration.version}", key_id="k",
                        signature="s", created_at=_MOMENT,
                    )
                )  # fmt: skip
        await central.close()

    asyncio.run(make())
    return path


class CrashSite:
    """One installation, the processes that work on it, and what must be true of it in the end."""

    def __init__(self, folder: Path, published: Path) -> None:
        self.folder = folder
        folder.mkdir()
        shutil.copy(published, folder / "central.db")

    def add_tenants(self, count: int, *, first: int = 0) -> None:
        with contextlib.closing(sqlite3.connect(self.folder / "central.db", timeout=30)) as db, db:
            for number in range(first, first + count):
                row = new_tenant_row(f"user-{number}", "local", utc_now())
                db.execute(
                    f"INSERT INTO tenant ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
                )

    def process(self, step: str = "", nth: int = 1, *, lease_s: float = 0.2, concurrency: int = 2) -> BaseProcess:
        child = _processes.Process(
            target=provision_until_killed, args=(str(self.folder), step, nth, lease_s, concurrency)
        )
        child.start()
        return child

    def state_counts(self) -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(self.folder / "central.db")) as db:
            return dict(db.execute("SELECT state, count(*) FROM tenant GROUP BY state").fetchall())

    def wait_until_ready(self, count: int) -> None:
        until = time.monotonic() + _LIMIT_S
        while self.state_counts() != {"ready": count}:
            assert time.monotonic() < until, self.state_counts()
            time.sleep(0.01)

    async def finish(self, count: int) -> None:
        """Provision in this process, as the service does, until all are ready."""
        async with installation(self.folder) as parts:
            task = asyncio.create_task(parts.provisioner(lease_s=5.0).run())
            async with asyncio.timeout(_LIMIT_S):
                while await parts.store.counts() != {TenantState.READY: count}:
                    await asyncio.sleep(0.01)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def check(self, count: int) -> None:
        """Every tenant has exactly one database, whole, and there is no other."""
        with contextlib.closing(sqlite3.connect(self.folder / "central.db")) as db:
            rows = db.execute(
                "SELECT database_name, state, schema_version, error, attempts, due_at_ms FROM tenant"
            ).fetchall()
        assert len(rows) == count
        assert {row[1:] for row in rows} == {("ready", len(MIGRATIONS), None, 0, None)}
        files = {path.name: path for path in (self.folder / "tenants").rglob("*.db")}
        assert sorted(files) == sorted(f"{row[0]}.db" for row in rows)
        for path in files.values():
            _check_database(path)


def _check_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        ledger = db.execute(f"SELECT version, checksum FROM {LEDGER_TABLE} ORDER BY version").fetchall()
        assert ledger == [(migration.version, migration.checksum) for migration in MIGRATIONS]
        assert db.execute("SELECT count(*), count(DISTINCT text) FROM word").fetchone() == (2, 2)
        assert db.execute("SELECT count(*) FROM number").fetchone() == (5000,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.fixture
def house(tmp_path: Path, published: Path) -> CrashSite:
    return CrashSite(tmp_path / "house", published)


@pytest.mark.parametrize(
    ("step", "nth"),
    [*((step, 1) for step in STEPS), ("after create", 3), ("after transaction 2", 3), ("before mark_ready", 3)],
)
async def test_what_a_killed_process_left_is_found_and_finished(house: CrashSite, step: str, nth: int) -> None:
    house.add_tenants(4)
    child = house.process(step, nth)
    await asyncio.to_thread(child.join, _LIMIT_S)
    is_over = child.exitcode == -signal.SIGKILL
    child.kill()  # one whose step never came would go on for ever
    assert is_over
    await house.finish(4)
    house.check(4)


def test_processes_killed_at_any_moment_again_and_again_leave_nothing_behind(house: CrashSite) -> None:
    seed = random.randrange(10**6)
    source = random.Random(seed)
    kills, each_time = 12, 5  # however fast the machine is, there is work to be killed in
    for kill in range(kills):
        house.add_tenants(each_time, first=kill * each_time)
        child = house.process(lease_s=0.05)
        child.join(source.uniform(0.02, 0.25))
        child.kill()
        child.join()
    child = house.process()
    try:
        house.wait_until_ready(kills * each_time)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}") from error
    finally:
        child.kill()
        child.join()
    house.check(kills * each_time)


def test_two_processes_at_once_make_each_database_once(house: CrashSite) -> None:
    house.add_tenants(30)
    children = [house.process(lease_s=10.0, concurrency=4) for _ in range(2)]
    try:
        house.wait_until_ready(30)
    finally:
        for child in children:
            child.kill()
            child.join()
    house.check(30)


async def test_two_workers_on_the_same_tenants_do_no_harm(house: CrashSite) -> None:
    house.add_tenants(10)
    async with installation(house.folder) as one, installation(house.folder) as other:
        # With leases that are over before they begin, every tenant is taken by both, again and again.
        tasks = [asyncio.create_task(parts.provisioner(concurrency=4, lease_s=0.0).run()) for parts in (one, other)]
        async with asyncio.timeout(_LIMIT_S):
            while await one.store.counts() != {TenantState.READY: 10}:
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    house.check(10)


async def test_a_disk_that_refuses_for_a_while_delays_and_loses_nothing(house: CrashSite) -> None:
    house.add_tenants(5)
    blocked = house.folder / "tenants"
    blocked.write_text("a file in the place of the folder")
    async with installation(house.folder) as parts:
        task = asyncio.create_task(parts.provisioner().run())
        async with asyncio.timeout(_LIMIT_S):
            while not (await parts.store.counts()).get(TenantState.FAILED):
                await asyncio.sleep(0.01)
            failed = (await parts.store.page(state=TenantState.FAILED))[0]
            assert "tenants" in (failed.error or "")
            blocked.unlink()
            while await parts.store.counts() != {TenantState.READY: 5}:
                await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    house.check(5)
