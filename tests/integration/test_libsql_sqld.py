"""The driver against a real server: tokens, limits, restarts, and transactions that the server takes away."""

import asyncio
import itertools
import time

import pytest
from testbed.sqld import Sqld, running_sqld

from freehold.libsql.client import LibsqlError, Refused, StreamLost, Unreachable, create_client
from tests.integration.libsql_parts import SLOW, new_client, new_url, sqld
from tests.support.stalls import assert_loop_is_free

__all__ = ["sqld"]


async def test_a_read_only_token_reads_and_does_not_write(sqld: Sqld) -> None:
    url, token = new_url(sqld)
    name = url.rsplit("=", 1)[1]
    async with create_client(url, auth_token=token) as client:
        await client.execute("CREATE TABLE t (id)")
    async with create_client(url, auth_token=sqld.token(name, "ro")) as client:
        assert len(await client.execute("SELECT * FROM t")) == 0
        with pytest.raises(Refused, match="FORBIDDEN"):
            await client.execute("INSERT INTO t VALUES (1)")
        with client.transaction() as tx:
            await tx.execute("SELECT 1")
            with pytest.raises(Refused, match="FORBIDDEN"):
                await tx.execute("INSERT INTO t VALUES (1)")
            assert tx.closed


async def test_an_expired_token_is_renewed_and_a_foreign_one_refused(sqld: Sqld) -> None:
    url, token = new_url(sqld)
    name = url.rsplit("=", 1)[1]
    given = iter([sqld.token(name, ttl_s=-3600), token])
    async with create_client(url, auth_token=lambda: next(given)) as client:
        assert (await client.execute("SELECT 1"))[0][0] == 1
    other = sqld.token(sqld.create(f"{name}-other"))
    async with create_client(url, auth_token=other) as client:
        with pytest.raises(Refused, match="NOT_FOUND") as caught:
            await client.execute("SELECT 1")
    assert other not in str(caught.value)


async def test_a_missing_database_is_told(sqld: Sqld) -> None:
    async with create_client(f"{sqld.url}/?namespace=nobody", auth_token=sqld.token("nobody")) as client:
        with pytest.raises(Refused, match="NOT_FOUND"):
            await client.execute("SELECT 1")


async def test_a_result_over_the_servers_limit_is_an_error_of_the_statement(sqld: Sqld) -> None:
    async with new_client(sqld) as client:
        with pytest.raises(LibsqlError, match="RESPONSE_TOO_LARGE"):
            await client.execute("SELECT hex(zeroblob(2000000)) FROM (VALUES (1), (2), (3))")
        assert (await client.execute("SELECT 1"))[0][0] == 1


async def test_a_large_result_does_not_hold_up_the_event_loop(sqld: Sqld) -> None:
    rows = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 60000) "
        "SELECT x, 'word ' || x, x / 7.0 FROM c"
    )
    async with new_client(sqld) as client:

        async def read() -> None:
            result = await client.execute(rows)
            assert (len(result), result[59_999][0]) == (60_000, 60_000)

        await assert_loop_is_free(read, most=0.3)


async def test_a_full_database_is_told_and_rolls_back(sqld: Sqld) -> None:
    url, token = new_url(sqld, max_db_size="100KB")
    async with create_client(url, auth_token=token) as client:
        await client.execute("CREATE TABLE t (x)")
        with client.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(LibsqlError, match="SQLITE_FULL"):
                await tx.execute("INSERT INTO t VALUES (zeroblob(1000000))")
            tx.close()
        assert len(await client.execute("SELECT * FROM t")) == 0


async def test_a_transaction_that_the_server_gave_away_commits_nothing(sqld: Sqld) -> None:
    async with new_client(sqld) as client:
        await client.execute("CREATE TABLE t (id)")
        with client.transaction("write") as tx:
            await tx.execute("INSERT INTO t VALUES (1)")
            await client.execute("INSERT INTO t VALUES (2)")  # takes the lock after five seconds
            with pytest.raises(LibsqlError, match="TRANSACTION_TIMEOUT"):
                await tx.execute("INSERT INTO t VALUES (3)")
            with pytest.raises(LibsqlError, match=r"TRANSACTION_(LOST|CLOSED)"):
                await tx.execute("INSERT INTO t VALUES (4)")
            with pytest.raises(LibsqlError, match=r"TRANSACTION_(LOST|CLOSED)"):
                await tx.commit()
        assert [row[0] for row in await client.execute("SELECT id FROM t")] == [2]


async def test_a_server_that_restarts_loses_open_transactions_and_nothing_else() -> None:
    with running_sqld() as server:
        url, token = new_url(server)
        async with create_client(url, auth_token=token) as client:
            await client.execute("CREATE TABLE t (id)")
            await client.execute("INSERT INTO t VALUES (1)")
            with client.transaction("write") as tx:
                await tx.execute("INSERT INTO t VALUES (2)")
                server.kill()
                with pytest.raises(Unreachable) as caught:
                    await client.execute("SELECT 1")
                server.start()
                with pytest.raises((StreamLost, Unreachable)):
                    await tx.commit()
            assert caught.value.code in {"UNREACHABLE", "CONNECTION_LOST"}
            assert [row[0] for row in await client.execute("SELECT id FROM t")] == [1]


async def test_a_server_that_hangs_meets_the_time_limit() -> None:
    with running_sqld() as server:
        url, token = new_url(server)
        async with create_client(url, auth_token=token, timeout_s=0.3) as client:
            await client.execute("SELECT 1")
            server.pause()
            started = time.monotonic()
            with pytest.raises(Unreachable, match="TIMEOUT"):
                await client.execute("SELECT 1")
            assert time.monotonic() - started < 8
            server.resume()
            assert (await client.execute("SELECT 2"))[0][0] == 2


async def test_slow_queries_do_not_hold_up_quick_ones(sqld: Sqld) -> None:
    async with new_client(sqld) as client:
        slow = asyncio.create_task(client.execute(SLOW.format(n=10**10)))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            for n in range(20):
                assert (await client.execute("SELECT ?", [n]))[0][0] == n
        assert not slow.done()
        slow.cancel()
        await asyncio.wait([slow])


async def test_what_was_acknowledged_is_there_once_though_the_server_is_killed_again_and_again() -> None:
    with running_sqld() as server:
        url, token = new_url(server)
        acknowledged: set[int] = set()
        unknown: set[int] = set()
        refused: set[int] = set()
        numbers = itertools.count()
        stop = asyncio.Event()

        async with create_client(url, auth_token=token) as client:
            await client.execute("CREATE TABLE t (n)")

            async def one(n: int) -> None:
                if n % 3 == 0:
                    await client.execute("INSERT INTO t VALUES (?)", [n])
                elif n % 3 == 1:
                    await client.batch([("INSERT INTO t VALUES (?)", [n])], mode="write")
                else:
                    with client.transaction("write") as tx:
                        await tx.execute("INSERT INTO t VALUES (?)", [n])
                        await tx.commit()

            async def write() -> None:
                while not stop.is_set():
                    n = next(numbers)
                    try:
                        await one(n)
                        acknowledged.add(n)
                    except Unreachable as error:
                        (unknown if error.maybe_applied else refused).add(n)
                    except LibsqlError:
                        refused.add(n)
                    await asyncio.sleep(0.001)

            writers = [asyncio.create_task(write()) for _ in range(6)]
            for _ in range(4):
                enough = len(acknowledged) + 15
                while len(acknowledged) < enough:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.05)
                await asyncio.to_thread(server.start)
            await asyncio.sleep(0.2)
            stop.set()
            await asyncio.gather(*writers)
            found = [row[0] for row in await client.execute("SELECT n FROM t")]

        assert len(found) == len(set(found))
        assert len(acknowledged) > 50
        assert acknowledged <= set(found) <= acknowledged | unknown
        assert not refused & set(found)
