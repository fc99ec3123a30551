"""The SQLAlchemy dialect against a real server: transactions, round trips, faults and Alembic."""

import asyncio
import datetime as dt
import decimal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload
from sqlalchemy.pool import NullPool
from testbed.servers import clean_environ
from testbed.sqld import Sqld, running_sqld

from freehold.central.engine import Central
from freehold.central.tables import metadata as central_metadata
from freehold.errors import CentralUnavailable
from freehold.libsql.sqlalchemy.urls import connect_arguments, engine_url
from tests.integration.libsql_parts import SLOW, SLOW_ROWS, new_url, sqld
from tests.support.stalls import assert_loop_is_free

__all__ = ["sqld"]

meta = MetaData()
item = Table("item", meta, Column("id", Integer, primary_key=True), Column("name", Text, unique=True))


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


class Counter:
    """Counts what goes over the wire, by the types of the requests."""

    def __init__(self) -> None:
        self.sent = 0
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._count)
        self.trace = trace

    async def _count(self, *_: Any) -> None:
        self.sent += 1


@asynccontextmanager
async def new_engine(server: Sqld, **options: Any) -> AsyncIterator[AsyncEngine]:
    url, token = new_url(server)
    engine = create_async_engine(engine_url(url, auth_token=token), **options)
    async with engine.begin() as db:
        await db.run_sync(meta.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture
async def engine(sqld: Sqld) -> AsyncIterator[AsyncEngine]:
    async with new_engine(sqld) as made:
        yield made


async def names(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as db:
        return list((await db.execute(select(item.c.name).order_by(item.c.id))).scalars())


# Round trips ----------------------------------------------------------------------------------------


async def test_round_trips_are_as_few_as_can_be(sqld: Sqld) -> None:
    counter = Counter()
    url, token = new_url(sqld)
    async with aiohttp.ClientSession(trace_configs=[counter.trace]) as session:
        engine = create_async_engine(engine_url(url, auth_token=token), connect_args={"session": session})

        async def sent(work: Any) -> int:
            before = counter.sent
            async with engine.connect() as db:
                await work(db)
            await asyncio.sleep(0.05)  # what is closed in the background counts as well
            return counter.sent - before

        async def create(db: Any) -> None:
            await db.run_sync(meta.create_all)
            await db.commit()

        async def nothing(_: Any) -> None:
            pass

        async def autocommit(db: Any) -> None:
            await db.execution_options(isolation_level="AUTOCOMMIT")
            await db.execute(text("SELECT 1"))

        async def write(db: Any) -> None:
            await db.execute(insert(item), {"name": "a"})
            await db.commit()

        async def write_back(db: Any) -> None:
            await db.execute(insert(item), {"name": "b"})

        async def read(db: Any) -> None:
            await db.execute(select(item))
            await db.execute(select(item))
            await db.commit()

        async def many(db: Any) -> None:
            await db.execution_options(isolation_level="AUTOCOMMIT")
            await db.execute(insert(item), [{"name": f"m{n}"} for n in range(500)])

        await sent(create)
        assert await sent(nothing) == 0
        assert await sent(autocommit) == 1
        assert await sent(write) == 2
        assert await sent(write_back) == 2
        assert await sent(read) == 3  # two that are waited for, and a close that is not
        assert await sent(many) == 1
        await engine.dispose()


# Transactions ---------------------------------------------------------------------------------------


async def test_a_transaction_commits_or_leaves_nothing(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        await db.execute(insert(item), {"name": "kept"})
    with pytest.raises(ZeroDivisionError):
        async with engine.begin() as db:
            await db.execute(insert(item), {"name": "dropped"})
            raise ZeroDivisionError
    async with engine.connect() as db:
        await db.execute(insert(item), {"name": "forgotten"})
    assert await names(engine) == ["kept"]


async def test_savepoints_nest(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        async with db.begin_nested():
            await db.execute(insert(item), {"name": "a"})
            with pytest.raises(IntegrityError):
                async with db.begin_nested():
                    await db.execute(insert(item), {"name": "b"})
                    await db.execute(insert(item), {"name": "a"})
        inner = await db.begin_nested()
        await db.execute(insert(item), {"name": "c"})
        await inner.rollback()
        await db.execute(insert(item), {"name": "d"})
    assert await names(engine) == ["a", "d"]


async def test_an_event_may_begin_as_it_likes(sqld: Sqld) -> None:
    async with new_engine(sqld) as engine:

        @event.listens_for(engine.sync_engine, "begin")
        def on_begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        async def add(n: int) -> None:
            async with engine.begin() as db:
                last = (await db.execute(select(func.count()).select_from(item))).scalar()
                await db.execute(insert(item), {"name": str(last)})

        await asyncio.gather(*(add(n) for n in range(8)))
        assert await names(engine) == [str(n) for n in range(8)]
        async with engine.connect() as db:
            await db.begin()
            await db.commit()


async def test_the_url_may_say_that_transactions_take_the_lock_at_once(sqld: Sqld) -> None:
    url, token = new_url(sqld)
    immediate = engine_url(url, auth_token=token).update_query_dict({"begin": "immediate"})
    engine = create_async_engine(immediate)
    async with engine.begin() as db:
        await db.run_sync(meta.create_all)

    async def add() -> None:
        async with engine.begin() as db:
            last = (await db.execute(select(func.count()).select_from(item))).scalar()
            await db.execute(insert(item), {"name": str(last)})

    await asyncio.gather(*(add() for _ in range(6)))
    assert await names(engine) == [str(n) for n in range(6)]
    await engine.dispose()


async def test_sql_may_begin_and_commit_by_itself_in_autocommit(engine: AsyncEngine) -> None:
    async with engine.connect() as db:
        await db.execution_options(isolation_level="AUTOCOMMIT")
        await db.execute(text("BEGIN"))
        await db.execute(insert(item), {"name": "a"})
        await db.execute(text("COMMIT"))
        await db.execute(text("/* why */ BEGIN IMMEDIATE;"))
        await db.execute(insert(item), {"name": "b"})
        with pytest.raises(OperationalError, match="within a transaction"):
            await db.execute(text("BEGIN"))
        await db.execute(text("ROLLBACK"))
        with pytest.raises(OperationalError, match="no transaction is active"):
            await db.execute(text("COMMIT"))
        await db.execute(text("SAVEPOINT s"))
        await db.execute(insert(item), {"name": "c"})
        await db.execute(text("ROLLBACK TO s"))
        await db.execute(text("RELEASE s"))
        await db.execute(insert(item), {"name": "d"})
    assert await names(engine) == ["a", "d"]


async def test_a_setting_lasts_until_the_connection_goes_back(engine: AsyncEngine) -> None:
    async def is_on(db: Any) -> int:
        return int((await db.execute(text("PRAGMA foreign_keys"))).scalar())

    async with engine.connect() as db:
        await db.execution_options(isolation_level="AUTOCOMMIT")
        assert await is_on(db) == 1
        await db.execute(text("PRAGMA foreign_keys = off"))
        assert await is_on(db) == 0
        await db.execute(text("BEGIN"))
        await db.execute(insert(item), {"name": "a"})
        await db.execute(text("COMMIT"))
        assert await is_on(db) == 0
    async with engine.connect() as db:
        await db.execution_options(isolation_level="AUTOCOMMIT")
        assert await is_on(db) == 1


async def test_a_lost_transaction_commits_nothing_and_the_pool_goes_on(sqld: Sqld) -> None:
    async with new_engine(sqld) as engine:
        async with engine.connect() as db:
            await db.execute(insert(item), {"name": "lost"})
            async with engine.begin() as other:
                await other.execute(insert(item), {"name": "won"})  # takes the lock after five seconds
            with pytest.raises(OperationalError, match="timed out"):
                await db.execute(insert(item), {"name": "more"})
            with pytest.raises(DBAPIError) as caught:
                await db.execute(insert(item), {"name": "even more"})
            assert caught.value.connection_invalidated
            await db.rollback()
            await db.execute(insert(item), {"name": "again"})
            await db.commit()
        assert await names(engine) == ["won", "again"]


# Statements -----------------------------------------------------------------------------------------


async def test_many_rows_go_in_one_batch_and_their_count_comes_back(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        done = await db.execute(insert(item), [{"name": f"n{n}"} for n in range(12_000)])
        assert done.rowcount == 12_000
        changed = await db.execute(
            item.update().where(item.c.id == text(":at")).values(name=text("name || '!'")),
            [{"at": n} for n in (1, 2, 99_999)],
        )
        assert changed.rowcount == 2
    assert (await names(engine))[:3] == ["n0!", "n1!", "n2"]


@pytest.mark.parametrize("count", [3, 6_000])
async def test_many_rows_outside_a_transaction_are_all_or_none(engine: AsyncEngine, count: int) -> None:
    rows = [{"name": f"n{n}"} for n in range(count)] + [{"name": "n0"}]
    async with engine.connect() as db:
        await db.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(IntegrityError):
            await db.execute(insert(item), rows)
        assert (await db.execute(select(func.count()).select_from(item))).scalar() == 0
        await db.execute(insert(item), rows[:-1])
        assert (await db.execute(select(func.count()).select_from(item))).scalar() == count


async def test_rows_come_back_from_insert_update_and_delete(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        made = await db.execute(insert(item).returning(item.c.id, item.c.name), [{"name": "a"}, {"name": "b"}])
        assert made.all() == [(1, "a"), (2, "b")]
        one = await db.execute(insert(item), {"name": "c"})
        assert one.inserted_primary_key == (3,)
        assert one.rowcount == 1
        changed = await db.execute(item.update().values(name=item.c.name + "!").returning(item.c.name))
        assert changed.scalars().all() == ["a!", "b!", "c!"]
        gone = await db.execute(item.delete().where(item.c.id > 1).returning(item.c.id))
        assert gone.scalars().all() == [2, 3]


async def test_types_keep_their_values(engine: AsyncEngine) -> None:
    table = Table(
        "typed",
        MetaData(),
        Column("big", BigInteger),
        Column("blob", LargeBinary),
        Column("at", DateTime),
        Column("json", JSON),
        Column("uuid", Uuid),
        Column("amount", Numeric(10, 2)),
        Column("名前 é", String),
    )
    row = {
        "big": -(2**63),
        "blob": b"\0\xff" * 100,
        "at": dt.datetime(2026, 1, 2, 3, 4, 5, 678901),  # noqa: DTZ001 - SQLite's type has no zone
        "json": {"a": [1, None, "é"]},
        "uuid": uuid.uuid4(),
        "amount": decimal.Decimal("12.34"),
        "名前 é": "a\0b 語",
    }
    async with engine.begin() as db:
        await db.run_sync(table.create)
        await db.execute(insert(table), row)
        await db.execute(insert(table), dict.fromkeys(row))
        found_rows = [dict(one) for one in (await db.execute(select(table))).mappings()]
        assert found_rows == [row, dict.fromkeys(row)]
        found = await db.run_sync(lambda sync: inspect(sync).get_columns("typed"))
        assert [column["name"] for column in found] == list(row)


async def test_rows_may_be_streamed(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        await db.execute(insert(item), [{"name": f"n{n}"} for n in range(50)])
        async with db.stream(select(item.c.name)) as rows:
            assert [row.name async for row in rows] == [f"n{n}" for n in range(50)]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT * FROM missing", OperationalError),
        ("INSERT INTO item (id, name) VALUES (1, 'a'), (1, 'b')", IntegrityError),
        ("SELEC", OperationalError),
    ],
)
async def test_errors_are_those_of_sqlite(engine: AsyncEngine, sql: str, kind: type[DBAPIError]) -> None:
    async with engine.connect() as db:
        with pytest.raises(kind) as caught:
            await db.execute(text(sql))
        assert not caught.value.connection_invalidated
        assert caught.value.orig.sqlite_errorname  # type: ignore[union-attr]
        if kind is IntegrityError:
            assert str(caught.value.orig) == "UNIQUE constraint failed: item.id"
    with pytest.raises(DBAPIError):
        async with engine.begin() as db:
            await db.execute(text("SELECT :n"), {"n": 2**63})


async def test_the_orm_works(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        await db.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add_all(Author(name=f"a{n}", books=[Book(title=f"b{n}.{m}") for m in range(3)]) for n in range(20))
        await session.commit()
        found = (await session.scalars(select(Author).options(selectinload(Author.books)))).all()
        assert [len(author.books) for author in found] == [3] * 20
        found[0].name = "renamed"
        await session.delete(found[1])
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                session.add(Book(title="orphan", author_id=999))
                await session.flush()
        await session.commit()
    async with AsyncSession(engine) as session:
        assert await session.scalar(select(func.count()).select_from(Book)) == 57
        assert await session.scalar(select(Author.name).order_by(Author.id)) == "renamed"


# Many, slow, cancelled, gone --------------------------------------------------------------------------


async def test_many_tasks_share_a_pool(engine: AsyncEngine) -> None:
    async def add(n: int) -> None:
        async with engine.begin() as db:
            await db.execute(insert(item), {"name": str(n)})
        assert str(n) in await names(engine)

    await asyncio.gather(*(add(n) for n in range(40)))
    assert len(await names(engine)) == 40


async def test_the_event_loop_goes_on_while_a_query_runs(engine: AsyncEngine) -> None:
    async def slow() -> None:
        async with engine.connect() as db:
            assert (await db.execute(text(SLOW.format(n=SLOW_ROWS)))).scalar_one() == SLOW_ROWS

    await assert_loop_is_free(slow)


async def test_a_cancelled_transaction_gives_its_lock_back(engine: AsyncEngine) -> None:
    async def hold() -> None:
        async with engine.begin() as db:
            await db.execute(insert(item), {"name": "cancelled"})
            await db.execute(text(SLOW.format(n=10**10)))

    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await hold()
        async with asyncio.timeout(3), engine.begin() as db:
            await db.execute(item.delete())
    assert await names(engine) == []


async def test_a_server_that_restarts_costs_the_open_transactions_only() -> None:
    with running_sqld() as server:
        async with new_engine(server) as engine:
            async with engine.begin() as db:
                await db.execute(insert(item), {"name": "kept"})
            idle = await names(engine)
            async with engine.connect() as db:
                await db.execute(insert(item), {"name": "lost"})
                server.kill()
                server.start()
                with pytest.raises(DBAPIError) as caught:
                    await db.commit()
                assert caught.value.connection_invalidated
            assert await names(engine) == idle == ["kept"]
            server.kill()
            with pytest.raises(OperationalError) as caught:
                await names(engine)
            assert caught.value.connection_invalidated
            server.start()
            assert await names(engine) == ["kept"]


async def test_what_idles_in_a_transaction_is_lost_and_what_idles_outside_never_expires(sqld: Sqld) -> None:
    async with new_engine(sqld) as engine, engine.connect() as inside, engine.connect() as outside:
        await outside.execute(insert(item), {"name": "a"})
        await outside.commit()
        await inside.execute(select(item))
        await asyncio.sleep(11)  # a server forgets a stream after ten seconds
        await outside.execute(insert(item), {"name": "b"})
        await outside.commit()
        with pytest.raises(OperationalError, match="expired") as caught:
            await inside.execute(select(item))
        assert caught.value.connection_invalidated
        await inside.rollback()
        assert len((await inside.execute(select(item))).all()) == 2


def test_an_engine_may_be_used_on_one_event_loop_after_the_other(sqld: Sqld) -> None:
    url, token = new_url(sqld)
    engine = create_async_engine(engine_url(url, auth_token=token), poolclass=NullPool)

    async def look() -> int | None:
        async with engine.connect() as db:
            return (await db.execute(text("SELECT 1"))).scalar()

    assert asyncio.run(look()) == 1
    assert asyncio.run(look()) == 1


async def test_a_token_may_be_given_by_a_callable(sqld: Sqld) -> None:
    url, token = new_url(sqld)
    asked = 0

    async def give() -> str:
        nonlocal asked
        asked += 1
        return token

    engine = create_async_engine(engine_url(url), connect_args={"auth_token": give})
    async with engine.connect() as one, engine.connect() as two:
        await one.execute(text("SELECT 1"))
        await two.execute(text("SELECT 1"))
    await engine.dispose()
    assert asked == 1


# URLs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "written", "base"),
    [
        ("libsql://db.example.com", "sqlite+hrana://:t@db.example.com?secure=true", "https://db.example.com/"),
        ("http://127.0.0.1:80/a/b/", "sqlite+hrana://:t@127.0.0.1:80/a/b?secure=false", "http://127.0.0.1:80/a/b/"),
        ("https://[::1]/", "sqlite+hrana://:t@[::1]?secure=true", "https://[::1]/"),
    ],
)
def test_database_urls_become_sqlalchemys_and_back(url: str, written: str, base: str) -> None:
    made = engine_url(url, auth_token="t")
    assert made.render_as_string(hide_password=False) == written
    assert connect_arguments(make_url(written)) == {"base": base, "auth_token": "t"}
    assert ":t@" not in repr(create_async_engine(made))


def test_a_token_of_any_characters_survives() -> None:
    token = "a:b@c/d?e#f%20é"
    written = engine_url("http://h:1/?namespace=n", auth_token=token).render_as_string(hide_password=False)
    found = connect_arguments(make_url(written))
    assert found == {"base": "http://h:1/", "auth_token": token, "namespace": "n"}


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+hrana:///file.db",
        "sqlite+hrana://secret@h/",
        "sqlite+hrana://h/?secure=maybe",
        "sqlite+hrana://h/?begin=exclusive",
        "sqlite+hrana://h/?timeout_s=soon",
        "sqlite+hrana://h/?timeout_s=-1",
        "sqlite+hrana://h/?unknown=secret",
    ],
)
def test_a_url_that_means_nothing_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        connect_arguments(make_url(url))
    assert "secret" not in str(caught.value)


# Alembic, and the central database on it ----------------------------------------------------------------


_UPGRADE = """
import asyncio, sys
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine
from freehold.central.engine import Central
from freehold.central.upgrade import upgrade_central
async def main():
    engine = create_async_engine(sys.argv[1])
    event.listen(engine.sync_engine, "begin", lambda db: db.exec_driver_sql("BEGIN IMMEDIATE"))
    await upgrade_central(Central(engine))
    await engine.dispose()
asyncio.run(main())
"""


async def test_alembic_builds_exactly_the_central_tables_whoever_is_first(sqld: Sqld) -> None:
    plain, token = new_url(sqld)
    url = engine_url(plain, auth_token=token)
    command = [sys.executable, "-c", _UPGRADE, url.render_as_string(hide_password=False)]
    started = [await asyncio.create_subprocess_exec(*command, env=clean_environ()) for _ in range(3)]
    assert [await one.wait() for one in started] == [0, 0, 0]
    engine = create_async_engine(url)
    async with engine.connect() as db:
        difference = await db.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), central_metadata)
        )
    await engine.dispose()
    assert difference == []


async def test_the_central_database_speaks_in_its_own_words_when_the_server_is_away() -> None:
    with running_sqld() as server:
        url, token = new_url(server)
        central = Central(create_async_engine(engine_url(url, auth_token=token)))
        await central.check()
        server.stop()
        with pytest.raises(CentralUnavailable):
            await central.check()
        server.start()
        await central.check()
        await central.close()


async def test_cancelling_does_not_wait_for_a_server_that_hangs() -> None:
    with running_sqld() as server:
        async with new_engine(server) as engine:
            loop = asyncio.get_running_loop()

            async def work() -> None:
                async with engine.begin() as db:
                    await db.execute(insert(item), {"name": "a"})
                    server.pause()
                    await db.execute(insert(item), {"name": "b"})

            started = loop.time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await work()
            assert loop.time() - started < 5
            server.resume()
            assert await names(engine) == []


async def test_an_engine_that_is_disposed_can_be_used_again(sqld: Sqld) -> None:
    async with new_engine(sqld) as engine:
        for _ in range(3):
            assert await names(engine) == []
            await engine.dispose()
