"""The central database moved to another place: whole or not at all, and written in one place only."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from testbed.sqld import Sqld, running_sqld

from freehold.audit.types import Event
from freehold.central.engine import Central
from freehold.central.file_probe import MOVED_MARK
from freehold.central.moving import closing
from freehold.central.moving.copy import check_move, move
from freehold.central.moving.places import CentralNotMoved, CentralPlace, NewFile
from freehold.central.tables import user
from freehold.dates import to_iso, utc_now
from freehold.errors import CentralUnavailable
from tests.support.central_place import KINDS, new_place, servers

_NOW = "2026-01-31T10:20:30.000Z"


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Sqld | None]:
    with servers(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Sqld]:
    """An sqld for the central database alone."""
    with running_sqld() as running:
        yield running


@pytest.fixture
async def source(server: Sqld | None, tmp_path: Path) -> AsyncIterator[CentralPlace]:
    """A central database with some of what one holds."""
    place = new_place(server, tmp_path)
    async with place.opened(b"seal") as (central, _):
        await _add(central, *(f"user-{number}" for number in range(300)))
        async with central.write() as db:
            for number in range(50):
                await central.record(db, Event("user.created", f"user:user-{number}", {"odd": "\0 ' \u200f"}))
        yield CentralPlace(f"sqlite:///{place.path}" if place.path else place.url, place.token or None)


async def _add(central: Central, *names: str) -> None:
    now = to_iso(utc_now())
    async with central.write() as db:
        for name in names:
            row = {"id": name, "name": name, "email": f"{name}@example.com", "emailVerified": 0}
            await db.execute(insert(user).values(**row, createdAt=now, updatedAt=now))


async def _users(place: CentralPlace) -> set[str]:
    async with _central(place) as central, central.read() as db:
        return set((await db.execute(select(user.c.id))).scalars())


@contextlib.asynccontextmanager
async def _central(place: CentralPlace) -> AsyncIterator[Central]:
    from freehold.central.engine import open_central, open_remote_central

    central = open_central(place.path) if place.path else open_remote_central(place.url, place.token)
    try:
        yield central
    finally:
        await central.close()


@pytest.fixture(params=["to a file", "to an sqld of its own"])
def wanted(request: pytest.FixtureRequest, tmp_path: Path) -> CentralPlace:
    if request.param == "to a file":
        return CentralPlace(f"sqlite:///{tmp_path / 'moved.db'}")
    sqld: Sqld = request.getfixturevalue("other")
    place = new_place(sqld, tmp_path)
    return CentralPlace(place.url, place.token)


async def test_all_of_it_is_at_the_new_place_and_the_old_one_takes_no_writes(
    source: CentralPlace, wanted: CentralPlace
) -> None:
    async with _central(source) as central:
        assert (await check_move(source, wanted))["user"] == 300
        await central.check()
        moved = await move(source, wanted, _NOW)
        assert (moved.rows["user"], moved.rows["audit_entry"] >= 50, moved.was_done) == (300, True, False)
        # Not a conflict: it would be told as a fault of the user who signs up.
        with pytest.raises(CentralUnavailable, match="was moved"):
            await _add(central, "too-late")
        with pytest.raises(CentralUnavailable, match="was moved"):
            await central.check()
    assert await _users(wanted) == await _users(source) == {f"user-{number}" for number in range(300)}
    async with _central(wanted) as central:
        await closing.require_open(central)
        await _add(central, "new")
        async with central.write() as db:  # the change feed's triggers are there, and nothing of the move
            await db.exec_driver_sql("UPDATE user SET banned = 1 WHERE id = 'new'")
        async with central.read() as db:
            found = await db.exec_driver_sql("SELECT name FROM sqlite_schema WHERE name GLOB 'freehold_central*'")
            assert found.all() == []
            told = await db.exec_driver_sql("SELECT key FROM change WHERE topic = 'user'")
            assert told.scalars().all() == ["new"]
    again = await move(source, wanted, _NOW)
    assert (again.was_done, again.rows["user"]) == (True, 301)
    async with _central(source) as central:
        with pytest.raises(closing.CentralMoved, match="set DATABASE_URL"):
            await closing.require_open(central)


async def test_a_place_with_something_in_it_is_refused_and_nothing_changes(
    source: CentralPlace, wanted: CentralPlace
) -> None:
    async with wanted.opened() as target:
        await closing.run(target, ["CREATE TABLE mine (a)", "INSERT INTO mine VALUES (1)"])
    with pytest.raises(CentralNotMoved, match="not empty"):
        await check_move(source, wanted)
    with pytest.raises(CentralNotMoved, match="not empty"):
        await move(source, wanted, _NOW)
    async with _central(source) as central:
        await closing.require_open(central)
        await _add(central, "goes-on")
    async with wanted.opened() as target:
        await closing.run(target, ["INSERT INTO mine VALUES (2)"])


async def test_what_a_killed_copy_left_is_taken_up_by_the_next(
    source: CentralPlace, wanted: CentralPlace, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def stop(_rows: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        await move(source, wanted, _NOW, stop)
    async with _central(source) as central:
        await _add(central, "after-an-error")  # an error opens it again, whatever it was
    async with source.opened() as target:  # a kill does not
        await closing.close(target, wanted.name, _NOW)
    if wanted.path is not None:
        wanted.path.with_name(f"{wanted.path.name}.copying").write_bytes(b"half")
    async with _central(source) as central:
        with pytest.raises(closing.CentralMoved, match="did not end"):
            await closing.require_open(central)
    moved = await move(source, wanted, _NOW)
    assert moved.rows["user"] == 301
    assert not list(tmp_path.glob("*.copying*"))


async def test_a_copy_that_is_whole_is_not_made_twice(source: CentralPlace, wanted: CentralPlace) -> None:
    """As a kill right before the last step leaves it."""
    await move(source, wanted, _NOW)
    async with source.opened() as target:
        await closing.run(target, [f"UPDATE {MOVED_MARK} SET state = 'copying'"])
    async with _central(wanted) as central:
        await _add(central, "since-then")
    assert (await move(source, wanted, _NOW)).was_done
    assert "since-then" in await _users(wanted)
    async with source.opened() as target:
        assert await closing.read_mark(target) == closing.Mark(wanted.name, "copied", _NOW)
        await closing.reopen(target)
        assert await closing.read_mark(target) is None
    async with _central(source) as central:
        await _add(central, "taken-back")


async def test_a_copy_that_came_out_differently_is_no_copy(source: CentralPlace, tmp_path: Path) -> None:
    path = tmp_path / "moved.db"

    def change(rows: int) -> None:
        if rows > 100:
            with contextlib.closing(sqlite3.connect(tmp_path / "moved.db.copying")) as db:
                db.execute("UPDATE user SET name = 'x' WHERE id = 'user-1'")
                db.commit()

    with pytest.raises(CentralNotMoved, match="user"):
        await move(source, CentralPlace(f"sqlite:///{path}"), _NOW, change)
    assert not path.exists()
    async with _central(source) as central:
        await _add(central, "goes-on")


async def test_one_copy_at_a_time_goes_to_a_file(source: CentralPlace, tmp_path: Path) -> None:
    path = tmp_path / "moved.db"
    first = await asyncio.to_thread(NewFile, path)
    with pytest.raises(CentralNotMoved, match="another process"):
        await move(source, CentralPlace(f"sqlite:///{path}"), _NOW)
    first.close()
    assert (await move(source, CentralPlace(f"sqlite:///{path}"), _NOW)).rows["user"] == 300


async def test_there_is_nothing_to_move_from_an_empty_place_or_to_itself(source: CentralPlace, tmp_path: Path) -> None:
    empty = CentralPlace(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(CentralNotMoved, match="no central database"):
        await move(empty, CentralPlace(f"sqlite:///{tmp_path / 'moved.db'}"), _NOW)
    with pytest.raises(CentralNotMoved, match="already"):
        await move(source, source, _NOW)
