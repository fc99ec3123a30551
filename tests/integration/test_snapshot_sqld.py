"""Snapshots on a real libSQL server: the same database as by replaying, one round trip, whoever else is at work."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from structlog.testing import capture_logs
from testbed.sqld import Sqld, running_sqld

from freehold.libsql.http import HranaTarget
from freehold.migrate.apply import apply
from freehold.migrate.dump import dump
from freehold.migrate.failures import DatabaseBusy
from freehold.migrate.fingerprint import ask
from freehold.migrate.schema import read_schema
from freehold.migrate.snapshot import build_snapshot, load
from freehold.migrate.types import LedgerState, Migration
from freehold.providers.sqlite.file_target import local_scratch
from freehold.tenants.snapshots import Snapshots
from tests.integration.migrate_parts import Counted, bahar, history
from tests.integration.test_snapshot_load import LEDGER, SEEDED
from tests.unit.test_snapshots_service import MovingRegistry

# The SQLite in sqld 0.24 rounds these the other way than newer ones.
ROUNDED = history("CREATE VIRTUAL TABLE place USING rtree(id, west, east); INSERT INTO place VALUES (7, 0.1, 0.2)")


@pytest.fixture(scope="module")
def sqld() -> Iterator[Sqld]:
    with running_sqld() as server:
        yield server


class Databases:
    """New empty namespaces as targets."""

    def __init__(self, sqld: Sqld) -> None:
        self.sqld = sqld
        self.sessions: list[aiohttp.ClientSession] = []
        self.count = 0

    async def new(self, name: str) -> HranaTarget:
        await asyncio.to_thread(self.sqld.create, name)
        return self.of(name)

    def of(self, name: str) -> HranaTarget:
        session = aiohttp.ClientSession(headers={"Host": f"{name}.db.internal"})
        self.sessions.append(session)
        return HranaTarget(session, f"{self.sqld.url}/", self.sqld.token(name))


@pytest.fixture
async def databases(sqld: Sqld) -> AsyncIterator[Databases]:
    made = Databases(sqld)
    yield made
    for session in made.sessions:
        await session.close()


@pytest.mark.parametrize(("name", "migrations"), [("seeded", SEEDED), ("bahar", bahar())])
async def test_loading_on_sqld_gives_what_replaying_gives_there(
    databases: Databases, name: str, migrations: list[Migration]
) -> None:
    snapshot = await build_snapshot(migrations, local_scratch)
    replayed = await databases.new(f"{name}-replayed")
    loaded = Counted(await databases.new(f"{name}-loaded"))
    await apply(replayed, migrations)
    for _ in range(2):
        assert await load(loaded, snapshot) == LedgerState(len(migrations), snapshot.chain)
    assert loaded.round_trips == 2
    assert (await read_schema(loaded)).fingerprint == (await read_schema(replayed)).fingerprint == snapshot.fingerprint
    assert await dump(loaded) == await dump(replayed)
    assert await ask(loaded, LEDGER) == await ask(replayed, LEDGER)
    assert await ask(loaded, "SELECT * FROM pragma_foreign_key_check", "PRAGMA foreign_keys") == [[], [[1]]]


async def test_loaders_and_an_applier_at_once_leave_each_version_there_once(databases: Databases) -> None:
    migrations = history(*(f"CREATE TABLE IF NOT EXISTS log (step); INSERT INTO log VALUES ({n});" for n in range(4)))
    snapshot = await build_snapshot(migrations, local_scratch)

    async def bring_up(target: HranaTarget) -> None:
        try:
            state = await load(target, snapshot)
        except DatabaseBusy:
            state = None
        if state != LedgerState(4, snapshot.chain):
            await apply(target, migrations)

    async def go_step_by_step(target: HranaTarget) -> None:
        for version in (1, 2, 3, 4):
            await apply(target, migrations, to=version)

    for number in range(15):
        first = await databases.new(f"race-{number}")
        second, third = (databases.of(f"race-{number}") for _ in range(2))
        await asyncio.gather(bring_up(first), bring_up(second), go_step_by_step(third))
        versions, steps = await ask(first, "SELECT version FROM freehold_ledger", "SELECT step FROM log")
        assert versions == [[1], [2], [3], [4]]
        assert steps == [[0], [1], [2], [3]]


async def test_the_first_tenant_proves_it_and_the_others_take_it(databases: Databases) -> None:
    world = MovingRegistry(*(each.sql for each in SEEDED))
    snapshots = Snapshots(world.now, local_scratch, prove=True)
    trips = []
    for number in range(3):
        target = Counted(await databases.new(f"proof-{number}"))
        assert await snapshots.bring_up_to_date(target) == 4
        trips.append(target.round_trips)
    assert trips[0] > 1
    assert trips[1:] == [1, 1]


async def test_where_this_server_makes_something_else_of_it_every_tenant_replays(databases: Databases) -> None:
    world = MovingRegistry(*(each.sql for each in ROUNDED))
    snapshots = Snapshots(world.now, local_scratch, prove=True)
    with capture_logs() as lines:
        for number in range(2):
            target = await databases.new(f"rounded-{number}")
            await snapshots.bring_up_to_date(target)
            [[west]] = (await ask(target, "SELECT west FROM place"))[0]
            assert west == 0.09999998658895493
    assert [line["event"] for line in lines] == ["snapshot.built", "snapshot.refused"]
