"""The limits of sqld, tried on the real one: time, places, memory, transactions, its log, and its life itself."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from testbed.sqld import Sqld, running_sqld

from tests.integration.test_sqld_gateway import CLOSE, execute, frame, fresh, grpc, program
from tests.support.gateway_app import Caller, Served, served, served_by_sqld, served_by_supervised_sqld

ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r"
SORT = (
    "with recursive r(n) as (select 1 union all select n + 1 from r limit 100000)"
    " select count(*) from (select cast(zeroblob(3900000) as text) || n x from r order by x)"
)
# No interrupt reaches into one call of a function.
LONG_SEARCH = "select instr(x, substr(x, 1, length(x) / 2) || '1') from t"
MORE_THAN_IDLE_S = 5.0


@pytest.fixture
def sqld() -> Iterator[Sqld]:
    with running_sqld() as running:
        yield running


@pytest.fixture
async def behind(sqld: Sqld, tmp_path: Path) -> AsyncIterator[Served]:
    """With a second for each statement, on two cores, and nobody who supervises sqld."""
    async with served_by_sqld(tmp_path, sqld, query_timeout_s=1.0, cores=2) as running:
        yield running


@pytest.fixture
async def supervised(tmp_path: Path) -> AsyncIterator[Served]:
    async with served_by_supervised_sqld(tmp_path, 128, query_timeout_s=1.0, cores=1, stuck_s=2.0) as running:
        yield running


async def until(is_so: Callable[[], bool], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)


async def eventually(ask: Callable[[], Awaitable[bool]], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not await ask():
            await asyncio.sleep(0.1)


async def slowest_s(caller: Caller, count: int) -> float:
    """Of so many calls, which all must work."""
    longest_s = 0.0
    for _ in range(count):
        began = time.monotonic()
        assert await caller.rows("select 1") == [[1]]
        longest_s = max(longest_s, time.monotonic() - began)
        await asyncio.sleep(0.1)
    return longest_s


def shapes(sql: str) -> dict[str, tuple[str, Any]]:
    """Every way to send a statement that has its time, after one that has some."""
    steps = {"steps": [{"stmt": {"sql": "select 1"}}, {"stmt": {"sql": sql}}]}
    return {
        "execute": ("v3/pipeline", {"requests": [execute(sql), CLOSE]}),
        "left open": ("v3/pipeline", {"requests": [execute(sql)]}),
        "two": ("v2/pipeline", {"requests": [execute("select 1"), execute(sql), CLOSE]}),
        "batch": ("v3/pipeline", {"requests": [{"type": "batch", "batch": steps}, CLOSE]}),
        "sequence": ("v3/pipeline", {"requests": [{"type": "sequence", "sql": f"select 1; {sql}"}, CLOSE]}),
        "v1 execute": ("v1/execute", {"stmt": {"sql": sql}}),
        "v1 batch": ("v1/batch", {"batch": steps}),
        "cursor": ("v3/cursor", {"batch": {"steps": steps["steps"][1:]}}),
    }


# Time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", shapes(""))
async def test_a_statement_has_its_time_however_it_is_sent_and_then_really_ends(supervised: Served, shape: str) -> None:
    caller = await supervised.database(fresh())
    endpoint, body = shapes(ENDLESS)[shape]
    began = time.monotonic()
    async with supervised.http.post(
        caller.url + endpoint, json=body, headers={"authorization": f"Bearer {caller.token}"}
    ) as reply:
        if reply.status == 200:  # a cursor's answer may have begun; then it is broken off
            assert shape == "cursor"
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
        else:
            assert (reply.status, (await reply.json())["code"]) == (400, "QUERY_TIMEOUT")
    assert time.monotonic() - began < 5.5  # not the 6 s that a call of several may take
    watch = supervised.provider.watch

    async def is_idle() -> bool:
        state = await watch.link.state()
        return state is not None and state.busy_threads == 0

    await eventually(is_idle)
    await until(lambda: watch.turns.held == 0)
    assert await caller.rows("select 1") == [[1]]


async def test_what_follows_a_statement_that_was_stopped_does_not_run(behind: Served) -> None:
    caller = await behind.database(fresh())
    await caller.run("create table t(a)")
    body = {"requests": [execute("insert into t values (1)"), execute(ENDLESS), execute("delete from t")]}
    status, answer = await caller.post("v3/pipeline", body)
    assert (status, answer["code"]) == (400, "QUERY_TIMEOUT")
    assert await caller.rows("select a from t") == [[1]]


# Places ----------------------------------------------------------------------------------------------


async def keep_asking(callers: list[Caller], each: int, until_set: asyncio.Event) -> set[str]:
    """Send statements without end, so many at once of each; gives the codes of the answers."""
    codes: set[str] = set()

    async def one(caller: Caller) -> None:
        while not until_set.is_set():
            _, body = await caller.post("v3/pipeline", {"requests": [execute(ENDLESS), CLOSE]})
            codes.add(body.get("code", "OK"))
            await asyncio.sleep(0.1)

    await asyncio.gather(*(one(caller) for caller in callers for _ in range(each)))
    return codes


@pytest.mark.parametrize(("guests", "each"), [(1, 32), (8, 4)])
async def test_endless_statements_of_some_do_not_stop_the_others(behind: Served, guests: int, each: int) -> None:
    other = await behind.database(fresh())
    hostile = [await behind.database(fresh()) for _ in range(guests)]
    is_over = asyncio.Event()
    attack = asyncio.create_task(keep_asking(hostile, each, is_over))
    try:
        await until(lambda: behind.provider.watch.turns.held >= 2)
        longest_s = await slowest_s(other, 8)
        most = behind.provider.watch.turns.limit
        assert behind.provider.watch.turns.held <= most == 3
    finally:
        is_over.set()
        codes = await attack
    assert longest_s < MORE_THAN_IDLE_S
    assert codes <= {"QUERY_TIMEOUT", "TOO_MANY_REQUESTS"}
    assert "QUERY_TIMEOUT" in codes or guests > 1
    await until(lambda: behind.provider.watch.turns.held == 0)


async def test_a_transaction_goes_on_while_its_tenants_own_writers_wait_for_it(behind: Served) -> None:
    caller = await behind.database(fresh())
    await caller.run("create table t(a)")
    opened = await caller.pipeline("begin immediate", "insert into t values (1)")
    writers = [
        asyncio.create_task(caller.post("v1/execute", {"stmt": {"sql": "insert into t values (2)"}})) for _ in range(6)
    ]
    await until(lambda: behind.provider.watch.turns.held >= 2)
    committed = await caller.pipeline("commit", CLOSE, baton=opened["baton"])
    assert committed["results"][0]["type"] == "ok"
    statuses = [status for status, _ in await asyncio.gather(*writers)]
    assert statuses == [200] * 6
    assert await caller.rows("select count(*) from t") == [[7]]


# Memory ----------------------------------------------------------------------------------------------


async def test_a_sort_that_takes_all_memory_fails_for_its_client_only(tmp_path: Path) -> None:
    async with served_by_supervised_sqld(tmp_path, 128, query_timeout_s=20.0, cores=2) as running:
        greedy, other = await running.database(fresh()), await running.database(fresh())
        await other.run("create table t(a)")
        link = running.provider.watch.link
        body = {"requests": [execute(SORT), CLOSE]}
        attack = [asyncio.create_task(greedy.post("v3/pipeline", body)) for _ in range(3)]
        while not all(task.done() for task in attack):
            assert await other.rows("select 1") == [[1]]
            assert "affected_row_count" in await other.run("insert into t values (1)")
            state = await link.state()
            assert state.memory_bytes < 128 * 1_048_576 + 150_000_000
        assert all("SQLITE_NOMEM" in json.dumps(task.result()) for task in attack)
        assert (await link.state()).restarts == 0


# Transactions and the log ----------------------------------------------------------------------------

Home = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.mark.parametrize("home", ["files", "sqld"])
async def test_a_transaction_ends_in_time_however_it_is_kept_alive(home: str, sqld: Sqld, tmp_path: Path) -> None:
    served_there = (
        served(tmp_path, transaction_timeout_s=2.0)
        if home == "files"
        else served_by_sqld(tmp_path, sqld, transaction_timeout_s=2.0)
    )
    async with served_there as running:
        caller = await running.database(fresh())
        await caller.run("create table t(a)")
        opened = await caller.pipeline("begin", "select count(*) from t")
        idle = await caller.pipeline("begin", "select count(*) from t")
        idle_since = time.monotonic()
        free = await caller.pipeline("select 1")
        began = time.monotonic()
        while True:
            status, body = await caller.post(
                "v3/pipeline", {"baton": opened["baton"], "requests": [execute("select count(*) from t")]}
            )
            if status != 200:
                break
            opened = body
            # One that is in no transaction may be as old as it likes.
            free = await caller.pipeline("begin", "select 1", "commit", baton=free["baton"])
            assert time.monotonic() - began < 10, "kept alive for ever"
            await asyncio.sleep(0.2)
        assert body["code"] == "STREAM_EXPIRED"
        assert "2 s" in body["message"] or home == "files"
        assert "transaction" in body["message"]
        await asyncio.sleep(idle_since + 3 - time.monotonic())
        status, body = await caller.post("v3/pipeline", {"baton": idle["baton"], "requests": [CLOSE]})
        assert (status, body["code"]) == (400, "STREAM_EXPIRED")
        assert (await caller.pipeline("select 1", CLOSE, baton=free["baton"]))["baton"] is None


async def test_a_replicas_transaction_ends_in_time_too(sqld: Sqld, tmp_path: Path) -> None:
    async with served_by_sqld(tmp_path, sqld, transaction_timeout_s=1.0) as running:
        caller = await running.database(fresh())

        async def run(sql: str) -> str | None:
            status: str | None = (await grpc(caller, "proxy.Proxy/Execute", frame(program(sql))))[1]
            return status

        await caller.run("create table t(a)")
        assert await run("begin") is None
        assert await run("select * from t") is None
        await asyncio.sleep(1.2)
        assert await run("select * from t") == "10"
        assert await run("begin") is None  # as it was new
        assert await run("commit") is None
        await asyncio.sleep(1.2)
        assert await run("select * from t") is None


async def test_readers_that_take_turns_do_not_make_the_log_grow_for_ever(sqld: Sqld, tmp_path: Path) -> None:
    async with served_by_sqld(tmp_path, sqld, max_size_bytes=20_000_000, cores=2) as running:
        caller, other = await running.database(fresh()), await running.database(fresh())
        await caller.run("create table t(id integer primary key, x)")
        await caller.run("insert into t select value, randomblob(4000) from generate_series(1, 2500)")
        log = sqld.folder / "data/dbs" / caller.name / "data-wal"
        limit = running.provider.watch.logs.limit_bytes
        batons: list[str] = []
        closed = longest = 0
        for _ in range(60):  # 600 MB
            assert "affected_row_count" in await caller.run("update t set x = randomblob(4000)")
            batons.append((await caller.pipeline("begin", "select count(*) from t"))["baton"])
            if len(batons) > 2:
                status, _ = await caller.post("v3/pipeline", {"baton": batons.pop(0), "requests": [CLOSE]})
                closed += status != 200
            longest = max(longest, log.stat().st_size)
            assert await other.rows("select 1") == [[1]]
        assert closed > 0
        assert longest < limit + 150_000_000  # what is written until somebody looks
        for baton in batons:
            await caller.post("v3/pipeline", {"baton": baton, "requests": [CLOSE]})
        await until(lambda: log.stat().st_size < 20_000_000)
        assert await caller.rows("select count(*) from t") == [[2500]]


# The life of sqld ------------------------------------------------------------------------------------


def pid_on(folder: Path) -> int:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if str(folder) in words:
                return int(process.name)
    raise AssertionError("no sqld runs there")


async def test_a_killed_sqld_is_back_with_all_that_was_acknowledged_and_its_address(
    supervised: Served, tmp_path: Path
) -> None:
    caller = await supervised.database(fresh())
    await caller.run("create table t(a)")
    opened = await caller.pipeline("begin", "select count(*) from t")
    acknowledged: list[int] = []
    is_over = asyncio.Event()

    async def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            status, body = await caller.post(
                "v3/pipeline", {"requests": [execute(f"insert into t values ({number})"), CLOSE]}
            )
            if status == 200 and body["results"][0]["type"] == "ok":
                acknowledged.append(number)
            else:
                assert status == 503, body

    writing = asyncio.create_task(write())
    await until(lambda: len(acknowledged) > 20)
    os.kill(pid_on(tmp_path / "sqld/data"), signal.SIGKILL)
    count = len(acknowledged)
    await until(lambda: len(acknowledged) > count + 20)
    is_over.set()
    await writing
    found = {row[0] for row in await caller.rows("select a from t")}
    assert set(acknowledged) <= found
    status, body = await caller.post("v3/pipeline", {"baton": opened["baton"], "requests": [CLOSE]})
    assert (status, body["code"]) == (400, "BAD_BATON")
    assert "started again" in body["message"]
    state = await supervised.provider.watch.link.state()
    assert (state.state, state.restarts, state.last_end) == ("up", 1, "signal 9")
    await supervised.provider.check()


async def test_whoever_has_calls_running_when_sqld_crashes_is_suspect_and_others_are_not(
    supervised: Served, tmp_path: Path
) -> None:
    guilty, bystander = await supervised.database(fresh()), await supervised.database(fresh())
    watch = supervised.provider.watch

    def has_crashed(times: int) -> bool:
        return bool(watch.turns.share_of(guilty.name).crashes == times)

    for crash in (1, 2):
        running = asyncio.create_task(guilty.post("v3/pipeline", {"requests": [execute(ENDLESS), CLOSE]}))
        await until(lambda: any(turn.share.name == guilty.name for turn in watch.turns.running))
        await asyncio.sleep(0.2)
        assert await bystander.rows("select 1") == [[1]]
        os.kill(pid_on(tmp_path / "sqld/data"), signal.SIGABRT)
        status, body = await running
        assert status == 503, body
        await until(partial(has_crashed, crash))
        # The next try is as soon as at first, and works at once for everybody else.
        assert await bystander.rows("select 1") == [[1]]
        share = watch.turns.share_of(bystander.name)
        assert share is None or share.crashes == 0
        assert watch.turns.slowed == crash - 1
    async with asyncio.timeout(20):  # the supervisor counts a restart once it has looked
        while (state := await watch.link.state()).restarts < 2:
            await asyncio.sleep(0.05)
    assert (state.restarts, state.last_end) == (2, "signal 6")
    assert await guilty.rows("select 1") == [[1]]


async def test_a_statement_that_nothing_stops_holds_its_place_until_sqld_is_started_again(supervised: Served) -> None:
    stuck, other = await supervised.database(fresh()), await supervised.database(fresh())
    await stuck.run("create table t(x)")
    await stuck.run("insert into t values (hex(zeroblob(900000)))")
    watch = supervised.provider.watch
    status, body = await stuck.post("v3/pipeline", {"requests": [execute(LONG_SEARCH), CLOSE]})
    assert (status, body["code"]) == (400, "QUERY_TIMEOUT")
    assert len(watch.turns.lingering) == 1
    assert await other.rows("select 1") == [[1]]
    waiting = asyncio.create_task(stuck.post("v3/pipeline", {"requests": [execute("select 1"), CLOSE]}))
    await asyncio.sleep(0.5)
    assert not waiting.done()  # nothing of that tenant begins meanwhile, and after a second it is told so
    status, body = await waiting
    assert (status, body["code"]) == (429, "TOO_MANY_REQUESTS")
    assert "cannot be stopped" in body["message"]
    await until(lambda: watch.stuck == 1)
    assert await other.rows("select 1") == [[1]]
    assert await stuck.rows("select 1") == [[1]]
    assert watch.turns.slowed == 1
    assert watch.turns.held == 0
    state = await watch.link.state()
    assert state.restarts == 1
    assert "past their limit" in state.last_end


async def test_the_supervisor_answers_nobody_without_the_key(supervised: Served) -> None:
    url = supervised.provider.watch.link._url
    for headers in ({}, {"authorization": "Bearer x"}):
        for method, path in (("GET", "/state"), ("POST", "/restart"), ("GET", "/other")):
            async with supervised.http.request(method, url + path, headers=headers) as reply:
                assert reply.status == 401
                assert await reply.read() == b""
    state = await supervised.provider.watch.link.state()
    assert json.dumps(state.state) == '"up"'
    assert state.restarts == 0
