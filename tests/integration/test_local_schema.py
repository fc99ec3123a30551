"""Files: what is known of a schema is no longer true after whatever changed it, here or in another process."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_app import Caller, Served, served

CLOSE = {"type": "close"}
DOUBLING = [
    "create view w0 as select 1 x",
    *(f"create view w{i} as select a.x from w{i - 1} a, w{i - 1} b" for i in range(1, 24)),
]
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for sql in sys.argv[2:]:
    connection.execute(sql)
"""


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, query_timeout_s=5.0) as running:
        yield running


async def in_another_process(gateway: Served, name: str, sqls: list[str]) -> None:
    """As another process of an older version would."""
    path = str(gateway.provider._files.path_of(name))
    run = [sys.executable, "-c", WRITER, path, *sqls]
    await asyncio.to_thread(subprocess.run, run, check=True, timeout=60)


async def test_views_that_another_process_makes_are_known_a_moment_later(gateway: Served) -> None:
    caller = await gateway.database("one")
    await asyncio.gather(*(caller.rows("select count(*) from sqlite_schema") for _ in range(8)))
    await in_another_process(gateway, "one", DOUBLING)
    await asyncio.sleep(0.2)
    for sql in ("select * from w23", "create view more as select * from w23"):
        assert "too large" in (await caller.run(sql))["message"], sql
    await in_another_process(gateway, "one", [f"drop view w{i}" for i in range(23, 5, -1)])
    await asyncio.sleep(0.2)
    assert await caller.rows("select x from w5") == [[1]]


async def test_what_one_connection_changes_the_others_know_at_once(gateway: Served) -> None:
    caller = await gateway.database("two")
    for turn in range(10):
        # In a transaction of its own, which the others do not see before it ends.
        first = await caller.pipeline("begin", f"create view v{turn} as select {turn} x")
        assert await caller.rows("select count(*) from sqlite_schema") == [[turn]]
        await caller.pipeline("commit", CLOSE, baton=first["baton"])
        found = await asyncio.gather(*(caller.rows(f"select x from v{turn}") for _ in range(6)))
        assert found == [[[turn]]] * 6
        big = " union all ".join(f"select x from v{turn}" for _ in range(90))
        assert "rows" in await caller.run(f"create view c{turn} as {big}")
        await asyncio.gather(*(is_refused(caller, f"c{turn}") for _ in range(6)))
        await caller.run(f"drop view c{turn}")


async def is_refused(caller: Caller, view: str) -> None:
    """A statement that is too large only if one knows the view."""
    many = " union all ".join(f"select * from {view}" for _ in range(20))
    assert "too large" in (await caller.run(f"select count(*) from ({many})"))["message"]


@pytest.mark.parametrize("back", ["rollback to s", "rollback"])
async def test_a_change_that_is_taken_back_is_not_mistaken_for_the_next(gateway: Served, back: str) -> None:
    """Both give the schema the same version."""
    caller = await gateway.database("three")
    await caller.run("create view small as select 1 x")
    many = " union all ".join(["select x from small"] * 90)
    again = ["begin", "savepoint s"] if back == "rollback" else []
    requests: list[Any] = [
        *("begin", "savepoint s", "create view v as select 1 x", "select * from v", back, *again),
        *(f"create view v as {many}", f"select count(*) from ({many.replace('small', 'v')})", CLOSE),
    ]
    results = (await caller.pipeline(*requests))["results"]
    made, asked = results[-3:-1]
    assert made["type"] == "ok", made
    assert "too large" in asked["error"]["message"], asked
