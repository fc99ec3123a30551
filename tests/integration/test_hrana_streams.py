"""Streams: interactive transactions that are bound to who opened them, and always end."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from freehold.providers.sqlite.limits import EngineLimits
from tests.support.gateway_app import Caller, Served, served

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = itertools.count(1)
CLOSE = {"type": "close"}
ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r"
IDLE_S = 0.6


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    limits = EngineLimits(stream_idle_s=IDLE_S, streams_each=4, streams=8, waiting_each=6)
    folder = tmp_path_factory.mktemp("gateway")
    async with served(folder, query_timeout_s=0.5, engine_limits=limits) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def patient(tmp_path: Path) -> AsyncIterator[Served]:
    """Where no stream ends by itself while a test looks at it, however slow the machine is."""
    limits = EngineLimits(stream_idle_s=60, streams_each=4, streams=8, waiting_each=6)
    async with served(tmp_path, query_timeout_s=0.5, engine_limits=limits) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def db(running: Served) -> Caller:
    caller = await running.database(f"t-{next(_numbers)}")
    await caller.run("create table t(a)")
    return caller


async def refused(caller: Caller, baton: str, *requests: Any) -> tuple[int, str]:
    status, body = await caller.post("v3/pipeline", {"baton": baton, "requests": list(requests)})
    return status, body["code"]


async def count(db: Caller) -> int:
    found: int = (await db.rows("select count(*) from t"))[0][0]
    return found


async def test_a_transaction_goes_on_over_requests(db: Caller) -> None:
    first = await db.pipeline("begin", "insert into t values (1)")
    second = await db.pipeline("insert into t values (2)", baton=first["baton"])
    assert await count(db) == 0
    last = await db.pipeline("commit", CLOSE, baton=second["baton"])
    assert last["baton"] is None
    assert await count(db) == 2


async def test_a_baton_is_used_once(db: Caller) -> None:
    first = await db.pipeline("begin")
    second = await db.pipeline("select 1", baton=first["baton"])
    assert await refused(db, first["baton"]) == (400, "BAD_BATON")
    assert (await db.pipeline(CLOSE, baton=second["baton"]))["baton"] is None
    assert await refused(db, second["baton"]) == (400, "BAD_BATON")


async def test_a_stream_takes_one_request_at_a_time(db: Caller) -> None:
    baton = (await db.pipeline("select 1"))["baton"]
    answers = await asyncio.gather(*(db.post("v3/pipeline", {"baton": baton, "requests": []}) for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 400, 400, 400, 400]


async def test_a_baton_is_bound_to_its_database_and_token(running: Served, db: Caller) -> None:
    other = await running.database("other")
    again = await running.caller(db.name)
    reader = await running.caller(db.name, "read_only")
    body = await db.pipeline("begin", "insert into t values (1)")
    for thief in (other, again, reader, Caller(running, "other", db.token)):
        status, _ = await refused(thief, body["baton"], "commit")
        assert status in {400, 404}
    for forged in ("", ".", "x", body["baton"][:-1], body["baton"] + "x", "é", "a.b.c", body["baton"].split(".")[0]):
        assert await refused(db, forged) == (400, "BAD_BATON")
    assert (await db.pipeline("commit", CLOSE, baton=body["baton"]))["results"][0]["type"] == "ok"
    assert await count(db) == 1


async def test_an_idle_stream_expires_and_rolls_back(running: Served, db: Caller) -> None:
    body = await db.pipeline("begin immediate", "insert into t values (1)")
    await asyncio.sleep(IDLE_S + 0.7)
    assert await refused(db, body["baton"]) == (400, "STREAM_EXPIRED")
    assert (await db.run("insert into t values (2)"))["affected_row_count"] == 1
    assert await count(db) == 1
    assert len(running.provider.engine.streams) == 0


async def test_a_call_that_fails_takes_its_stream_with_it(running: Served, db: Caller) -> None:
    body = await db.pipeline("begin immediate", "insert into t values (1)")
    status, _ = await refused(db, body["baton"], {"type": "execute", "stmt": {"sql_id": 9}})
    assert status == 400
    assert await refused(db, body["baton"]) == (400, "BAD_BATON")
    assert (await db.run("insert into t values (2)"))["affected_row_count"] == 1
    assert await count(db) == 1


async def test_two_writers_conflict_and_nobody_hangs(db: Caller) -> None:
    first = await db.pipeline("begin immediate", "insert into t values (1)")
    second = await db.pipeline("begin immediate")
    error = second["results"][0]["error"]
    assert (error["code"], "locked" in error["message"]) == ("SQLITE_BUSY", True)
    await db.pipeline("commit", CLOSE, baton=first["baton"])
    assert (await db.pipeline("begin immediate", "commit", CLOSE, baton=second["baton"]))["baton"] is None
    assert await count(db) == 1


async def test_the_holder_of_the_lock_is_never_behind_those_who_wait_for_it(db: Caller) -> None:
    holder = await db.pipeline("begin immediate", "insert into t values (1)")
    waiting = [asyncio.create_task(db.run("insert into t values (2)")) for _ in range(8)]
    await asyncio.sleep(0.1)
    started = asyncio.get_running_loop().time()
    await db.pipeline("insert into t values (3)", "commit", CLOSE, baton=holder["baton"])
    assert asyncio.get_running_loop().time() - started < 0.5
    assert all(result.get("affected_row_count") == 1 for result in await asyncio.gather(*waiting))
    assert await count(db) == 10


async def test_forgotten_streams_make_room_and_open_transactions_do_not(patient: Served) -> None:
    db = await patient.database("t")
    forgotten = [(await db.pipeline("select 1"))["baton"] for _ in range(9)]
    assert len(patient.provider.engine.streams) <= 8
    assert await refused(db, forgotten[0]) == (400, "STREAM_EXPIRED")
    held = [(await db.pipeline("begin"))["baton"] for _ in range(4)]
    status, body = await db.post("v3/pipeline", {"requests": []})
    assert (status, body["code"]) == (429, "TOO_MANY_REQUESTS")
    assert await db.rows("select 1") == [[1]]  # one that closes at once needs no stream
    for baton in held:
        await db.pipeline(CLOSE, baton=baton)


async def test_too_many_requests_at_once_are_told_to_come_back(db: Caller) -> None:
    answers = await asyncio.gather(
        *(
            db.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": ENDLESS}}, CLOSE]})
            for _ in range(14)
        )
    )
    statuses = [status for status, _ in answers]
    assert statuses.count(429) == 4
    assert statuses.count(200) == 10
    assert await db.rows("select 1") == [[1]]


async def test_a_deleted_database_ends_its_streams_and_requests(running: Served, db: Caller) -> None:
    body = await db.pipeline("begin", "insert into t values (1)")
    busy = asyncio.create_task(
        db.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": ENDLESS}}, CLOSE]})
    )
    await asyncio.sleep(0.1)
    await running.provider.delete(db.name)
    assert await busy == (404, {"message": f"database `{db.name}` does not exist", "code": "NOT_FOUND"})
    assert (await db.post("v3/pipeline", {"requests": []}))[0] == 404
    assert (await refused(db, body["baton"]))[0] in {400, 404}
    assert running.provider.engine.pool.open_of(db.name) == 0
    await running.provider.create(db.name)
    assert (await db.run("select * from t"))["code"] == "SQLITE_ERROR"


async def test_a_database_that_another_process_replaces_is_noticed(running: Served, db: Caller) -> None:
    await db.run("insert into t values (1)")
    running.provider._files.delete(db.name)  # as another process would: our connections stay open
    assert (await db.post("v3/pipeline", {"requests": []}))[0] == 404
    running.provider._files.create(db.name)
    assert (await db.run("select * from t"))["code"] == "SQLITE_ERROR"
    await db.run("create table t(a)")
    assert await count(db) == 0


async def test_a_client_that_goes_away_stops_its_query_and_rolls_back(running: Served, db: Caller) -> None:
    requests = [{"type": "execute", "stmt": {"sql": sql}} for sql in ("begin", "insert into t values (1)", ENDLESS)]
    with pytest.raises(asyncio.TimeoutError):
        await running.http.post(
            db.url + "v3/pipeline",
            json={"requests": requests},
            headers={"authorization": f"Bearer {db.token}"},
            timeout=aiohttp.ClientTimeout(total=0.3),
        )
    await asyncio.sleep(0.2)
    assert not running.provider.engine._jobs
    assert (await db.run("insert into t values (2)"))["affected_row_count"] == 1
    assert await count(db) == 1


async def test_nothing_is_open_when_all_is_over(tmp_path: Path) -> None:
    async with served(tmp_path, query_timeout_s=0.3) as running:
        db = await running.database("t-1")
        await db.pipeline("begin", "create table t(a)")
        await asyncio.gather(*(db.run("select 1") for _ in range(20)))
        engine = running.provider.engine
    assert engine.pool.open_count == 0
    assert len(engine.streams) == 0
    assert not engine._queues
    assert [path.name for path in tmp_path.rglob("t-1*")] == ["t-1.db"]
