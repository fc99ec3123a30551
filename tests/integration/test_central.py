"""The central database: start-up by several processes, the change feed, and what happens when it is away."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, select

from freehold.central.changes import ChangeFeed
from freehold.central.engine import Central, open_central
from freehold.central.tables import change, metadata, user
from freehold.errors import CentralUnavailable
from tests.support.central_place import CentralPlace

_UPGRADE = """
import asyncio, sys
from pathlib import Path
from freehold.central.engine import open_central, open_remote_central
from freehold.central.upgrade import upgrade_central
async def main(place, token):
    central = open_remote_central(place, token) if token else open_central(Path(place))
    await upgrade_central(central)
    await central.close()
asyncio.run(main(*sys.argv[1:]))
"""


def _user(user_id: str) -> dict[str, Any]:
    return {
        "id": user_id, "name": "n", "email": f"{user_id}@example.com", "emailVerified": 0,
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip


@pytest.fixture
async def both(place: CentralPlace) -> AsyncIterator[tuple[Central, ChangeFeed]]:
    async with place.opened() as opened:
        await opened[1].catch_up()
        yield opened


@pytest.fixture
def central(both: tuple[Central, ChangeFeed]) -> Central:
    return both[0]


@pytest.fixture
def changes(both: tuple[Central, ChangeFeed]) -> ChangeFeed:
    return both[1]


async def test_the_migrations_build_exactly_the_declared_tables(central: Central) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with central.read() as db:
        assert await db.run_sync(differences) == []


async def test_processes_that_start_together_upgrade_once(place: CentralPlace) -> None:
    where = (str(place.path or place.url), place.token)
    children = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _UPGRADE, *where, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    ended = await asyncio.gather(*(child.communicate() for child in children))
    assert [child.returncode for child in children] == [0] * 4, ended


async def test_commits_to_a_file_are_synced_and_foreign_keys_are_on(tmp_path: Path) -> None:
    async with CentralPlace(path=tmp_path / "central.db").opened() as (central, _), central.write() as db:
        modes = [(await db.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in
                 ("journal_mode", "synchronous", "foreign_keys")]  # fmt: skip
    assert modes == ["wal", 2, 1]


async def test_a_failed_block_leaves_nothing_behind(central: Central) -> None:
    with pytest.raises(ZeroDivisionError):
        async with central.write() as db:
            await db.execute(user.insert().values(_user("u1")))
            raise ZeroDivisionError
    async with central.read() as db:
        assert (await db.execute(select(func.count()).select_from(user))).scalar() == 0


async def test_writers_at_once_wait_for_each_other(central: Central) -> None:
    async def add(number: int) -> None:
        async with central.write() as db:
            known = (await db.execute(select(func.count()).select_from(user))).scalar()
            await asyncio.sleep(0)
            await db.execute(user.insert().values({**_user(f"u{number}"), "name": str(known)}))

    await asyncio.gather(*(add(number) for number in range(30)))
    async with central.read() as db:
        names = (await db.execute(select(user.c.name))).scalars().all()
    assert sorted(int(name) for name in names) == list(range(30))  # nobody read a stale count


async def test_writers_wait_in_turn_and_not_for_ever(central: Central, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.central.engine._BUSY_TIMEOUT_MS", 50)

    async def write() -> None:
        async with central.write():
            pass

    async with central.write():
        waiting = [asyncio.create_task(write()) for _ in range(3)]
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [CentralUnavailable] * 3
    leaving = asyncio.create_task(write())
    async with central.write():
        await asyncio.sleep(0)
        leaving.cancel()
    await asyncio.wait([leaving])
    await write()  # nobody took the turn along


async def test_another_process_is_noticed_at_once(central: Central, changes: ChangeFeed, place: CentralPlace) -> None:
    async with central.write() as db:
        await db.execute(user.insert().values(_user("u1")))
    await changes.catch_up()
    told: list[str | None] = []
    changes.subscribe("user", told.append)
    # Only a file tells that there is no news; a server may always have some.
    assert changes.is_current() is (place.path is not None)

    await asyncio.to_thread(place.by_hand, 'UPDATE "user" SET name = ? WHERE id = ?', ("by hand", "u1"))

    assert not changes.is_current()
    await changes.catch_up()
    assert told == ["u1"]
    assert changes.is_current() is (place.path is not None)


async def test_a_commit_that_changes_nothing_cached_tells_nobody(central: Central, changes: ChangeFeed) -> None:
    told: list[str | None] = []
    changes.subscribe("user", told.append)
    async with central.write() as db:
        await db.execute(user.insert().values(_user("u1")))
    await changes.catch_up()
    assert told == []


async def test_a_reader_far_behind_is_told_to_forget_everything(central: Central, changes: ChangeFeed) -> None:
    told: list[str | None] = []
    changes.subscribe("session", told.append)
    async with central.write() as db:
        rows = [{"topic": "user", "key": "x"}] * 12_500
        await db.execute(change.insert(), rows)
    await changes.catch_up()
    assert None in told
    async with central.read() as db:
        kept = (await db.execute(select(func.count()).select_from(change))).scalar()
    assert kept is not None
    assert kept <= 11_000


async def test_a_database_that_was_set_back_is_noticed(central: Central, changes: ChangeFeed) -> None:
    """From a backup, or after a power cut on a server that does not sync: the numbers come a second time."""
    async with central.write() as db:
        await db.execute(user.insert().values(_user("u1")))
        await db.execute(change.insert(), [{"topic": "user", "key": "x"}] * 5)
    await changes.catch_up()
    told: list[str | None] = []
    changes.subscribe("session", told.append)
    async with central.write() as db:
        await db.exec_driver_sql("DELETE FROM change WHERE seq > 2")
        await db.exec_driver_sql("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'change'")
    await changes.catch_up()
    assert told == [None]
    async with central.write() as db:
        await db.execute(change.insert().values(topic="session", key="t"))
    await changes.catch_up()
    assert told == [None, "t"]


async def test_many_who_ask_at_once_all_see_a_commit_made_before_they_asked(
    central: Central, changes: ChangeFeed
) -> None:
    told: list[str | None] = []
    changes.subscribe("user", told.append)
    async with central.write() as db:
        await db.execute(user.insert().values(_user("u1")))
    for round_number in range(20):
        early = asyncio.create_task(changes.catch_up())
        await asyncio.sleep(0)
        async with central.write() as db:
            await db.execute(user.update().values(name=str(round_number)))
        await asyncio.gather(*(changes.catch_up() for _ in range(10)))
        assert len(told) == round_number + 1
        await early


async def test_a_central_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "central.db").mkdir()
    central = open_central(tmp_path / "central.db")
    with pytest.raises(CentralUnavailable, match="try again"):
        await central.check()
    await central.close()


async def test_a_central_database_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "central.db").write_bytes(b"this is not SQLite" * 1000)
    central = open_central(tmp_path / "central.db")
    with pytest.raises(CentralUnavailable):
        await central.check()
    await central.close()
