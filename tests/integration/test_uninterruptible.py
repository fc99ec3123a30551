"""After a statement that nothing stops: its own tenant is told so at once, and in true words; others go on."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from testbed.sqld import Sqld

from tests.support.gateway_app import Caller, Served, codes_in, served, served_by_sqld, served_by_supervised_sqld

CLOSE = {"type": "close"}
# Takes 10 s on a quiet machine; no interrupt reaches into one call of a function.
LONG_SEARCH = "select instr(x, substr(x, 1, length(x) / 2) || '1') from t"
PROMPT_S = 5.0


@pytest.fixture(params=["files", "sqld"])
async def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    if request.param == "files":
        async with served(tmp_path, query_timeout_s=1.0) as running:
            yield running
    else:
        async with served_by_supervised_sqld(tmp_path, 256, query_timeout_s=1.0, cores=2) as running:
            yield running


async def ask(caller: Caller, sql: str) -> tuple[int, Any, str | None, float]:
    """Status, code or result, `Retry-After`, and how long it took."""
    began = time.monotonic()
    async with caller.served.http.post(
        caller.url + "v3/pipeline",
        json={"requests": [{"type": "execute", "stmt": {"sql": sql}}, CLOSE]},
        headers={"authorization": f"Bearer {caller.token}"},
    ) as reply:
        body = await reply.json()
        return (reply.status, body.get("message", body), reply.headers.get("retry-after"), time.monotonic() - began)


async def test_a_tenant_whose_statement_goes_on_is_told_so_at_once(gateway: Served) -> None:
    caller = await gateway.database(f"t-{uuid.uuid4().hex[:12]}")
    bystander = await gateway.database(f"t-{uuid.uuid4().hex[:12]}")
    await caller.run("create table t(x)")
    await caller.run("insert into t values (hex(zeroblob(600000)))")
    long = [asyncio.create_task(ask(caller, LONG_SEARCH))]
    await asyncio.sleep(3.0)
    for sql in ("select 1", "insert into t values (1)", "begin"):
        status, message, retry_after, took_s = await ask(caller, sql)
        assert status == 429, message
        assert "goes on past its limit and cannot be stopped" in message
        assert retry_after is not None
        assert took_s < PROMPT_S
    assert await bystander.rows("select 1") == [[1]]
    for task in long:
        task.cancel()


async def test_those_who_waited_already_are_told_too(gateway: Served) -> None:
    caller = await gateway.database(f"t-{uuid.uuid4().hex[:12]}")
    await caller.run("create table t(x)")
    await caller.run("insert into t values (hex(zeroblob(600000)))")
    # On files a tenant has four places, on sqld as many as there are cores.
    long = [asyncio.create_task(ask(caller, LONG_SEARCH)) for _ in range(4)]
    await asyncio.sleep(0.3)
    status, message, retry_after, took_s = await ask(caller, "select 1")
    if status != 200:
        assert status == 429, message
        assert "goes on past its limit and cannot be stopped" in message
        assert retry_after is not None
    assert took_s < 2 * PROMPT_S
    for task in long:
        task.cancel()


async def test_tenants_who_do_so_together_hold_nobody_up(tmp_path: Path) -> None:
    async with served_by_supervised_sqld(tmp_path, 256, query_timeout_s=1.0, cores=2, stuck_s=4.0) as running:
        hostile = [await running.database(f"t-{uuid.uuid4().hex[:12]}") for _ in range(5)]
        bystander = await running.database(f"t-{uuid.uuid4().hex[:12]}")
        for caller in hostile:
            await caller.run("create table t(x)")
            await caller.run("insert into t values (hex(zeroblob(600000)))")
        turns = running.provider.watch.turns
        tasks = [asyncio.create_task(ask(caller, LONG_SEARCH)) for caller in hostile]
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            began = time.monotonic()
            assert await bystander.rows("select 1") == [[1]]
            assert time.monotonic() - began < PROMPT_S / 2
            assert turns.unstoppable <= 1
            await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        # Who calls such a function in good faith waits until the server is started again.
        status, message, _, took_s = await ask(bystander, "select replace('abc', 'b', 'x')")
        assert status == 200, message
        assert took_s < 3 * PROMPT_S


@pytest.mark.parametrize("sql", ["select instr(?, ?)", "select instr(x, ?) from t where x = ?"])
async def test_two_long_arguments_are_not_compared(sqld: Sqld, tmp_path: Path, sql: str) -> None:
    async with served_by_sqld(tmp_path, sqld) as running:
        caller = await running.database(f"t-{uuid.uuid4().hex[:12]}")
        await caller.run("create table t(x)")
        text = {"type": "text", "value": "0" * 1_000_000}
        for requests in (
            [{"type": "execute", "stmt": {"sql": sql, "args": [text, text]}}],
            [
                {"type": "store_sql", "sql_id": 1, "sql": sql},
                {"type": "execute", "stmt": {"sql_id": 1, "args": [text, text]}},
            ],
        ):
            status, body = await caller.post("v3/pipeline", {"requests": [*requests, CLOSE]})
            assert (status, codes_in(body)) == (200, ["SQLITE_AUTH"])
        assert (await caller.run("insert into t values (?)", "0" * 2_000_000))["affected_row_count"] == 1
