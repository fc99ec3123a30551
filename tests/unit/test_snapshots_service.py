"""The service's snapshot: made once for each version, never an old one, never in the way."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from freehold.errors import CentralUnavailable, Unavailable
from freehold.migrate.apply import apply
from freehold.migrate.failures import MigrationFailed
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.target import Target
from freehold.migrate.types import chains
from freehold.registry.published import PublishedRegistry
from freehold.registry.types import PublishedMigration
from freehold.tenants import snapshots as module
from freehold.tenants.snapshots import Snapshots
from tests.integration.migrate_parts import Counted, change, history, ledger_versions, query

ONE = "CREATE TABLE word (text); INSERT INTO word VALUES ('a')"
TWO = "CREATE TABLE deck (name)"


def published(*scripts: str) -> PublishedRegistry:
    migrations = history(*scripts)
    rows = tuple(
        PublishedMigration(
            version=each.version, name=each.name, description="", sql=each.sql, checksum=each.checksum,
            chain=link, key_id="", signature="", created_at="",
        )
        for each, link in zip(migrations, chains(migrations), strict=True)
    )  # fmt: skip
    return PublishedRegistry(rows, (), tuple(migrations))


class MovingRegistry:
    """A registry that can move, and a scratch that counts, waits and fails on demand."""

    def __init__(self, *scripts: str) -> None:
        self.registry = published(*scripts)
        self.scratches = 0
        self.threads: set[int] = set()
        self.trouble: Exception | None = None
        self.gate: threading.Event | None = None
        self.is_away = False
        self.snapshots = Snapshots(self.now, self.scratch, patience_s=5.0)

    async def now(self) -> PublishedRegistry:
        if self.is_away:
            raise CentralUnavailable("away")
        return self.registry

    def scratch(self) -> AbstractAsyncContextManager[Target]:
        @asynccontextmanager
        async def made() -> AsyncIterator[Target]:
            self.scratches += 1
            self.threads.add(threading.get_ident())
            if self.gate:
                self.gate.wait(10)
            if self.trouble:
                raise self.trouble
            async with sqlite_scratch() as target:
                yield target

        return made()


def events(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines]


async def test_it_is_made_once_however_many_ask_and_off_the_event_loop() -> None:
    world = MovingRegistry(ONE)
    found = await asyncio.gather(*(world.snapshots.get() for _ in range(10)))
    assert len({id(each) for each in found}) == 1
    assert found[0] is not None
    assert world.scratches == 2
    assert threading.get_ident() not in world.threads


async def test_a_fresh_database_takes_it_in_one_round_trip_and_any_other_goes_on_from_where_it_is(
    tmp_path: Path,
) -> None:
    world = MovingRegistry(ONE, TWO)
    fresh = Counted(SqliteTarget(tmp_path / "fresh.db"))
    assert await world.snapshots.bring_up_to_date(fresh) == 2
    assert fresh.round_trips == 1
    behind = SqliteTarget(tmp_path / "behind.db")
    await apply(behind, world.registry.migrations, to=1)
    change(tmp_path / "behind.db", "INSERT INTO word VALUES ('mine')")
    assert await world.snapshots.bring_up_to_date(behind) == 2
    assert query(tmp_path / "behind.db", "SELECT text FROM word") == [("a",), ("mine",)]
    assert await world.snapshots.bring_up_to_date(behind) == 2


async def test_when_the_registry_moves_it_is_made_anew(tmp_path: Path) -> None:
    world = MovingRegistry(ONE)
    first = await world.snapshots.get()
    world.registry = published(ONE, TWO)
    second = await world.snapshots.get()
    assert first is not None
    assert second is not None
    assert (first.version, second.version) == (1, 2)
    # A database that an older snapshot went into gets the rest.
    target = SqliteTarget(tmp_path / "tenant.db")
    world.registry = published(ONE)
    await world.snapshots.bring_up_to_date(target)
    world.registry = published(ONE, TWO)
    assert await world.snapshots.bring_up_to_date(target) == 2
    assert ledger_versions(tmp_path / "tenant.db") == [1, 2]


async def test_nothing_published_needs_nothing(tmp_path: Path) -> None:
    world = MovingRegistry()
    assert await world.snapshots.get() is None
    assert await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / "tenant.db")) == 0
    assert world.scratches == 0


async def test_an_unfit_history_is_replayed_and_said_loudly_once(tmp_path: Path) -> None:
    world = MovingRegistry(ONE, "INSERT INTO word VALUES (hex(randomblob(8)))")
    with capture_logs() as lines:
        for number in range(3):
            assert await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / f"{number}.db")) == 2
    [line] = lines
    assert (line["event"], line["log_level"], line["version"]) == ("snapshot.unfit", "warning", 2)
    assert "chance" in line["reason"]
    drawn = "SELECT text FROM word WHERE text <> 'a'"
    assert len({query(tmp_path / f"{number}.db", drawn)[0] for number in range(3)}) == 3


TROUBLES = [OSError(28, "No space left on device"), Unavailable("no answer")]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_trouble_with_the_scratch_is_met_once_and_meanwhile_tenants_replay(
    tmp_path: Path, trouble: Exception
) -> None:
    world = MovingRegistry(ONE)
    world.trouble = trouble
    with capture_logs() as lines:
        for name in "ab":
            assert await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / f"{name}.db")) == 1
    assert events(lines) == ["snapshot.failed"]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_after_trouble_with_the_scratch_it_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0)
    world = MovingRegistry(ONE)
    world.trouble = trouble
    assert await world.snapshots.get() is None
    world.trouble = None
    assert await world.snapshots.get() is not None


async def test_a_bug_in_it_costs_no_tenant(tmp_path: Path) -> None:
    world = MovingRegistry(ONE)
    world.trouble = ZeroDivisionError()
    with capture_logs() as lines:
        assert await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / "tenant.db")) == 1
        assert await world.snapshots.get() is None
    assert [(line["event"], line["log_level"]) for line in lines] == [("snapshot.unfit", "error")]


async def test_a_build_that_takes_too_long_holds_nobody_up_and_is_of_use_later(tmp_path: Path) -> None:
    world = MovingRegistry(ONE)
    world.gate = threading.Event()
    world.snapshots = Snapshots(world.now, world.scratch, patience_s=0.5)
    assert await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / "tenant.db")) == 1
    assert world.scratches == 1
    world.snapshots._patience_s = 60
    async with asyncio.timeout(30):  # nobody waits for it a second time
        assert await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / "another.db")) == 1
    world.gate.set()
    async with asyncio.timeout(30):
        while await world.snapshots.get() is None:
            await asyncio.sleep(0.01)
    assert world.scratches == 2


async def test_a_tenant_that_is_given_up_takes_the_build_from_nobody() -> None:
    world = MovingRegistry(ONE)
    world.gate = threading.Event()
    first, second = (asyncio.create_task(world.snapshots.get()) for _ in range(2))
    while not world.scratches:  # for which both wait
        await asyncio.sleep(0)
    first.cancel()
    world.gate.set()
    assert await second is not None


async def test_a_migration_that_fails_is_reported_as_without_a_snapshot(tmp_path: Path) -> None:
    world = MovingRegistry(ONE, "INSERT INTO nowhere VALUES (1)")
    with pytest.raises(MigrationFailed, match="no such table: nowhere"):
        await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / "tenant.db"))
    assert ledger_versions(tmp_path / "tenant.db") == [1]


async def test_a_central_database_that_is_away_is_said_as_it_is(tmp_path: Path) -> None:
    world = MovingRegistry(ONE)
    world.is_away = True
    with pytest.raises(CentralUnavailable):
        await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / "tenant.db"))


async def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    world = MovingRegistry(ONE)
    path = tmp_path / "tenant.db"
    await world.snapshots.get()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    asyncio.get_running_loop().call_later(0.1, other.execute, "ROLLBACK")
    assert await world.snapshots.bring_up_to_date(SqliteTarget(path, busy_timeout_s=0.001)) == 1
    assert ledger_versions(path) == [1]
    other.close()


async def test_a_database_whose_engine_refuses_it_replays_and_that_is_said_once(tmp_path: Path) -> None:
    world = MovingRegistry("CREATE TABLE IF NOT EXISTS word (text)")
    with capture_logs() as lines:
        for number in range(2):
            target = Refusing(SqliteTarget(tmp_path / f"{number}.db"))
            assert await world.snapshots.bring_up_to_date(target) == 1
    assert events(lines) == ["snapshot.built", "snapshot.refused"]


async def test_a_snapshot_of_another_engine_counts_when_the_first_tenant_has_proven_it(tmp_path: Path) -> None:
    world = MovingRegistry(ONE, TWO)
    world.snapshots = Snapshots(world.now, world.scratch, prove=True)
    targets = [Counted(SqliteTarget(tmp_path / f"{number}.db")) for number in range(3)]
    for target in targets:
        assert await world.snapshots.bring_up_to_date(target) == 2
    first, *others = targets
    assert first.round_trips > 1
    assert [target.round_trips for target in others] == [1, 1]


async def test_a_tenant_that_others_worked_on_proves_nothing(tmp_path: Path) -> None:
    world = MovingRegistry(ONE, TWO)
    world.snapshots = Snapshots(world.now, world.scratch, prove=True)
    await apply(SqliteTarget(tmp_path / "a.db"), world.registry.migrations, to=1)
    change(tmp_path / "a.db", "INSERT INTO word VALUES ('mine')")
    with capture_logs() as lines:
        for _ in range(2):
            assert await world.snapshots.bring_up_to_date(SqliteTarget(tmp_path / "a.db")) == 2
    assert events(lines) == ["snapshot.built"]
    assert world.snapshots._proven == set()


async def test_an_engine_that_makes_something_else_of_the_migrations_goes_on_replaying(tmp_path: Path) -> None:
    world = MovingRegistry("CREATE TABLE word (text)", "INSERT INTO word VALUES (upper('a'))")
    world.snapshots = Snapshots(world.now, world.scratch, prove=True)

    def other_engine(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path)
        connection.create_function("upper", 1, lambda text: f"{text}, but larger")
        return connection

    with capture_logs() as lines:
        for number in range(3):
            path = tmp_path / f"{number}.db"
            target = SqliteTarget(partial(other_engine, path))
            assert await world.snapshots.bring_up_to_date(target) == 2
            assert query(path, "SELECT text FROM word") == [("a, but larger",)]
    assert events(lines) == ["snapshot.built", "snapshot.refused"]
    assert await world.snapshots.get() is None


class Refusing(Counted):
    """An engine that wants IF NOT EXISTS in each definition."""

    async def run(self, batches: Any) -> Any:
        broken = [
            replace(
                batch,
                steps=tuple(
                    replace(step, stmt=replace(step.stmt, sql="CREATE NONSENSE"))
                    if step.stmt.sql == "CREATE TABLE word (text)"
                    else step
                    for step in batch.steps
                ),
            )
            for batch in batches
        ]
        return await self.target.run(broken)
