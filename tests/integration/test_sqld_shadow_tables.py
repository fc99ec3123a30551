"""Tables that belong to indexes and virtual tables of sqld are written by nobody else, however it is tried.

Whoever writes one of a vector index ends the whole server by the next search.
"""

import asyncio
import itertools
import uuid
from pathlib import Path
from typing import Any

import pytest
from testbed.sqld import Sqld

from tests.support.gateway_app import Caller, Served, codes_in, served_by_sqld, value

V = "vector('[1,2,3,4,5,6,7,8]')"
SEARCH = f"select * from vector_top_k('vi', {V}, 5)"
NEW_INDEX = "create index vj on vt(libsql_vector_idx(e))"
CLOSE = {"type": "close"}
SETUP = (
    "create table vt (id integer primary key, e F32_BLOB(8))",
    "create index vi on vt(libsql_vector_idx(e))",
    f"insert into vt values (1, {V}), (2, {V})",
    "create virtual table ft using fts5(body)",
    "insert into ft values ('some words')",
    "create virtual table rt using rtree(id, a, b)",
    "insert into rt values (1, 0, 1)",
    "create virtual table gp using geopoly(a)",
    "create table plain(id integer primary key, a)",
    "insert into plain values (1, 'x')",
    "create table user_data(a)",
)


@pytest.fixture(autouse=True)
def sqld_stays_alive(sqld: Sqld) -> Any:
    yield
    assert sqld.is_running, sqld.log()[-1000:]


@pytest.fixture
async def db(served: Served) -> Caller:
    caller = await served.database(f"t-{uuid.uuid4().hex[:12]}")
    for sql in SETUP:
        result = await caller.run(sql)
        assert "rows" in result, (sql, result)
    return caller


async def outcome(caller: Caller, *sqls: str) -> str:
    """`refused`, or `error` by sqld, or `done`; sent as one pipeline."""
    requests = [*({"type": "execute", "stmt": {"sql": sql}} for sql in sqls), CLOSE]
    status, body = await caller.post("v3/pipeline", {"requests": requests})
    assert status == 200, body
    codes = codes_in(body)
    return "refused" if "SQLITE_AUTH" in codes else "error" if codes else "done"


SHADOWS = (
    *("vi_shadow", "libsql_vector_meta_shadow", "ft_data", "ft_idx", "ft_content", "ft_docsize", "ft_config"),
    *("rt_node", "rt_rowid", "rt_parent", "gp_node", "gp_rowid", "gp_parent"),
)
SPELLINGS = ("{0}", '"{0}"', "[{0}]", "`{0}`", "'{0}'", 'main."{0}"', "main . [{0}]", "/**/main/**/./**/{0}--\n", "{1}")
WRITES = (
    "update {} set rowid = rowid",
    "update or replace {} set rowid = rowid + 1",
    "delete from {}",
    "delete from {} where rowid in (select id from plain) returning *",
    "insert into {} default values",
    "insert or ignore into {} select * from plain",
    "replace into {} values (1, 2)",
    "with c as (select 1) insert into {} select * from c",
    "with c as (select 1) update {} set rowid = 1 from c",
    "insert into {} values (1, 2) on conflict do update set rowid = 2",
    "alter table {} rename to other",
    "alter table {} add column more",
    "alter table {} drop column data",
    "drop table {}",
    "drop table if exists {}",
    "create table if not exists {} (a)",
    "create index bad on {} (rowid)",
    "create trigger bad after insert on {} begin select 1; end",
    "create trigger bad after insert on plain begin update {} set rowid = rowid; end",
    "create trigger bad after insert on plain begin select 1; delete from {}; end",
    "explain update {} set rowid = rowid",
)


@pytest.mark.parametrize("write", WRITES)
async def test_no_spelling_of_a_write_reaches_a_shadow_table(db: Caller, write: str) -> None:
    for name, spelling in itertools.product(SHADOWS, SPELLINGS):
        sql = write.format(spelling.format(name, name.upper()))
        if ("trigger" in write and "begin select 1; end" not in write) and "main" in spelling:
            continue  # no trigger's body may name a schema
        assert await outcome(db, sql) == "refused", sql
    assert "rows" in await db.run(SEARCH)
    assert await db.rows("select count(*) from ft where ft match 'words'") == [[1]]


async def test_an_index_is_made_again_although_the_engine_leaves_a_table_of_the_last_one(served: Served) -> None:
    db = await served.database(f"t-{uuid.uuid4().hex[:12]}")
    await db.run("create table vt (id integer primary key, e F32_BLOB(8), words TEXT)")
    await db.run("create index vi on vt(libsql_vector_idx(e))")
    await db.run("drop index vi")
    left = "libsql_vector_meta_shadow"
    assert await db.rows("select name from sqlite_schema where name glob '*_shadow'") == [[left]]
    for write in (
        f"insert into {left} values ('vi', x'00')",
        f"drop table {left}",
        f"alter table {left} rename to mine",
    ):
        assert await outcome(db, write) == "refused", write
    assert await outcome(db, "create index vi on vt(libsql_vector_idx(e))") == "done"
    await db.run(f"insert into vt values (1, {V}, 'one')")
    assert await db.rows(SEARCH) == [[1]]


@pytest.mark.parametrize(
    "sqls",
    [
        # The table is there first, and the index takes it for its own.
        ("create table vj_shadow(index_key integer primary key, data blob)", NEW_INDEX),
        ("create table other(a)", "alter table other rename to vj_shadow", NEW_INDEX),
        # A trigger is there first.
        (
            "create table vj_shadow(index_key integer primary key, data blob)",
            "create trigger g after insert on plain begin update vj_shadow set data = randomblob(9); end",
            "drop table vj_shadow",
            NEW_INDEX,
        ),
        (
            "create table fu_data(id, block)",
            "create trigger g after insert on plain begin select case when 1 then 2 end; delete from fu_data; end",
            "drop table fu_data",
            "create virtual table fu using fts5(a)",
        ),
        (
            "create table fv_data(id, block)",
            "create trigger g after insert on plain begin delete from fv_data; end",
            "drop table fv_data",
            "create virtual table fu using fts5(a)",
            "alter table fu rename to fv",
        ),
        # All in one go.
        (NEW_INDEX, "update vj_shadow set data = randomblob(length(data))"),
        ("create virtual table fu using fts5(a)", "delete from fu_data"),
        ("create virtual table fu using fts5(a)", "alter table fu rename to fw", "delete from fw_data"),
        ("begin", "create virtual table fu using fts5(a)", "delete from fu_data", "commit"),
    ],
)  # fmt: skip
async def test_no_order_of_statements_reaches_a_shadow_table(db: Caller, sqls: tuple[str, ...]) -> None:
    assert await outcome(db, *sqls) == "refused"
    outcomes = []
    for sql in sqls:
        outcomes.append(await outcome(db, sql))
    assert "refused" in outcomes or outcomes[0] == "done", outcomes
    if "begin" not in sqls:
        assert outcomes[-1] == "refused", outcomes
    assert "rows" in await db.run(SEARCH)


async def test_a_transaction_that_stays_open_hides_nothing(db: Caller) -> None:
    opened = await db.pipeline("begin", "create index vj on vt(libsql_vector_idx(e))")
    status, body = await db.post(
        "v3/pipeline",
        {"baton": opened["baton"], "requests": [{"type": "execute", "stmt": {"sql": "delete from vj_shadow"}}]},
    )
    assert (status, codes_in(body)) == (200, ["SQLITE_AUTH"])


async def test_what_is_stored_hides_nothing(db: Caller) -> None:
    stored = {"type": "store_sql", "sql_id": 1, "sql": "update vj_shadow set data = x''"}
    run = {"type": "execute", "stmt": {"sql_id": 1}}
    opened = await db.pipeline(stored)
    assert codes_in(await db.pipeline(run, CLOSE, baton=opened["baton"])) == ["SQLITE_AUTH"]
    made = {"type": "execute", "stmt": {"sql": "create index vj on vt(libsql_vector_idx(e))"}}
    await db.pipeline(stored, made, run, CLOSE)
    assert await outcome(db, "update vi_shadow set data = x''") == "refused"
    assert "rows" in await db.run(SEARCH)


async def test_nobody_overtakes_a_new_index(db: Caller) -> None:
    """Many at once: writers of a table, and one who makes it a shadow table."""
    for number in range(5):
        table = f"race{number}"
        await db.run(f"create table {table}_data(id, block)")
        make = [f"drop table {table}_data", f"create virtual table {table} using fts5(a)"]
        await asyncio.gather(
            *(outcome(db, f"update {table}_data set block = x'00'") for _ in range(8)),
            outcome(db, "begin immediate", *make, "commit"),
            *(outcome(db, f"update {table}_data set block = x'00'") for _ in range(8)),
        )
        if await db.rows("select count(*) from sqlite_schema where name = ?", table) == [[1]]:
            assert await outcome(db, f"insert into {table} values ('words')") == "done"
            assert await db.rows(f"select count(*) from {table} where {table} match 'words'") == [[1]]


async def test_a_table_with_such_a_name_that_belongs_to_nothing_is_written(db: Caller) -> None:
    for sql in (
        "insert into user_data values (1)",
        "update user_data set a = 2",
        "create table eye_shadow(a)",
        "insert into eye_shadow values (1)",
        "create trigger g after insert on plain begin insert into user_data values (new.a); end",
        "insert into plain values (2, 'y')",
        "alter table user_data add column b",
        "drop table eye_shadow",
        "insert into ft values ('more')",
        "insert into ft(ft) values ('optimize')",
        "delete from ft",
        "insert into rt values (2, 0, 1)",
        f"insert into vt values (3, {V})",
        "drop index vi",
        "drop table ft",
    ):
        assert await outcome(db, sql) == "done", sql
    assert await db.rows("select count(*) from user_data") == [[2]]


async def test_another_process_sees_what_this_one_has_made(db: Caller, sqld: Sqld, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / "key.pem").write_bytes((tmp_path / "key.pem").read_bytes())
    async with served_by_sqld(folder, sqld) as other:
        there = await other.caller(db.name)
        assert await outcome(there, "insert into user_data values (1)") == "done"
        assert await outcome(db, "drop table user_data", "create virtual table user using fts5(a)") == "done"
        assert await outcome(there, "update user_data set block = x'00'") == "refused"


@pytest.mark.parametrize("number", [1_000_000_000, 2**31 - 1, 1e9, "1000000000", 0, 0.0, -0.0], ids=repr)
async def test_searches_by_parameters_are_bounded(db: Caller, number: float | str) -> None:
    sql = f"select id from vector_top_k('vi', {V}, ?)"
    assert len(await db.rows(sql, 5)) == 2
    one, two = value(number), value("vi")
    for statement in (
        {"sql": sql, "args": [one]},
        {"sql": f"select id from vector_top_k(?, {V}, ?)", "args": [two, one]},
        {"sql": f"select id from vector_top_k(?2, {V}, ?1)", "args": [one, two]},
        {"sql": f"select id from vector_top_k('vi', {V}, :k)", "named_args": [{"name": "k", "value": one}]},
        {"sql": f"select id from vector_top_k('vi', {V}, $k)", "named_args": [{"name": "$k", "value": one}]},
        {"sql": f"select id from vector_top_k('vi', {V}, ?1)", "named_args": [{"name": "?1", "value": one}]},
    ):
        status, body = await db.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": statement}, CLOSE]})
        assert (status, codes_in(body)) == (200, ["SQLITE_AUTH"]), (statement, body)


async def test_a_search_for_none_is_refused_and_a_nought_elsewhere_is_not(db: Caller) -> None:
    assert await outcome(db, f"select * from vector_top_k('vi', {V}, 0)") == "refused"
    assert await outcome(db, f"select * from vector_top_k('vi', {V}, 00)") == "refused"
    sql = f"select id from vector_top_k('vi', {V}, ?) where id > ?"
    assert len(await db.rows(sql, 5, 0)) == 2


async def test_a_value_that_is_none_of_its_type_is_the_callers_fault(db: Caller) -> None:
    for bad in ({"type": "integer", "value": "True"}, {"type": "blob", "base64": "a"}):
        for sql in (f"select id from vector_top_k('vi', {V}, 1) where id = ?", "select 'a' regexp ?", "select ?"):
            statement = {"sql": sql, "args": [bad]}
            status, body = await db.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": statement}, CLOSE]})
            assert status == 400, (sql, bad, body)


async def test_names_in_capital_letters_of_any_script_are_known(db: Caller) -> None:
    for sql in ('create virtual table "ÄF" using fts5(body)', "insert into \"ÄF\" values ('some words')"):
        assert "rows" in await db.run(sql)
    for sql in ('delete from "ÄF_data"', 'update "ÄF_idx" set pgno = 7', "insert into ÄF_data values (9, x'00')"):
        assert await outcome(db, sql) == "refused", sql
    assert len(await db.rows("select * from \"ÄF\" where body match 'words'")) == 1
