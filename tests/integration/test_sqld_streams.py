"""One tenant against sqld's connections, which all tenants share: whatever it leaves open, the others go on."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from testbed.sqld import Sqld, running_sqld

from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.providers.sqld.client.streams import STREAM_S
from tests.integration.test_sqld_gateway import CLOSE, execute, field, frame, fresh, grpc, program
from tests.support.gateway_app import Caller, Served, served_by_sqld

EACH = 32
ALL = 112
ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r"
LONG = "with recursive r(x) as (select 1 union all select x + 1 from r) select x, hex(zeroblob(2000)) from r"
Answer = tuple[int, Any]


@pytest.fixture
def sqld() -> Iterator[Sqld]:
    with running_sqld() as running:
        yield running


@pytest.fixture
async def greedy(served: Served) -> Caller:
    return await served.database(fresh())


@pytest.fixture
async def other(served: Served) -> Caller:
    return await served.database(fresh())


def connections(sqld: Sqld) -> int:
    """How many sqld itself counts."""
    name = "libsql_server_concurrent_connections "
    lines = sqld.admin("GET", "/metrics").text.splitlines()
    return next((int(line.removeprefix(name)) for line in lines if line.startswith(name)), 0)


async def until_free(sqld: Sqld, but: int = 0) -> None:
    """Until sqld has let go of all but a few; it does so a moment after its answer."""
    async with asyncio.timeout(5):
        while connections(sqld) > but:
            await asyncio.sleep(0.02)


async def begin(caller: Caller, baton: str | None = None) -> Answer:
    return await caller.post("v3/pipeline", {"baton": baton, "requests": [execute("begin")]})


async def cursor(caller: Caller, sql: str = "select 1") -> Answer:
    """Status and text: of a cursor, lines."""
    async with caller.served.http.post(
        f"{caller.url}v3/cursor",
        json={"batch": {"steps": [{"stmt": {"sql": sql}}]}},
        headers={"authorization": f"Bearer {caller.token}"},
    ) as reply:
        return reply.status, await reply.text()


async def abandoned_cursor(caller: Caller) -> Answer:
    """The client goes away in the middle of the rows."""
    async with caller.served.http.post(
        f"{caller.url}v3/cursor",
        json={"batch": {"steps": [{"stmt": {"sql": LONG}}]}},
        headers={"authorization": f"Bearer {caller.token}"},
    ) as reply:
        text = (await reply.content.read(10_000)).decode()
        reply.close()
        return reply.status, text


async def many(act: Callable[[], Awaitable[Answer]], count: int = 200) -> tuple[Counter[int], list[str]]:
    """The statuses, and what the refusals say."""
    room = asyncio.Semaphore(8)

    async def one() -> Answer:
        async with room:
            return await act()

    answers = await asyncio.gather(*(one() for _ in range(count)))
    return Counter(status for status, _ in answers), [str(body) for status, body in answers if status == 429]


async def must_work(caller: Caller) -> None:
    """A call, a cursor and a transaction, at once."""
    assert await caller.rows("select 1") == [[1]]
    assert (await cursor(caller))[0] == 200
    opened = await caller.pipeline("begin", "select 1")
    assert (await caller.pipeline("commit", CLOSE, baton=opened["baton"]))["baton"] is None


@pytest.mark.parametrize("leave_open", [begin, cursor, abandoned_cursor])
async def test_streams_left_open_stop_their_own_tenant_only(
    sqld: Sqld, greedy: Caller, other: Caller, leave_open: Callable[[Caller], Awaitable[Answer]]
) -> None:
    statuses, refusals = await many(lambda: leave_open(greedy))
    assert set(statuses) == ({200, 429} if leave_open is begin else {200})
    assert statuses[200] >= EACH
    assert all("close streams" in text for text in refusals)
    await must_work(other)
    assert connections(sqld) <= EACH + 2


async def plain(caller: Caller) -> Answer:
    """Leaves a stream that is in no transaction."""
    return await caller.post("v3/pipeline", {"requests": [execute("select 1")]})


async def test_one_call_after_the_other_is_never_too_many_whatever_clients_leave(sqld: Sqld, greedy: Caller) -> None:
    await greedy.run("create table t(a)")
    honest = await greedy.pipeline("begin", "insert into t values (2)")  # longer idle than all others
    statuses = Counter([(await plain(greedy))[0] for _ in range(EACH)])
    await greedy.pipeline("commit", CLOSE, baton=honest["baton"])
    statuses += Counter([(await plain(greedy))[0] for _ in range(2 * EACH)])
    assert statuses == {200: 3 * EACH}
    assert connections(sqld) <= EACH + 2
    assert await greedy.rows("select count(*) from t where a = 2") == [[1]]


async def test_after_a_kill_in_the_middle_of_calls_of_every_kind_one_call_after_the_other_works(
    sqld: Sqld, greedy: Caller
) -> None:
    await greedy.run("create table t(a)")
    replica = frame(program("select 1", "00000000-0000-4000-8000-000000000001"))
    await grpc(greedy, "proxy.Proxy/Execute", replica)
    for _ in range(5):
        await begin(greedy)
        await plain(greedy)
        await cursor(greedy)
    endless = [
        *(greedy.post("v3/pipeline", {"requests": [execute(ENDLESS)]}) for _ in range(12)),
        *(cursor(greedy, ENDLESS) for _ in range(3)),
        abandoned_cursor(greedy),
    ]
    calls = [asyncio.ensure_future(each) for each in endless]
    await asyncio.sleep(0.5)
    sqld.kill()
    await asyncio.wait(calls, timeout=20)
    assert all(each.done() for each in calls)
    await begin(greedy)
    sqld.start()
    statuses = Counter([(await plain(greedy))[0] for _ in range(100)])
    assert statuses == {200: 100}


async def test_a_suspended_database_holds_no_more(sqld: Sqld, served: Served, other: Caller) -> None:
    suspended = await served.database(fresh())
    await served.provider.suspend(suspended.name)
    statuses, _ = await many(lambda: cursor(suspended))
    assert statuses == {200: 200}  # each in place of an earlier one
    await must_work(other)
    assert connections(sqld) <= EACH + 2


async def test_a_refused_cursor_leaves_nothing_open(sqld: Sqld, served: Served, greedy: Caller, other: Caller) -> None:
    await greedy.run("create table t(a)")
    reader = await served.caller(greedy.name, "read_only")
    statuses, _ = await many(lambda: cursor(reader, "insert into t values (1)"))
    await must_work(other)
    assert set(statuses) == {200}  # each in place of an earlier one, as all cursors
    assert connections(sqld) <= EACH + 2


async def test_five_who_take_all_stop_neither_a_sixth_nor_an_honest_transaction(
    sqld: Sqld, served: Served, other: Caller
) -> None:
    await other.run("create table t(a)")
    honest = await other.pipeline("begin", "insert into t values (1)")  # the one that is idle for longest
    batons: list[tuple[Caller, str]] = []
    for _ in range(5):
        caller = await served.database(fresh())
        for _ in range(EACH):
            status, body = await begin(caller)
            assert status == 200, body
            batons.append((caller, body["baton"]))
    assert connections(sqld) <= ALL + 2
    sixth = await served.database(fresh())
    await must_work(sixth)
    await served.provider.check()
    target = await served.provider.open(batons[0][0].name)  # a migration of one that has all it may have
    (done,) = await target.run([Batch((BatchStep(Stmt("create table migrated(a)")),))])
    assert list(done.step_errors) == [None]
    assert (await other.pipeline("commit", CLOSE, baton=honest["baton"]))["results"][0]["type"] == "ok"
    assert await other.rows("select a from t") == [[1]]
    closed, code = Counter[str](), Counter[str]()
    for caller, baton in batons:
        status, body = await caller.post("v3/pipeline", {"baton": baton, "requests": [CLOSE]})
        if status != 200:
            closed[caller.name] += 1
            code[body["code"]] += 1
    assert set(code) == {"STREAM_EXPIRED"}
    assert len(closed) >= 4  # of several, not of one alone
    await until_free(sqld, but=1)  # a cursor of the sixth


async def test_closing_a_stream_gives_its_place_back_at_once(sqld: Sqld, greedy: Caller) -> None:
    batons = [(await begin(greedy))[1]["baton"] for _ in range(EACH)]
    assert (await begin(greedy))[0] == 429
    # One that goes on has its place: whoever is refused more can still finish what is open.
    going_on = (await begin(greedy, batons.pop()))[1]["baton"]
    await greedy.pipeline("commit", CLOSE, baton=going_on)
    assert (await begin(greedy))[0] == 200
    assert (await begin(greedy))[0] == 429
    # A call that fails as a whole ends its stream, too.
    bad = {"type": "execute", "stmt": {"sql_id": 9}}
    assert (await greedy.post("v3/pipeline", {"baton": batons.pop(), "requests": [bad]}))[0] == 400
    refused = {"baton": batons.pop(), "requests": [execute("select readfile('/x')")]}
    kept = (await greedy.post("v3/pipeline", refused))[1]["baton"]  # what is refused is a statement alone
    assert [(await begin(greedy))[0] for _ in range(2)] == [200, 429]
    await greedy.pipeline("commit", CLOSE, baton=kept)
    assert [(await begin(greedy))[0] for _ in range(2)] == [200, 429]
    assert connections(sqld) <= EACH + 2


async def test_a_used_baton_takes_nothing(greedy: Caller) -> None:
    opened = (await begin(greedy))[1]["baton"]
    going_on = (await begin(greedy, opened))[1]["baton"]
    for _ in range(2 * EACH):
        assert (await begin(greedy, opened))[1]["code"] == "BAD_BATON"
    await greedy.pipeline(CLOSE, baton=going_on)
    assert [(await begin(greedy))[0] for _ in range(EACH + 1)] == [*(200,) * EACH, 429]


async def give_up(caller: Caller, endpoint: str, body: Any) -> None:
    """Call something that does not end, and go away."""
    with contextlib.suppress(TimeoutError):
        async with caller.served.http.post(
            caller.url + endpoint,
            json=body,
            headers={"authorization": f"Bearer {caller.token}"},
            timeout=aiohttp.ClientTimeout(0.4),
        ) as reply:
            await reply.read()


@pytest.mark.parametrize("ends", [[CLOSE], []])
async def test_clients_that_go_away_leave_nothing_uncounted(
    sqld: Sqld, served: Served, greedy: Caller, other: Caller, ends: list[Any]
) -> None:
    pipeline = {"requests": [execute(ENDLESS), *ends]}
    cursor_body = {"batch": {"steps": [{"stmt": {"sql": ENDLESS}}]}}
    for _ in range(2):
        await asyncio.gather(*(give_up(greedy, "v3/pipeline", pipeline) for _ in range(12)))
    if ends:  # nothing was left, so nothing is counted
        await until_free(sqld)
        assert [(await begin(greedy))[0] for _ in range(EACH + 1)] == [*(200,) * EACH, 429]
        return
    for _ in range(2):
        await asyncio.gather(*(give_up(greedy, "v3/cursor", cursor_body) for _ in range(12)))
    await many(lambda: begin(greedy), 2 * EACH)
    await must_work(other)
    assert connections(sqld) <= EACH + 2


async def test_calls_that_time_out_are_counted_as_they_end(sqld: Sqld, tmp_path: Path) -> None:
    async with served_by_sqld(tmp_path, sqld, query_timeout_s=0.05) as served:
        caller = await served.database(fresh())
        answers = await asyncio.gather(
            *(caller.post("v3/pipeline", {"requests": [execute(ENDLESS), CLOSE]}) for _ in range(EACH // 2))
        )
        assert {body["code"] for _, body in answers} == {"QUERY_TIMEOUT"}
        await until_free(sqld)
        assert [(await begin(caller))[0] for _ in range(EACH + 1)] == [*(200,) * EACH, 429]


async def test_the_count_is_right_after_sqld_was_killed(sqld: Sqld, greedy: Caller, other: Caller) -> None:
    batons = [(await begin(greedy))[1]["baton"] for _ in range(EACH)]
    sqld.kill()
    assert (await begin(other))[0] == 503
    sqld.start()
    assert (await begin(greedy, batons[0]))[1]["code"] == "BAD_BATON"
    assert [(await begin(greedy))[0] for _ in range(EACH + 1)] == [*(200,) * EACH, 429]
    await must_work(other)
    assert connections(sqld) <= EACH + 2


async def test_a_stream_that_went_on_in_another_process_is_not_harmed(
    sqld: Sqld, served: Served, greedy: Caller, other: Caller, tmp_path: Path
) -> None:
    async with served_by_sqld(tmp_path, sqld) as second:  # the same key
        there = Caller(second, greedy.name, greedy.token)
        await greedy.run("create table t(a)")
        opened = await greedy.pipeline("begin", "insert into t values (1)")
        going_on = await there.pipeline("insert into t values (2)", baton=opened["baton"])
        for caller in (greedy, *[await served.database(fresh()) for _ in range(4)]):
            await many(partial(begin, caller), EACH)
        await must_work(other)
        committed = await there.pipeline("commit", CLOSE, baton=going_on["baton"])
        assert committed["results"][0]["type"] == "ok"
    assert await other.rows("select 1") == [[1]]


async def test_replicas_hold_no_more_than_streams_do(sqld: Sqld, greedy: Caller, other: Caller) -> None:
    """sqld keeps a connection for each id that a replica names, for a minute."""

    def named(number: int) -> str:
        return f"00000000-0000-4000-8000-{number:012}"

    async def write(number: int) -> str | None:
        status: str | None = (await grpc(greedy, "proxy.Proxy/Execute", frame(program("select 1", named(number)))))[1]
        return status

    statuses = [await write(number) for number in range(100)]
    assert statuses == [*(None,) * EACH, *("14",) * (100 - EACH)]
    assert (await grpc(greedy, "proxy.Proxy/Describe", frame(field(1, b"x") + field(2, b"select 1"))))[1] == "14"
    await must_work(other)
    assert connections(sqld) <= EACH + 2
    assert await write(0) is None  # what is open goes on
    await grpc(greedy, "proxy.Proxy/Disconnect", frame(field(1, named(0).encode())))
    assert [await write(number) for number in (200, 201)] == [None, "14"]


async def test_streams_that_were_left_are_forgotten_when_sqld_forgets_them(sqld: Sqld, greedy: Caller) -> None:
    await many(lambda: begin(greedy), EACH)
    await many(lambda: cursor(greedy), 4)
    await asyncio.sleep(STREAM_S)
    assert connections(sqld) == 0
    assert [(await begin(greedy))[0] for _ in range(EACH + 1)] == [*(200,) * EACH, 429]
