"""FTS5's special commands: those that tidy up work, those that set a size do so within bounds, on both engines."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from testbed.sqld import Sqld

from tests.integration.test_sqld_gateway import frame, grpc, program
from tests.support.gateway_app import Caller, Served, served_by_sqld, value

CLOSE = {"type": "close"}
SETUP = (
    "create virtual table ft using fts5(body)",
    "create table docs(id integer primary key, body)",
    "create virtual table \"Ext\" using fts5(body, content='docs', content_rowid='id')",
    "create trigger gone after delete on docs begin"
    " insert into ext(ext, rowid, body) values ('delete', old.id, old.body); end",
    "insert into docs values (1, 'some words')",
    "insert into ext(rowid, body) values (1, 'some words')",
    "create table tag(tag text, rank int)",
)
ALLOWED = (
    "insert into ft(ft) values ('optimize')",
    "insert into ft(ft) values ('rebuild')",
    "insert into ft(ft) values ('integrity-check')",
    "insert into ft(ft, rank) values ('integrity-check', 0)",
    "INSERT INTO main.ft(\"FT\", rank) VALUES ('MERGE', 500), ('merge', -16)",
    "insert into ft(ft, rank) values ('automerge', 8)",
    "insert into ft(ft, rank) values ('usermerge', 4)",
    "insert into ft(rank, ft) values (16, 'crisismerge')",
    "insert into ft(ft, rank) values ('pgsz', 4050)",
    "insert into ft(ft, rank) values ('hashsize', 1048576)",
    "insert into ft(ft, rank) values ('rank', 'bm25(10.0, 5.0)')",
    "insert into ft(body) values ('hashsize')",
    "insert into ft(ft, body) values (null, 'hashsize')",
    "insert into ext(ext) values ('rebuild')",
    "delete from docs where id = 1",
    "insert into tag(tag, rank) values ('hashsize', -1)",
    "insert into tag(tag) select 'pgsz'",
)
REFUSED = (
    "insert into ft(ft, rank) values ('hashsize', 2147483647)",
    "insert into ft(ft, rank) values ('hashsize', 1)",
    "insert into ft(ft, rank) values ('hashsize', 1000*1000*1000)",
    "insert into ft(ft, rank) values ('hashsize', -1)",
    "replace into ft(ft, rank) values ('pgsz', 32)",
    "insert or ignore into ft as x (rank, ft) values (33, 'pgsz')",
    "insert into ft(ft, rank) values ('crisismerge', 1999)",
    "insert into ft(ft, rank) values ('usermerge', 1)",
    "insert into ft(ft, rank) values ('automerge', 1e9)",
    "insert into [ft]('ft', `rank`) values ('merge', 2000000000)",
    "insert into ft(ft, rank) values ('merge', 5), ('hashsize', 5)",
    "insert into ft(ft, rank) values ('rank', 'nothing()')",
    "insert into ft(ft, rank) values ('rank', 'bm25((select 1))')",
    "insert into ft(ft) values ('no such')",
    "insert into ft(ft) values ('opti' || 'mize')",
    "insert into ft(ft) values (x'6f7074696d697a65')",
    "insert into ft(ft, rank) select 'hashsize', 1",
    "with a as (select 'pgsz', 32) insert into ft(ft, rank) select * from a",
    "insert into ft(ft, rank) values ('hashsize', (select 1))",
    "explain insert into ft(ft, rank) values ('hashsize', 1)",
    "insert into eXt(EXT, rank) values ('hashsize', 1)",
)
BOUND: tuple[tuple[str, list[Any]], ...] = (
    ("insert into ft(ft, rank) values (?, ?)", ["hashsize", 1]),
    ("insert into ft(ft, rank) values ('hashsize', ?)", [1]),
    ("insert into ft(ft) values (:c)", ["optimize"]),
)


async def new_database(gateway: Served, profile: str) -> Caller:
    owner = await gateway.database(f"t-{uuid.uuid4().hex[:12]}")
    for sql in SETUP:
        assert "rows" in await owner.run(sql), sql
    return await gateway.caller(owner.name, profile)


async def outcome(caller: Caller, sql: str, args: list[Any]) -> str:
    """`done`, or what the error says."""
    stmt = {"sql": sql, "args": [value(arg) for arg in args]}
    status, body = await caller.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": stmt}, CLOSE]})
    return "done" if status == 200 and body["results"][0]["type"] == "ok" else json.dumps(body)


@pytest.mark.parametrize("profile", ["rows", "full"])
async def test_commands_are_bounded(gateway: Served, profile: str) -> None:
    caller = await new_database(gateway, profile)
    for sql in ALLOWED:
        assert await outcome(caller, sql, []) == "done", sql
    for sql, args in (*((sql, []) for sql in REFUSED), *BOUND):
        found = await outcome(caller, sql, args)
        assert "full-text table" in found, (sql, found)
    _, body = await caller.post(
        "v3/pipeline", {"requests": [{"type": "sequence", "sql": f"select 1; {REFUSED[0]}"}, CLOSE]}
    )
    assert "full-text table" in json.dumps(body)
    steps = {"steps": [{"stmt": {"sql": REFUSED[1]}}]}
    _, body = await caller.post("v1/batch", {"batch": steps})
    assert "full-text table" in json.dumps(body)
    # What it holds is whole.
    assert await outcome(caller, "insert into ft(ft) values ('integrity-check')", []) == "done"
    assert await caller.rows("select count(*) from ft where ft match 'hashsize'") == [[2]]


async def test_replicas_hand_none_on(sqld: Sqld, tmp_path: Path) -> None:
    async with served_by_sqld(tmp_path, sqld) as running:
        caller = await new_database(running, "rows")
        for sql, expected in ((ALLOWED[0], None), (REFUSED[1], "7")):
            status, grpc_status, _ = await grpc(caller, "proxy.Proxy/Execute", frame(program(sql)))
            assert (status, grpc_status) == (200, expected), sql
