"""Strangers' SQL: what it may not reach, and how much it may use."""

import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.gateway_app import Caller, Served, served

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = itertools.count(1)
LIMIT_S = 0.4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("gateway")
    async with served(folder, query_timeout_s=LIMIT_S, max_size_bytes=2_000_000) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def db(running: Served) -> Caller:
    return await running.database(f"t-{next(_numbers)}")


@pytest.mark.parametrize(
    "sql",
    [
        "attach ':memory:' as other",
        "/* x */ attach database 'file:x?mode=memory' as other",
        "detach main",
        "vacuum",
        "vacuum into 'copy.db'",
        "select load_extension('x')",
        "select \"load_extension\"('x')",
        "select fts3_tokenizer('simple')",
        "select readfile('/etc/passwd')",
        "select writefile('out', 'x')",
        "select edit('x')",
        "select * from fsdir('.')",
        "select sqlite_log(1, 'x')",
        "create view v as select readfile('/etc/passwd')",
        "create temp table x(a)",
        "create temporary view x as select 1",
        "create table temp.x(a)",
        "create temp trigger x after insert on t begin select 1; end",
        "analyze",
        "create virtual table x using fts3(a)",
        "create virtual table x using fts4(a)",
        "create virtual table x using dbstat",
        "create virtual table x using csv(filename='/etc/passwd')",
        "create virtual table temp.x using fts5vocab(main, y, row)",
        "pragma writable_schema = on",
        "pragma secure_delete = off",
        "pragma page_size = 512",
        "pragma temp_store_directory = '/tmp'",
        "pragma data_store_directory = '/tmp'",
        "pragma max_page_count = 1000000",
        "pragma database_list(main)",
        "explain pragma database_list",
        "pragma query_only = on",
        "pragma trusted_schema = on",
        "pragma hard_heap_limit = 1",
        "pragma soft_heap_limit = 1",
        "pragma threads = 8",
        "pragma incremental_vacuum(1)",
        "select * from pragma_optimize",
        "pragma schema_version = 9",
        "pragma application_id = 9",
        "pragma temp.user_version = 9",
        "pragma ignore_check_constraints = on",
        "pragma case_sensitive_like = on",
        "pragma recursive_triggers = off",
        "pragma soft_heap_limit",
        "pragma hard_heap_limit",
        "select * from pragma_database_list(1)",
        "select * from 'pragma_database_list'",
        "select * from pragma_hard_heap_limit",
        "select file from main.pragma_database_list",
    ],
)
async def test_what_reaches_outside_is_refused_with_a_reason(db: Caller, sql: str) -> None:
    await db.run("create table t(a)")
    error = await db.run(sql)
    assert error.get("code") == "SQLITE_AUTH", error
    assert "not allowed" in error["message"] or "can be read" in error["message"]
    assert await db.rows("select 1") == [[1]]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from dbstat",
        "select * from sqlite_stmt",
        "select * from bytecode('select 1')",
        "select * from sqlite_temp_master_x",
        "update sqlite_schema set sql = ''",
        "update sqlite_temp_schema set sql = ''",
        "insert into sqlite_schema values ('table', 'x', 'x', 0, 'create table x(a)')",
        "insert into sqlite_temp_master values ('table', 'x', 'x', 0, 'create table x(a)')",
        "delete from sqlite_master",
        "create table sqlite_x(a)",
        "select * from temp.t",
        "insert into f_data values (1, x'00')",
        "drop table f_data",
    ],
)
async def test_what_lies_inside_is_kept_safe_too(db: Caller, sql: str) -> None:
    await db.run("create virtual table f using fts5(a)")
    assert "code" in await db.run(sql)
    assert await db.rows("select count(*) from f") == [[0]]


async def test_refusals_name_what_is_allowed(db: Caller) -> None:
    assert "foreign_key_check" in (await db.run("pragma hard_heap_limit"))["message"]
    assert "fts5" in (await db.run("create virtual table x using fts3(a)"))["message"]


@pytest.mark.parametrize(
    "sql",
    [
        *("pragma table_info(t)", "pragma table_xinfo('t')", "pragma table_list", "pragma index_list(t)"),
        *("pragma index_info(i)", "pragma index_xinfo(i)", "pragma foreign_key_list(t)", "pragma foreign_keys"),
        *("pragma foreign_key_check", "pragma integrity_check", "pragma quick_check(5)", "pragma user_version"),
        *("pragma user_version = 7", "pragma defer_foreign_keys = on", "pragma page_count", "pragma data_version"),
        *("pragma journal_mode", "pragma encoding", "pragma main.user_version", "pragma function_list"),
        *("select * from pragma_table_info('t')", "select 1 from pragma_foreign_key_check", "reindex"),
        *("select * from json_each('[1]')", "select * from json_tree('[1]')", "select upper('x'), sqrt(2)"),
        *("create virtual table x using rtree(id, a, b)", "create virtual table x using fts5(a)"),
        *("create virtual table x using fts5vocab(f, row)", "alter table t rename to t2"),
        *("alter table t rename column a to z", "alter table t add column n", "alter table t drop column b"),
        *("drop index i", "create view v as select * from t", "drop table t", "drop view w", "drop trigger g"),
        *("select \"edit\" from (select 1 as edit)", "with recursive r(x) as (select 1 union all select x + 1 from r "
          "where x < 9) select * from r", "create table x as select 1", "explain query plan select * from t"),
        *("savepoint s", "select count(*) filter (where a > 1) over () from t"),
        "insert into f(f) values ('optimize')",
    ],
)  # fmt: skip
async def test_ordinary_sql_works(db: Caller, sql: str) -> None:
    setup = (
        "create table t(a integer primary key, b); create index i on t(a); create view w as select a from t;"
        "create trigger g after insert on t begin select 1; end; create virtual table f using fts5(a);"
    )
    await db.pipeline({"type": "sequence", "sql": setup}, {"type": "close"})
    assert "rows" in await db.run(sql)


async def test_foreign_keys_are_on_and_the_setting_does_not_leak(db: Caller) -> None:
    for _ in range(3):
        body = await db.pipeline(
            *("pragma foreign_keys", "pragma foreign_keys = off", "pragma foreign_keys", "pragma foreign_keys = on"),
            *("pragma foreign_keys", "pragma foreign_keys = off", "pragma foreign_keys", {"type": "close"}),
        )
        rows = [each["response"].get("result", {}).get("rows") for each in body["results"]]
        assert [row[0][0]["value"] for row in rows if row] == ["1", "0", "1", "0"]
    assert await db.rows("pragma foreign_keys") == [["1"]] or await db.rows("pragma foreign_keys") == [[1]]


async def test_nothing_of_one_request_is_left_for_the_next(db: Caller) -> None:
    await db.run("create table t(a integer primary key)")
    await db.pipeline("begin", "insert into t values (41)", "pragma defer_foreign_keys = on", {"type": "close"})
    assert await db.rows("select last_insert_rowid(), (select count(*) from t)") == [[0, 0]]
    body = await db.pipeline({"type": "get_autocommit"}, "pragma defer_foreign_keys", {"type": "close"})
    assert body["results"][0]["response"]["is_autocommit"] is True
    assert body["results"][1]["response"]["result"]["rows"][0][0]["value"] == "0"


@pytest.mark.parametrize(
    "sql",
    [
        "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r",
        "with recursive r(x) as (select 1 union all select x + 1 from r) select x from r",
        "with recursive r(x) as (select 1 union all select x + 1 from r) select group_concat(x) from r",
        "with recursive r(x) as (select 1 union all select x + 1 from r) select x from r order by random()",
        "with recursive r(x) as (select 1 union select x + 1 from r) select max(x) from r",
        "with recursive r(x) as (select 1 union all select x + 1 from r) insert into t select x from r",
        "with recursive r(x) as (select 1 union all select x + 1 from r) select json_group_array(x) from r",
        "select count(*) from json_each('[' || hex(zeroblob(900000)) || ']') a, json_each('[1]') b",
        "select count(*) from pragma_function_list a, pragma_function_list b, pragma_function_list c, "
        "pragma_function_list d, pragma_function_list e",
    ],
)
async def test_a_bomb_ends_by_a_limit(db: Caller, sql: str) -> None:
    await db.run("create table t(a)")
    started = time.monotonic()
    error = await db.run(sql)
    assert time.monotonic() - started < LIMIT_S + 5  # it has no end of its own
    codes = {"QUERY_TIMEOUT", "RESPONSE_TOO_LARGE", "SQLITE_TOOBIG", "SQLITE_FULL", "SQLITE_NOMEM", "SQLITE_ERROR"}
    assert error["code"] in codes
    assert await db.rows("select count(*) from t") == [[0]]


async def test_a_statement_that_takes_too_long_is_stopped_and_says_the_limit(db: Caller) -> None:
    endless = "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r"
    error = await db.run(endless)
    assert error == {"message": f"the statement was stopped: it ran longer than {LIMIT_S} s", "code": "QUERY_TIMEOUT"}
    started = time.monotonic()
    body = await db.pipeline(*[endless] * 20, {"type": "close"})
    assert time.monotonic() - started < 6 * LIMIT_S + 1  # the limit on the whole request
    assert body["results"][-2]["error"]["code"] == "QUERY_TIMEOUT"
    assert body["results"][-2]["error"]["message"].startswith("the request was stopped")
    sequence = {"type": "sequence", "sql": f"select 1; {endless}; create table never(a)"}
    assert (await db.pipeline(sequence, {"type": "close"}))["results"][0]["error"]["code"] == "QUERY_TIMEOUT"
    assert (await db.run("select * from never"))["code"] == "SQLITE_ERROR"


async def test_a_database_over_its_size_is_full_and_can_be_emptied(db: Caller) -> None:
    await db.run("create table t(a)")
    error = {}
    for _ in range(5):
        error = await db.run("insert into t values (randomblob(600000))")
    assert error["code"] == "SQLITE_FULL"
    assert "2 MB" in error["message"]
    assert await db.rows("select count(*) from t") == [[3]]
    assert (await db.run("delete from t"))["affected_row_count"] == 3
    assert (await db.run("insert into t values (randomblob(600000))"))["affected_row_count"] == 1


async def test_the_log_cannot_fill_the_disk(running: Served, db: Caller) -> None:
    await db.run("create table t(a)")
    await db.run("insert into t values (zeroblob(1500000))")
    holder = await db.pipeline("begin", "select count(*) from t")  # keeps old pages alive
    seen: set[str] = set()
    for _ in range(30):
        requests = [f"update t set a = randomblob({1_500_000 - number})" for number in range(4)]
        body = await db.pipeline(*requests, {"type": "close"})
        seen |= {each["error"]["code"] for each in body["results"] if each["type"] == "error"}
    log = next(running.provider._files.root.rglob(f"{db.name}.db-wal"))
    assert log.stat().st_size < 2_000_000 + 2 * 32_000_000 + 8_000_000
    assert seen == {"SQLITE_FULL"}
    await db.pipeline({"type": "close"}, baton=holder["baton"])
    assert (await db.run("update t set a = 1"))["affected_row_count"] == 1
    assert log.stat().st_size < 32_000_000


async def test_an_answer_over_the_limit_is_refused_and_changes_nothing(db: Caller) -> None:
    await db.run("create table t(a)")
    many = "with recursive r(x) as (select 1 union all select x + 1 from r where x < 12) "
    error = await db.run(many + "select hex(zeroblob(500000)) from r")
    assert error["code"] == "RESPONSE_TOO_LARGE"
    assert "10 MB" in error["message"]
    error = await db.run(many + "insert into t select x from r returning hex(zeroblob(500000))")
    assert error["code"] == "RESPONSE_TOO_LARGE"
    assert await db.rows("select count(*) from t") == [[0]]
    body = await db.pipeline(*["select hex(zeroblob(1500000))"] * 5, {"type": "close"})
    assert [each["type"] for each in body["results"]] == ["ok"] * 3 + ["error"] * 2 + ["ok"]


async def test_a_returning_that_fails_inside_a_transaction_undoes_itself_only(db: Caller) -> None:
    await db.run("create table t(a unique)")
    body = await db.pipeline(
        "begin",
        "insert into t values (1) returning a",
        "insert into t values (2), (1) returning a",
        "with recursive r(x) as (select 10 union all select x + 1 from r where x < 40) "
        "insert into t select x from r returning hex(zeroblob(500000))",
        "commit",
        {"type": "close"},
    )
    assert [each.get("error", {}).get("code") for each in body["results"]] == [
        *(None, None, "SQLITE_CONSTRAINT", "RESPONSE_TOO_LARGE", None, None)
    ]
    assert await db.rows("select a from t") == [[1]]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("select zeroblob(9000000)", "SQLITE_TOOBIG"),
        ("select " + "(" * 3000 + "1" + ")" * 3000, None),
        ("select " + "+".join(["1"] * 2000), "SQLITE_ERROR"),
        ("select " + ",".join(["1"] * 3000), "SQLITE_ERROR"),
        (" union all ".join(["select 1"] * 600), "SQLITE_ERROR"),
        ("select max(" + ",".join(["1"] * 300) + ")", "SQLITE_ERROR"),
        ("select 'x' like '" + "%" * 300 + "'", "SQLITE_ERROR"),
        ("select ?40000", None),
        ("select '" + "x" * 4_100_000 + "'", "SQLITE_TOOBIG"),
    ],
    ids=range(9),
)  # fmt: skip
async def test_sizes_inside_a_statement_are_limited(db: Caller, sql: str, code: str | None) -> None:
    error = await db.run(sql)
    assert error["code"] == code or (code is None and "code" in error)
    assert await db.rows("select 1") == [[1]]


async def test_memory_inside_a_statement_is_limited(tmp_path: Path) -> None:
    async with served(tmp_path, query_timeout_s=30.0) as running:
        db = await running.database("t-1")
        error = await db.run("select " + ",".join(["hex(zeroblob(3950000))"] * 200))
        assert error["code"] == "SQLITE_NOMEM"
        assert await db.rows("select 1") == [[1]]


async def test_no_file_appears_but_the_tenants_own(running: Served, db: Caller) -> None:
    await db.run("create table t(a)")
    await db.run("insert into t select randomblob(1000) from pragma_function_list limit 500")
    await db.rows("select count(*) from (select a from t order by a)")
    names = {path.name for path in running.provider._files.root.rglob("*") if path.is_file()}
    assert all(name == ".lock" or ".db" in name for name in names)
    assert not [path for path in _open_files() if "etilqs" in path]


def _open_files() -> list[str]:
    """What this process has open; SQLite's temporary files have a name of their own."""
    found: list[str] = []
    for each in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            found.append(str(each.readlink()))
    return found


async def test_one_tenants_data_is_out_of_anothers_reach(running: Served, db: Caller, tmp_path: Path) -> None:
    other = await running.database("other")
    await other.run("create table secret(a)")
    path = next(running.provider._files.root.rglob("other.db"))
    for sql in (
        f"attach '{path}' as x",
        f"select readfile('{path}')",
        f"vacuum into '{tmp_path}/copy.db'",
        f"create virtual table v using csv(filename='{path}')",
        "select * from secret",
        "select * from other.secret",
    ):
        assert "code" in await db.run(sql), sql
    assert list(tmp_path.iterdir()) == []
