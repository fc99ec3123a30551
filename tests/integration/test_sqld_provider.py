"""What the sqld provider does besides its port: keys, limits, suspension, forks, a server that is away."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from testbed.sqld import ADMIN_KEY, Sqld, running_sqld

from freehold.errors import Conflict, NotFound, ProviderUnavailable
from freehold.providers.sqld.client.keys import NamespaceKeys
from freehold.providers.sqld.provider import SqldProvider
from tests.integration.libsql_parts import SLOW, SLOW_ROWS
from tests.support.gateway_app import Caller, Served, served_by_sqld
from tests.support.stalls import assert_loop_is_free


@pytest.fixture
def sqld() -> Iterator[Sqld]:
    with running_sqld() as running:
        yield running


@pytest.fixture
async def served(sqld: Sqld, tmp_path: Path) -> AsyncIterator[Served]:
    async with served_by_sqld(tmp_path, sqld, admin_timeout_s=1.0, query_timeout_s=0.6) as running:
        yield running


def config(sqld: Sqld, name: str) -> Any:
    return sqld.admin("GET", f"/v1/namespaces/{name}/config").json()


async def test_a_namespace_has_its_own_key_a_limit_and_synced_commits(served: Served, sqld: Sqld) -> None:
    await served.database("one")
    await served.database("two")
    one, two = config(sqld, "one"), config(sqld, "two")
    assert one["jwt_key"] == NamespaceKeys(served.key).public_text("one")
    assert one["jwt_key"] != two["jwt_key"]
    assert one["durability_mode"] == "strong"
    assert one["max_db_size"] == "512.0 MB"
    assert one["allow_attach"] is False


async def test_a_namespace_that_was_left_without_its_key_gets_it(served: Served, sqld: Sqld) -> None:
    sqld.create("one")
    caller = await served.database("one")
    assert config(sqld, "one")["jwt_key"] == NamespaceKeys(served.key).public_text("one")
    assert (await caller.rows("select 1")) == [[1]]


async def test_suspending_keeps_the_key_and_the_limit(served: Served, sqld: Sqld) -> None:
    caller = await served.database("one")
    before = config(sqld, "one")
    await served.provider.suspend("one", "unpaid")
    assert config(sqld, "one")["block_reason"] == "unpaid"
    error = await caller.run("select 1")
    assert error["code"] == "BLOCKED"
    assert "unpaid" in error["message"]
    await served.provider.create("one")  # a provisioner that comes by must not open it again
    assert config(sqld, "one")["block_reads"] is True
    await served.provider.resume("one")
    assert config(sqld, "one") == before
    with pytest.raises(NotFound):
        await served.provider.suspend("missing")


async def test_a_database_over_its_limit_says_so(sqld: Sqld, tmp_path: Path) -> None:
    async with served_by_sqld(tmp_path, sqld, max_size_bytes=200_000) as served:
        caller = await served.database("one")
        await caller.run("create table t(a)")
        error = await caller.run("insert into t values (zeroblob(400000))")
        assert error["code"] == "SQLITE_FULL"


async def test_a_fork_has_its_own_key_and_is_open(served: Served, sqld: Sqld) -> None:
    source = await served.database("one")
    await source.run("create table t(a)")
    await served.provider.suspend("one")
    await served.provider.fork("one", "two")
    fork = await served.caller("two")
    assert await fork.rows("select * from t") == []
    assert config(sqld, "two")["jwt_key"] == NamespaceKeys(served.key).public_text("two")
    with pytest.raises(Conflict):
        await served.provider.fork("one", "two")
    with pytest.raises(NotFound):
        await served.provider.fork("missing", "three")


async def test_a_fork_that_was_stopped_half_way_is_finished(served: Served, sqld: Sqld) -> None:
    await served.database("one")
    sqld.admin("POST", "/v1/namespaces/one/fork/two").raise_for_status()
    await served.provider.fork("one", "two")
    assert await (await served.caller("two")).rows("select 1") == [[1]]


async def test_a_wrong_admin_key_is_told(sqld: Sqld) -> None:
    provider = SqldProvider(sqld.url, sqld.admin_url, "wrong", Ed25519PrivateKey.generate(), "http://x")
    try:
        with pytest.raises(ProviderUnavailable, match="SQLD_ADMIN_KEY"):
            await provider.check()
        with pytest.raises(ProviderUnavailable, match="SQLD_ADMIN_KEY"):
            await provider.create("one")
    finally:
        await provider.aclose()


async def test_ports_that_are_mixed_up_are_told(sqld: Sqld) -> None:
    """The admin port answers 200 to what it does not know; that must not pass for an answer."""
    provider = SqldProvider(sqld.admin_url, sqld.url, ADMIN_KEY, Ed25519PrivateKey.generate(), "http://x")
    try:
        with pytest.raises(ProviderUnavailable):
            await provider.check()
    finally:
        await provider.aclose()


async def test_another_private_key_opens_nothing(served: Served, sqld: Sqld, tmp_path: Path) -> None:
    await served.database("one")
    (tmp_path / "other").mkdir()
    async with served_by_sqld(tmp_path / "other", sqld) as other:
        status, body = await (await other.caller("one")).post("v3/pipeline", {"requests": []})
        assert status == 503
        assert "answer now" in body["message"]


async def test_a_server_that_hangs_is_given_up_in_time(served: Served, sqld: Sqld) -> None:
    caller = await served.database("one")
    sqld.pause()
    try:
        began = time.monotonic()
        for act in (served.provider.create, served.provider.find, served.provider.delete):
            with pytest.raises(ProviderUnavailable):
                await act("two")
        with pytest.raises(ProviderUnavailable):
            await served.provider.check()
        status, _ = await caller.post("v3/pipeline", {"requests": []})
        assert status == 503
        assert time.monotonic() - began < 15
    finally:
        sqld.resume()
    assert await caller.rows("select 1") == [[1]]


async def test_a_stopped_server_is_503_and_the_next_call_finds_it_again(served: Served, sqld: Sqld) -> None:
    caller = await served.database("one")
    await caller.run("create table t(a)")
    sqld.kill()
    async with served.http.post(
        f"{caller.url}v3/pipeline", json={"requests": []}, headers={"authorization": f"Bearer {caller.token}"}
    ) as reply:
        assert reply.status == 503
        assert reply.headers["retry-after"]
        assert set(await reply.json()) == {"message", "code"}
    sqld.start()
    assert await caller.rows("select * from t") == []


async def test_a_transaction_that_a_restart_ends_leaves_nothing(served: Served, sqld: Sqld) -> None:
    caller = await served.database("one")
    await caller.run("create table t(a)")
    opened = await caller.pipeline("begin immediate", "insert into t values (1)")
    sqld.kill()
    sqld.start()
    status, body = await caller.post(
        "v3/pipeline", {"baton": opened["baton"], "requests": [{"type": "execute", "stmt": {"sql": "commit"}}]}
    )
    assert (status, body["code"]) == (400, "BAD_BATON")
    assert await caller.rows("select * from t") == []


async def test_a_slow_statement_holds_up_nobody_else(sqld: Sqld, tmp_path: Path) -> None:
    async with served_by_sqld(tmp_path, sqld, query_timeout_s=60.0) as served:
        caller = await served.database("one")

        async def slow() -> None:
            assert await caller.rows(SLOW.format(n=SLOW_ROWS)) == [[SLOW_ROWS]]

        await assert_loop_is_free(slow)


async def test_a_statement_that_never_ends_is_stopped_and_told(served: Served, sqld: Sqld) -> None:
    caller = await served.database("one")
    await caller.run("create table t(a)")
    slow = "insert into t with recursive n(x) as (select 1 union all select x + 1 from n) select x from n"
    body = {"requests": [{"type": "execute", "stmt": {"sql": slow}}]}
    status, answer = await caller.post("v3/pipeline", body)
    assert (status, answer["code"]) == (400, "QUERY_TIMEOUT")
    assert await caller.rows("select count(*) from t") == [[0]]
    await caller.run("insert into t values (1)")  # nobody holds the lock
    assert await caller.rows("select a from t") == [[1]]


async def test_a_client_that_goes_away_ends_its_statement(served: Served) -> None:
    """Its connection to sqld is closed, and everybody else goes on."""
    caller = await served.database("one")
    other = await served.database("two")
    slow = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"
    call = asyncio.create_task(caller.run(slow))
    await asyncio.sleep(0.3)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert await other.rows("select 1") == [[1]]
    upstream = served.provider._upstream
    for _ in range(100):
        if not any(connection.is_busy for connection in upstream._open):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the statement's connection is still open")


async def test_a_cursor_whose_rows_never_end_is_stopped(served: Served) -> None:
    """After its first rows nothing more comes: the answer has begun, and its time is limited all the same."""
    caller = await served.database("one")
    some = "select printf('%05000d', value) from generate_series(1, 500)"
    forever = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"
    body = {"batch": {"steps": [{"stmt": {"sql": f"select * from ({some}) union all select * from ({forever})"}}]}}
    headers = {"authorization": f"Bearer {caller.token}"}
    async with asyncio.timeout(20):
        async with served.http.post(f"{caller.url}v3/cursor", json=body, headers=headers) as reply:
            assert reply.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
    assert not any(connection.is_busy for connection in served.provider._upstream._open)
    assert await caller.rows("select 1") == [[1]]


async def test_one_tenants_calls_leave_room_for_the_others(served: Served) -> None:
    greedy = await served.database("one")
    other = await served.database("two")
    slow = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"
    body = {"requests": [{"type": "execute", "stmt": {"sql": slow}}]}
    calls = [asyncio.create_task(greedy.post("v3/pipeline", body)) for _ in range(130)]
    await asyncio.sleep(0.3)
    assert await other.rows("select 1") == [[1]]
    statuses = {status for status, _ in await asyncio.gather(*calls)}
    assert statuses <= {400, 429}
    assert 429 in statuses


async def test_a_large_answer_streams_through_whole(served: Served) -> None:
    caller = await served.database("one")
    await caller.run("create table t(a)")
    await caller.run("insert into t select printf('%05000d', value) from generate_series(1, 1500)")
    rows = await caller.rows("select a from t")
    assert [len(rows), {len(row[0]) for row in rows}] == [1500, {5000}]
    error = await caller.run("select a, a as b from t")
    assert error["code"] == "RESPONSE_TOO_LARGE"


async def test_a_slow_reader_is_not_read_ahead_of_without_end(sqld: Sqld, tmp_path: Path) -> None:
    async with served_by_sqld(tmp_path, sqld, query_timeout_s=60.0) as served:
        caller = await served.database("one")
        await caller.run("create table t(a)")
        await caller.run("insert into t select printf('%05000d', value) from generate_series(1, 1500)")
        body = {"batch": {"steps": [{"stmt": {"sql": "select a from t"}}]}}
        headers = {"authorization": f"Bearer {caller.token}"}
        async with (
            aiohttp.ClientSession(read_bufsize=1024) as http,
            http.post(f"{caller.url}v3/cursor", json=body, headers=headers) as reply,
        ):
            assert reply.status == 200
            await asyncio.sleep(0.5)
            held = max((connection._held for connection in served.provider._upstream._open), default=0)
            assert held < 3_000_000
            kinds = [json.loads(line).get("type") for line in (await reply.read()).splitlines()]
    assert kinds[:2] == [None, "step_begin"]  # the first has the baton
    assert kinds.count("row") == 1500
    assert "step_end" in kinds


async def test_a_cursor_goes_on_with_a_baton_of_ours(served: Served) -> None:
    caller = await served.database("one")
    opened = await caller.pipeline("begin", "create table t(a)")
    headers = {"authorization": f"Bearer {caller.token}"}
    body = {"baton": opened["baton"], "batch": {"steps": [{"stmt": {"sql": "insert into t values (1)"}}]}}
    async with served.http.post(f"{caller.url}v3/cursor", json=body, headers=headers) as reply:
        first = await reply.content.readline()
        await reply.read()
    assert reply.status == 200
    await caller.pipeline("commit", {"type": "close"}, baton=json.loads(first)["baton"])
    assert await caller.rows("select a from t") == [[1]]


def with_argument(argument: bytes) -> bytes:
    return b'{"requests": [{"type": "execute", "stmt": {"sql": "select ?", "args": [' + argument + b"]}}]}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"requests": 1}',
        b'{"requests": [{"type": "nonsense"}]}',
        b'{"requests": [{"type": "execute", "stmt": {}}]}',
        b'{"requests": [{"type": "execute", "stmt": {"sql_id": 5}}]}',
        b'{"requests": [{"type": "execute", "stmt": {"sql": "\\ud800"}}]}',
        with_argument(b'{"type": "integer", "value": "x"}'),
        with_argument(b'{"type": "blob", "base64": "%"}'),
        b'{"requests": ['
        + b'{"type":"batch","batch":{"steps":[{"stmt":{"sql":""},"condition":'
        + b'{"type":"not","cond":' * 5000
        + b"1"
        + b"}" * 5000
        + b"}]}}]}",
        b"\xff\xfe",
    ],
)
async def test_a_body_that_is_not_hrana_is_400(served: Served, body: bytes) -> None:
    caller: Caller = await served.database("one")
    status, answer = await caller.post("v3/pipeline", body)
    assert status == 400, answer
    assert set(answer) == {"message", "code"}


async def test_failures_of_sql_are_never_a_5xx(served: Served) -> None:
    caller = await served.database("one")
    for sql in ("select * from missing", "selec", "", "insert into missing values (1)", "select 1; select 2"):
        for endpoint, body in (
            ("v1/execute", {"stmt": {"sql": sql}}),
            ("v1/batch", {"batch": {"steps": [{"stmt": {"sql": sql}}]}}),
        ):
            status, answer = await caller.post(endpoint, body)
            assert status < 500, (endpoint, sql, answer)
        headers = {"authorization": f"Bearer {caller.token}"}
        body = {"batch": {"steps": [{"stmt": {"sql": sql}}]}}
        async with served.http.post(f"{caller.url}v3/cursor", json=body, headers=headers) as reply:
            assert reply.status < 500, (sql, await reply.text())
