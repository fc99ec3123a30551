"""What a single SELECT ended sqld with: patterns that need a deep stack, functions that write past their memory."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from testbed.sqld import Sqld

from tests.support.gateway_app import Served, codes_in, served_by_sqld

WILDCARDS = 24_900
CLOSE = {"type": "close"}


@pytest.fixture
async def served(sqld: Sqld, tmp_path: Path) -> AsyncIterator[Served]:
    async with served_by_sqld(tmp_path, sqld) as running:
        yield running


def text(value: str) -> dict[str, str]:
    return {"type": "text", "value": value}


@pytest.mark.parametrize(
    ("sql", "wildcard"), [("SELECT ? LIKE ?", "%"), ("SELECT ? GLOB ?", "*"), ("SELECT ? LIKE '' || ? ESCAPE '!'", "%")]
)
@pytest.mark.parametrize("access", ["read_only", "full"])
async def test_a_pattern_of_wildcards_ends_nobody(
    served: Served, sqld: Sqld, sql: str, wildcard: str, access: str
) -> None:
    caller = await served.database(f"t-{uuid.uuid4().hex[:12]}", access)
    arguments = [text("a" * (WILDCARDS + 50)), text(f"{wildcard}a" * WILDCARDS + "b")]
    statement = {"sql": sql, "args": arguments}
    status, body = await caller.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": statement}, CLOSE]})
    assert status == 200, body
    assert body["results"][0]["response"]["result"]["rows"] == [[{"type": "integer", "value": "0"}]]
    assert sqld.is_running


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(replicate('aaaaaaaaaaaaaaaa', 268435457))",
        "SELECT length(Replicate(?, 268435457))",
        "SELECT length(\"padl\"('a', 4294967297))",
        "SELECT length([padr] ('a', 1 << 32))",
        "SELECT length(padc/**/('a', 4294967298))",
        "SELECT strfilter(hex(zeroblob(1000000)), hex(zeroblob(1000000)) || 'x')",
        "SELECT libsql_vector_idx()",
        'SELECT 1 ORDER BY "libsql_vector_idx" ( /**/ )',
        "SELECT libsql_vector_idx(1)",
        "CREATE TABLE t (a, b AS (libsql_vector_idx()))",
        "CREATE TEMP VIEW v AS SELECT libsql_vector_idx()",
        "CREATE INDEX i ON t (libsql_vector_idx())",
        "CREATE INDEX i ON t (libsql_vector_idx(e)) WHERE libsql_vector_idx()",
        "WITH v(a) AS (SELECT replicate('a', 4294967296)) SELECT length(a) FROM v",
    ],
)
@pytest.mark.parametrize("access", ["read_only", "full"])
async def test_a_function_that_writes_past_its_memory_is_refused(
    served: Served, sqld: Sqld, sql: str, access: str
) -> None:
    caller = await served.database(f"t-{uuid.uuid4().hex[:12]}", access)
    status, body = await caller.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": sql}}, CLOSE]})
    assert (status, codes_in(body)) == (200, ["SQLITE_AUTH"]), body
    assert sqld.is_running


async def test_a_table_may_have_such_a_name(served: Served) -> None:
    caller = await served.database(f"t-{uuid.uuid4().hex[:12]}")
    await caller.run("create table replicate (padl text, padr)")
    await caller.run("insert into replicate (padl) values ('left')")
    assert await caller.rows("select padl from replicate") == [["left"]]
