"""The central database's file: one hop to the thread for each statement, and no statement outside its transaction."""

import asyncio
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from freehold.central.engine import Central, open_central
from freehold.central.one_hop import ThreadedConnection
from freehold.errors import CentralUnavailable


@pytest.fixture
async def central(tmp_path: Path) -> AsyncIterator[Central]:
    opened = open_central(tmp_path / "central.db")
    async with opened.write() as db:
        await db.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT UNIQUE)"))
    yield opened
    await opened.close()


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was handed to the threads from here on."""
    found: list[str] = []
    run, later = ThreadedConnection.run, ThreadedConnection.run_later

    async def counted(self: ThreadedConnection, work: Callable[[sqlite3.Connection], Any]) -> Any:
        found.append("waited for")
        return await run(self, work)

    def left(self: ThreadedConnection, work: Callable[[sqlite3.Connection], object]) -> None:
        found.append("left")
        later(self, work)

    monkeypatch.setattr(ThreadedConnection, "run", counted)
    monkeypatch.setattr(ThreadedConnection, "run_later", left)
    return found


async def words(central: Central) -> list[str]:
    async with central.read() as db:
        return list((await db.execute(text("SELECT word FROM t ORDER BY id"))).scalars())


async def test_a_read_is_one_hop(central: Central, hops: list[str]) -> None:
    assert await words(central) == []
    assert hops == ["waited for", "left"]


async def test_a_write_is_one_hop_for_each_statement_and_one_for_the_commit(central: Central, hops: list[str]) -> None:
    async with central.write() as db:
        done = await db.execute(text("INSERT INTO t (word) VALUES ('a')"))
        assert (done.rowcount, done.lastrowid) == (1, 1)
        await db.execute(text("INSERT INTO t (word) VALUES (:word)"), [{"word": "b"}, {"word": "c"}])
    assert hops == ["waited for"] * 3
    assert await words(central) == ["a", "b", "c"]


async def test_a_transaction_without_a_statement_is_none(central: Central, hops: list[str]) -> None:
    async with central.write():
        pass
    async with central.read():
        pass
    assert hops == []


async def test_a_failed_transaction_leaves_nothing(central: Central) -> None:
    with pytest.raises(IntegrityError):
        async with central.write() as db:
            await db.execute(text("INSERT INTO t (word) VALUES ('a')"))
            await db.execute(text("INSERT INTO t (word) VALUES ('a')"))
    assert await words(central) == []


async def test_a_read_sees_one_state_throughout(central: Central) -> None:
    async with central.read() as db:
        assert (await db.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0
        async with central.write() as other:
            await other.execute(text("INSERT INTO t (word) VALUES ('a')"))
        assert (await db.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0
    assert await words(central) == ["a"]


async def test_who_could_not_begin_writes_nothing_outside_a_transaction(central: Central, tmp_path: Path) -> None:
    @event.listens_for(central.engine.sync_engine, "checkout")
    def _hurry(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.execute("PRAGMA busy_timeout = 0")

    insert = text("INSERT INTO t (word) VALUES ('a')")
    with closing(sqlite3.connect(tmp_path / "central.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CentralUnavailable):
            async with central.write() as db:
                with pytest.raises(Exception, match="locked"):
                    await db.execute(insert)
                other.execute("ROLLBACK")
                await db.execute(insert)  # begins again
                await db.execute(text("no SQL"))
    assert await words(central) == []


async def test_what_was_given_up_before_its_turn_is_undone(central: Central) -> None:
    """The thread is at something else; the statement waits there when whoever asked is cancelled."""
    held, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_db: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(held.set)
        release.wait(10)

    async def write() -> None:
        async with central.write() as db:
            raw = await db.get_raw_connection()
            raw.driver_connection.run_later(hold)  # type: ignore[union-attr]
            await db.execute(text("INSERT INTO t (word) VALUES ('a')"))

    writing = asyncio.create_task(write())
    await held.wait()
    writing.cancel()
    loop.call_later(0.05, release.set)
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await words(central) == []
    async with central.write() as db:
        await db.execute(text("INSERT INTO t (word) VALUES ('b')"))
    assert await words(central) == ["b"]


async def test_a_commit_that_fails_is_rolled_back(central: Central) -> None:
    async with central.write() as db:
        await db.execute(text("CREATE TABLE child (t INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)"))
    with pytest.raises(IntegrityError):
        async with central.write() as db:
            await db.execute(text("INSERT INTO child VALUES (7)"))
    async with central.write() as db:
        assert (await db.execute(text("SELECT count(*) FROM child"))).scalar_one() == 0


async def test_a_streamed_result_is_part_of_its_transaction_too(central: Central, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "central.db", isolation_level=None, timeout=0)) as other:
        async with central.write() as db:
            assert [row async for row in await db.stream(text("SELECT word FROM t"))] == []
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("INSERT INTO t (word) VALUES ('other')")
            await db.execute(text("INSERT INTO t (word) VALUES ('a'), ('b')"))
            found = [row.word async for row in await db.stream(text("SELECT word FROM t"))]
            assert found == ["a", "b"]
        async with central.read() as db:
            assert len([row async for row in await db.stream(text("SELECT word FROM t"))]) == 2
            other.execute("INSERT INTO t (word) VALUES ('other')")
            assert (await db.execute(text("SELECT count(*) FROM t"))).scalar_one() == 2


async def test_how_many_rows_a_statement_with_returning_changed_is_known(central: Central) -> None:
    async with central.write() as db:
        done = await db.execute(text("INSERT INTO t (word) VALUES ('a'), ('b') RETURNING id"))
        assert (done.rowcount, len(done.all())) == (2, 2)
        done = await db.execute(text("UPDATE t SET word = word || word RETURNING word"))
        assert (done.rowcount, len(done.all())) == (2, 2)
        done = await db.execute(text("DELETE FROM t WHERE word = 'no' RETURNING word"))
        assert (done.rowcount, done.all()) == (0, [])


async def test_after_a_failure_that_ended_the_transaction_nothing_runs_outside_of_it(central: Central) -> None:
    insert = "INSERT OR ROLLBACK INTO t (word) VALUES ('a')"
    with pytest.raises(CentralUnavailable):
        async with central.write() as db:
            await db.execute(text(insert))
            with pytest.raises(IntegrityError):
                await db.execute(text(insert))  # as a full disk does, SQLite rolls all of it back
            await db.execute(text("INSERT INTO t (word) VALUES ('b')"))
    with pytest.raises(CentralUnavailable):
        async with central.write() as db:
            await db.execute(text(insert))
            with pytest.raises(IntegrityError):
                await db.execute(text(insert))
        # Whoever believes that it was committed would believe that `a` is there.
    assert await words(central) == []
    async with central.write() as db:
        await db.execute(text("INSERT INTO t (word) VALUES ('c')"))
    assert await words(central) == ["c"]


async def test_whenever_somebody_gives_up_a_write_is_done_whole_or_not_at_all(central: Central) -> None:
    chance = random.Random(5)
    done: set[int] = set()
    failed: set[int] = set()

    def give_up() -> None:
        raise KeyError

    async def write(number: int) -> None:
        try:
            async with central.write() as db:
                await db.execute(text("INSERT INTO t (word) VALUES (:word)"), {"word": f"{number} a"})
                fault = chance.random()
                if fault < 0.15:
                    give_up()
                if fault < 0.3:
                    await db.execute(text("no SQL"))
                if fault < 0.45:
                    await db.execute(text("INSERT INTO t (word) VALUES (:word)"), {"word": f"{number} a"})
                await db.execute(text("INSERT INTO t (word) VALUES (:word)"), {"word": f"{number} b"})
            done.add(number)
        except asyncio.CancelledError:
            raise  # whether it was done is not known
        except Exception:
            failed.add(number)

    async def read() -> None:
        async with central.read() as db:
            if chance.random() < 0.3:
                await db.execute(text("no SQL"))
            before = (await db.execute(text("SELECT count(*) FROM t"))).scalar_one()
            await asyncio.sleep(chance.random() * 0.002)
            assert (await db.execute(text("SELECT count(*) FROM t"))).scalar_one() == before

    tasks = []
    for number in range(200):
        tasks.append(asyncio.create_task(write(number) if chance.random() < 0.6 else read()))
        for _ in range(chance.choice([0, 0, 1, 2])):  # in the middle of its end, too
            asyncio.get_running_loop().call_later(chance.random() * 0.01, tasks[-1].cancel)
        await asyncio.sleep(chance.choice([0, 0.001, 0.003]))
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ends if isinstance(end, AssertionError)] == []
    found = [word.split() for word in await words(central)]
    halves = Counter(int(number) for number, _ in found)
    assert set(halves.values()) == {2}
    assert done <= set(halves)
    assert not failed & set(halves)
    assert (central.writers.inside, central.readers.inside) == (0, 0)
    async with central.write() as db:  # no lock was left behind
        await db.execute(text("DELETE FROM t"))
