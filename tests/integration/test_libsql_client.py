"""The client's words hold on a real server and on a file alike."""

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from testbed.sqld import Sqld

from freehold.libsql.client import Client, InArgs, LibsqlError, Statement, create_client
from tests.integration.libsql_parts import SLOW, SLOW_ROWS, new_client, sqld
from tests.support.gateway_app import served
from tests.support.stalls import assert_loop_is_free

__all__ = ["sqld"]


@pytest.fixture(params=["sqld", "local", "file"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    if request.param == "sqld":
        async with new_client(request.getfixturevalue("sqld")) as made:
            yield made
    elif request.param == "local":
        async with served(tmp_path / "local", query_timeout_s=60.0) as gateway:
            caller = await gateway.database("t-1")
            async with create_client(caller.url, auth_token=caller.token) as made:
                yield made
    else:
        async with create_client(f"file:{tmp_path}/a.db") as made:
            yield made


@pytest.mark.parametrize(
    "value",
    [
        *(None, 0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1),
        *(0.0, -0.0, 1.5, 5e-324, 1.7976931348623157e308, 0.1),
        *("", "x", "a\0b\0", "السلام", "\U0001f600", "'\"`;--", "\u2028\x1f"),
        *(b"", b"\0", bytes(range(256)), b"x" * 100_000),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_a_value_comes_back_as_it_went(client: Client, value: int | float | str | bytes | None) -> None:
    result = await client.execute("SELECT ?, ?, typeof(?)", [value, value, value])
    assert result[0][0] == result[0][1] == value
    assert type(result[0][0]) is type(value)
    kinds = {type(None): "null", int: "integer", float: "real", str: "text", bytes: "blob"}
    assert result[0][2] == kinds[type(value)]
    if isinstance(value, float):
        assert math.copysign(1, result[0][0]) == math.copysign(1, value)  # type: ignore[arg-type]


async def test_floats_that_are_not_finite_are_stored_whole(client: Client) -> None:
    await client.execute("CREATE TABLE t (id, x REAL)")
    await client.execute("INSERT INTO t VALUES (1, ?), (2, ?), (?, ?)", [math.inf, -math.inf, 3, math.nan])
    found = await client.execute("SELECT id, x = 9e999, x = -9e999, typeof(x) FROM t ORDER BY id")
    assert [row.astuple() for row in found] == [(1, 1, 0, "real"), (2, 0, 1, "real"), (3, None, None, "null")]
    by_name = await client.execute("SELECT id FROM t WHERE x = :low", {"low": -math.inf})
    assert [row[0] for row in by_name] == [2]


async def test_booleans_dates_and_buffers_are_taken(client: Client) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    row = (await client.execute("SELECT ?, ?, ?", (True, moment, memoryview(b"ab"))))[0]
    assert row.astuple() == (1, int(moment.timestamp() * 1000), b"ab")


@pytest.mark.parametrize("args", [{"a": 1}, {":a": 1}])
async def test_named_arguments_work_with_and_without_their_prefix(client: Client, args: InArgs) -> None:
    assert (await client.execute("SELECT :a + 1", args))[0][0] == 2


async def test_a_result_tells_columns_rows_and_counts(client: Client) -> None:
    made = await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
    assert (made.columns, len(made)) == ((), 0)
    added = await client.execute("INSERT INTO t (name) VALUES ('a'), ('b')")
    assert (added.rows_affected, added.last_insert_rowid, added.rows) == (2, 2, [])
    back = await client.execute("INSERT INTO t (name) VALUES ('c') RETURNING id, name AS n")
    assert back.columns == ("id", "n")
    assert back[0].asdict() == {"id": 3, "n": "c"}
    none = await client.execute("SELECT id, name FROM t WHERE 0")
    assert (none.columns, none.rows, none.rows_affected) == (("id", "name"), [], 0)


@pytest.mark.parametrize(
    ("sql", "args", "message"),
    [
        ("SELECT * FROM missing", None, "no such table: missing"),
        ("SELECT nonsense", None, "no such column: nonsense"),
        ("SELEC 1", None, "syntax error"),
        ("SELECT ?", [], None),
        ("SELECT 1; SELECT 2", None, None),
        ("INSERT INTO t VALUES (1)", None, "UNIQUE constraint failed: t.id"),
        ("INSERT INTO child VALUES (9)", None, "FOREIGN KEY constraint failed"),
    ],
)
async def test_an_error_has_the_databases_words(client: Client, sql: str, args: InArgs, message: str | None) -> None:
    await client.batch(
        ["CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE child (id REFERENCES t)", "INSERT INTO t VALUES (1)"]
    )
    with pytest.raises(LibsqlError) as caught:
        await client.execute(sql, args)
    assert message is None or message in caught.value.explanation
    assert caught.value.code
    if "constraint" in (message or ""):
        assert caught.value.code.startswith("SQLITE_CONSTRAINT")


async def test_a_batch_is_done_whole_or_not_at_all(client: Client) -> None:
    await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    done = await client.batch(
        ["INSERT INTO t VALUES (1)", ("SELECT id FROM t WHERE id = ?", [1]), Statement("SELECT 5")]
    )
    assert [len(one) for one in done] == [0, 1, 1]
    with pytest.raises(LibsqlError, match="UNIQUE"):
        await client.batch(["INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (3)"])
    assert [row[0] for row in await client.execute("SELECT id FROM t")] == [1]
    assert await client.batch([]) == []


async def test_a_transaction_commits_rolls_back_and_ends_with_its_block(client: Client) -> None:
    await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")

    async def ids() -> list[object]:
        return [row[0] for row in await client.execute("SELECT id FROM t ORDER BY id")]

    with client.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES (1)")
        assert (await tx.execute("SELECT count(*) FROM t"))[0][0] == 1
        assert await ids() == []
        await tx.commit()
        assert tx.closed
    assert await ids() == [1]

    with client.transaction("write") as tx:
        await tx.execute("INSERT INTO t VALUES (2)")
        await tx.rollback()
        await tx.rollback()
    with client.transaction("write") as tx:
        await tx.execute("INSERT INTO t VALUES (3)")
    async with asyncio.timeout(3):  # the one before is being rolled back, and must not hold this one up
        with client.transaction("write") as tx:
            await tx.execute("INSERT INTO t VALUES (4)")
            await tx.commit()
    assert await ids() == [1, 4]


async def test_a_failed_statement_leaves_the_transaction_open(client: Client) -> None:
    await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with client.transaction() as tx:
        with pytest.raises(LibsqlError):
            await tx.execute("SELECT * FROM missing")
        await tx.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(LibsqlError):
            await tx.execute("INSERT INTO t VALUES (1)")
        assert not tx.closed
        await tx.commit()
    assert (await client.execute("SELECT count(*) FROM t"))[0][0] == 1


async def test_nothing_is_committed_by_itself_after_the_database_rolled_back(client: Client) -> None:
    await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with client.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(LibsqlError, match="UNIQUE"):
            await tx.execute("INSERT OR ROLLBACK INTO t VALUES (1)")
        with pytest.raises(LibsqlError, match=r"TRANSACTION_(LOST|CLOSED)"):
            await tx.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(LibsqlError, match=r"TRANSACTION_(LOST|CLOSED)|no transaction is active"):
            await tx.commit()
    assert len(await client.execute("SELECT * FROM t")) == 0


async def test_an_empty_transaction_asks_nothing_and_may_be_committed(client: Client) -> None:
    with client.transaction() as tx:
        await tx.commit()
    with pytest.raises(LibsqlError, match="TRANSACTION_CLOSED"):
        await tx.execute("SELECT 1")
    with pytest.raises(LibsqlError, match="TRANSACTION_CLOSED"):
        await tx.commit()


async def test_a_closed_client_says_so(client: Client) -> None:
    tx = client.transaction()
    await tx.execute("SELECT 1")
    await client.close()
    await client.close()
    assert client.closed
    assert tx.closed
    for call in (lambda: client.execute("SELECT 1"), lambda: client.batch(["SELECT 1"])):
        with pytest.raises(LibsqlError, match="CLIENT_CLOSED"):
            await call()
    with pytest.raises(LibsqlError, match="CLIENT_CLOSED"):
        client.transaction()


async def test_many_at_once_share_one_client(client: Client) -> None:
    await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")

    async def add(n: int) -> None:
        await client.execute("INSERT INTO t VALUES (?)", [n])
        assert (await client.execute("SELECT ?", [n]))[0][0] == n

    await asyncio.gather(*(add(n) for n in range(100)))
    assert (await client.execute("SELECT count(*), sum(id) FROM t"))[0].astuple() == (100, 4950)


async def test_statements_of_one_transaction_sent_at_once_run_one_after_the_other(client: Client) -> None:
    await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with client.transaction() as tx:
        await asyncio.gather(*(tx.execute("INSERT INTO t VALUES (?)", [n]) for n in range(20)))
        await tx.commit()
    assert (await client.execute("SELECT count(*) FROM t"))[0][0] == 20


async def test_transactions_that_write_at_once_wait_for_each_other(client: Client) -> None:
    await client.batch(["CREATE TABLE t (n)", "INSERT INTO t VALUES (0)"])

    async def add() -> None:
        with client.transaction("write") as tx:
            n = (await tx.execute("SELECT n FROM t"))[0][0]
            await asyncio.sleep(0.001)
            await tx.execute("UPDATE t SET n = ? + 1", [n])
            await tx.commit()

    await asyncio.gather(*(add() for _ in range(10)))
    assert (await client.execute("SELECT n FROM t"))[0][0] == 10


async def test_a_cancelled_call_stops_and_the_client_goes_on(client: Client) -> None:
    await client.execute("CREATE TABLE t (id)")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.execute(SLOW.format(n=10**10))
    tx = client.transaction("write")
    await tx.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await tx.execute(SLOW.format(n=10**10))
    tx.close()
    async with asyncio.timeout(3):  # its lock is free again
        await client.execute("INSERT INTO t VALUES (2)")
    assert [row[0] for row in await client.execute("SELECT id FROM t")] == [2]


async def test_the_event_loop_goes_on_while_a_query_runs(client: Client) -> None:
    async def slow() -> None:
        assert (await client.execute(SLOW.format(n=SLOW_ROWS)))[0][0] == SLOW_ROWS

    await assert_loop_is_free(slow)


async def test_a_statement_has_a_time_limit(sqld: Sqld, tmp_path: Path) -> None:
    async with (
        new_client(sqld, timeout_s=0.3) as remote,
        create_client(f"file:{tmp_path}/b.db", timeout_s=0.3) as local,
    ):
        for client in (remote, local):
            await client.execute("SELECT 1")
            with pytest.raises(LibsqlError) as caught:
                await client.execute(SLOW.format(n=10**10))
            assert caught.value.code == "TIMEOUT"
            assert (await client.execute("SELECT 2"))[0][0] == 2


async def test_a_file_that_cannot_be_opened_is_an_error_of_the_call(tmp_path: Path) -> None:
    async with create_client(f"file:{tmp_path}/none/a.db") as client:
        with pytest.raises(LibsqlError, match="unable to open database file"):
            await client.execute("SELECT 1")
    (tmp_path / "text.db").write_text("this is not a database" * 100)
    async with create_client(f"file:{tmp_path}/text.db") as client:
        with pytest.raises(LibsqlError, match="NOTADB"):
            await client.execute("SELECT * FROM sqlite_schema")


async def test_writers_in_each_others_way_wait_instead_of_failing(client: Client) -> None:
    await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, by)")

    async def add(worker: int) -> None:
        for _ in range(10):
            await client.execute("INSERT INTO t (by) VALUES (?)", [worker])
            await client.batch([("INSERT INTO t (by) VALUES (?)", [worker])], mode="write")
            with client.transaction() as tx:
                await tx.execute("INSERT INTO t (by) VALUES (?)", [worker])
                await tx.commit()

    await asyncio.gather(*(add(worker) for worker in range(8)))
    assert (await client.execute("SELECT count(*) FROM t"))[0][0] == 8 * 10 * 3
