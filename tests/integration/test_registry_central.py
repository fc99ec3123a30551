"""The registry on a real central database: several processes, races, tampering."""

import asyncio
import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from freehold.errors import CentralUnavailable
from freehold.migrate.signature import RegistryTampered
from freehold.migrate.types import Migration
from freehold.registry.types import AlreadyPublished, PublishedMigrationChanged, PublishReport, RegistryMoved
from tests.integration.registry_parts import OTHER_SIGNER, history, open_registry
from tests.support.central_place import CentralPlace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file, where a test needs what only a file has."""
    return tmp_path / "central.db"


async def test_published_migrations_are_there_after_a_restart(place: CentralPlace) -> None:
    async with open_registry(place) as registry:
        await registry.publish(history(3))
        before = (await registry.snapshot()).rows
    async with open_registry(place) as registry:
        assert (await registry.snapshot()).rows == before
        assert await registry.migrations() == tuple(history(3))


async def test_changed_history_is_refused(place: CentralPlace) -> None:
    async with open_registry(place) as registry:
        await registry.publish(history(3))
        edited = history(4)
        edited[0] = Migration(version=1, name="add_t1", sql="CREATE TABLE t1 (x, y);\n")
        with pytest.raises(PublishedMigrationChanged, match="migration 1 was already published with other SQL"):
            await registry.publish(edited)
        assert (await registry.snapshot()).version == 3


async def test_publishers_at_once_publish_once(place: CentralPlace) -> None:
    async with open_registry(place) as one, open_registry(place) as two, open_registry(place) as three:
        reports = await asyncio.gather(*(each.publish(history(5)) for each in (one, two, three)))
        assert sorted(report.already for report in reports) == [0, 5, 5]
        assert [row.version for row in (await two.snapshot()).rows] == [1, 2, 3, 4, 5]


async def test_the_same_registration_many_times_at_once_publishes_once(place: CentralPlace) -> None:
    async with open_registry(place) as one, open_registry(place) as two:
        outcomes = await asyncio.gather(
            *(each.register("CREATE TABLE a (x);", "add a") for each in (one, two) * 4), return_exceptions=True
        )
        assert sum(isinstance(outcome, AlreadyPublished) for outcome in outcomes) == 7
        assert len((await one.snapshot()).rows) == 1


async def test_different_registrations_at_once_never_share_a_version(place: CentralPlace) -> None:
    async with open_registry(place) as one, open_registry(place) as two:
        outcomes = await asyncio.gather(
            one.register("CREATE TABLE a (x);", "add a"),
            two.register("CREATE TABLE b (x);", "add b"),
            return_exceptions=True,
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, RegistryMoved)]
        assert len((await one.snapshot()).rows) == 2 - len(refused)


def _publish_elsewhere(place: CentralPlace, count: int) -> PublishReport:
    async def main() -> PublishReport:
        async with open_registry(place, OTHER_SIGNER) as registry:
            return await registry.publish(history(count))

    return asyncio.run(main())


async def test_another_process_publishes_and_the_next_read_sees_it(place: CentralPlace) -> None:
    async with open_registry(place) as registry:
        await registry.publish(history(1))
        assert (await registry.snapshot()).version == 1
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            for count in (2, 3, 4):
                report = await asyncio.to_thread(pool.apply, _publish_elsewhere, (place, count))
                assert report.published == (count,)
                assert (await registry.snapshot()).version == count


async def test_readers_never_see_half_of_a_publishing(place: CentralPlace) -> None:
    async with open_registry(place) as reader, open_registry(place) as publisher:
        seen: set[int] = set()
        publishing = asyncio.create_task(publisher.publish(history(40)))
        while not publishing.done():
            seen.add((await reader.snapshot()).version)
            await asyncio.sleep(0)
        await publishing
        seen.add((await reader.snapshot()).version)
        assert seen <= {0, 40}
        assert 40 in seen


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE published_migration SET sql = replace(sql, 't2', 't9') WHERE version = 2",
        "UPDATE published_migration SET checksum = '00' || substr(checksum, 3) WHERE version = 2",
        "UPDATE published_migration SET chain = 'zz' WHERE version = 3",
        "UPDATE published_migration SET signature = (SELECT signature FROM published_migration WHERE version = 1)"
        " WHERE version = 2",
        "UPDATE published_migration SET version = version + 1 WHERE version = 3",
        "DELETE FROM published_migration WHERE version = 1",
        "DELETE FROM registry_key",
        "UPDATE registry_key SET public_key = 'AAAA'",
    ],
)
async def test_tampering_is_noticed_at_the_next_read(place: CentralPlace, tampering: str) -> None:
    async with open_registry(place) as registry:
        await registry.publish(history(3))
        await registry.snapshot()
        place.by_hand(tampering)
        # The feed tells of changed migrations; keys are only read together with them.
        if "registry_key" in tampering:
            place.by_hand("UPDATE published_migration SET name = name WHERE version = 1")
        with pytest.raises(RegistryTampered):
            await registry.snapshot()
    async with open_registry(place) as restarted:
        with pytest.raises(RegistryTampered):
            await restarted.snapshot()


async def test_a_locked_central_database_publishes_nothing_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.central.engine._BUSY_TIMEOUT_MS", 100)
    async with open_registry(path) as registry:
        await registry.publish(history(1))
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            assert (await registry.snapshot()).version == 1  # readers do not mind
            with pytest.raises(CentralUnavailable):
                await registry.publish(history(2))
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        assert (await registry.publish(history(2))).published == (2,)


async def test_a_full_disk_leaves_the_registry_as_it_was(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(1))
        async with registry.store.central.read() as db:  # type: ignore[attr-defined]
            pages = (await db.exec_driver_sql("PRAGMA page_count")).scalar()
        for _ in range(8):  # each connection of the pool that a write may get
            async with registry.store.central.read() as db:  # type: ignore[attr-defined]
                await db.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        big = [*history(1), Migration(version=2, name="big", sql="-- " + "x" * 100_000 + "\nCREATE TABLE b (x);")]
        with pytest.raises(CentralUnavailable):
            await registry.publish(big)
        assert (await registry.snapshot()).version == 1
