"""Strangers who send SQL that is long to read take time from themselves, and a moment from everybody else."""

import asyncio
import contextlib
import json
import time

from freehold.sql.guard import MAX_LENGTH
from tests.support.gateway_app import Caller, Served

LONG = "select 1 as pragma" + ",1" * 1_000_000  # a watched word, so that each token of it must be looked at
CLOSE = {"type": "close"}
# The machine of the tests may be crowded. Before, these took more than half a minute.
BOUND_S = 8.0


async def longest_s(caller: Caller, until: asyncio.Event) -> float:
    """How long a bystander's call took at most, until the event."""
    longest = 0.0
    while not until.is_set():
        for sql, args in (("select 1", ()), ("insert into notes values (?)", ("x" * 80_000,))):
            began = time.monotonic()
            result = await caller.run(sql, *args)
            longest = max(longest, time.monotonic() - began)
            assert "rows" in result, result
        await asyncio.sleep(0.05)
    return longest


async def test_others_go_on_while_strangers_send_long_sql(gateway: Served) -> None:
    bystander = await gateway.database("bystander")
    await bystander.run("create table notes(a)")
    strangers = [await gateway.database(f"stranger-{number}") for number in range(4)]
    body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": LONG}}, CLOSE]}).encode()
    is_over = asyncio.Event()
    watching = asyncio.create_task(longest_s(bystander, is_over))
    calls = [asyncio.create_task(each.post("v3/pipeline", body)) for each in strangers for _ in range(4)]
    _, late = await asyncio.wait(calls, timeout=20)
    is_over.set()
    longest = await watching
    for call in late:
        call.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    assert longest < BOUND_S
    for call in set(calls) - set(late):
        _status, answer = call.result()
        assert "words and signs" in json.dumps(answer) or "too many requests" in json.dumps(answer)


async def test_sql_that_is_too_long_is_refused_and_long_arguments_are_not(gateway: Served) -> None:
    caller = await gateway.database("long")
    await caller.run("create table notes(a)")
    requests = [{"type": "execute", "stmt": {"sql": f"select '{'x' * MAX_LENGTH}'"}}, CLOSE]
    status, answer = await caller.post("v3/pipeline", {"requests": requests})
    assert f"longer than {MAX_LENGTH} characters" in json.dumps(answer), (status, str(answer)[:300])
    for length in (10, 100_000, 3_000_000):
        result = await caller.run("insert into notes values (?)", "x" * length)
        assert result["affected_row_count"] == 1


async def test_a_batch_insert_of_a_megabyte_of_literals_passes(gateway: Served) -> None:
    caller = await gateway.database("literals")
    await caller.run("create table notes(a, b)")
    rows = ",".join(f"({number}, 'it has pragma in it, and select from with')" for number in range(18_000))
    result = await caller.run(f"insert into notes values {rows}")
    assert result.get("affected_row_count") == 18_000, result
    assert await caller.rows("select count(*) from notes") == [[18_000]]


async def test_whoever_goes_away_leaves_the_place_to_the_next(gateway: Served) -> None:
    stranger = await gateway.database("leaving")
    body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": LONG}}, CLOSE]}).encode()
    calls = [asyncio.create_task(stranger.post("v3/pipeline", body)) for _ in range(8)]
    await asyncio.sleep(0.3)
    for call in calls:
        call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*calls)
    began = time.monotonic()
    assert await stranger.rows("select 1") == [[1]]
    await stranger.run("create table notes(a)")
    result = await stranger.run("insert into notes values (?)", "x" * 80_000)
    assert result["affected_row_count"] == 1
    assert time.monotonic() - began < BOUND_S
