"""PRAGMAs that change nothing pass with every token, however they are sent, on both engines."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from testbed.sqld import Sqld

from tests.integration.test_sqld_gateway import frame, grpc, program
from tests.integration.test_view_bombs import DOUBLING, put_by_force
from tests.support.gateway_app import Caller, Served, plain, served_by_sqld

CLOSE = {"type": "close"}
SETTINGS = (
    *("application_id", "auto_vacuum", "busy_timeout", "cache_size", "compile_options", "collation_list"),
    *("data_version", "encoding", "freelist_count", "function_list", "journal_mode", "module_list"),
    *("page_count", "page_size", "query_only", "read_uncommitted", "recursive_triggers", "synchronous"),
    *("user_version", "foreign_keys", "defer_foreign_keys"),
)
SWITCHES = (
    "PRAGMA foreign_keys = ON",
    "pragma foreign_keys=1",
    "PRAGMA main.foreign_keys(true)",
    "PRAGMA foreign_keys = yes;",
    "PRAGMA defer_foreign_keys = ON",
)
KEPT = (
    "PRAGMA foreign_keys = OFF",
    "PRAGMA foreign_keys = 256",
    "PRAGMA foreign_keys = 1.0e-1",
    "PRAGMA defer_foreign_keys = OFF",
    "PRAGMA foreign_keys = ON; PRAGMA foreign_keys = OFF",
)
SET = ("query_only = 1", "page_size(512)", "recursive_triggers = on", "secure_delete = off", "page_count = 1")
TABLES = (
    "create table p(id integer primary key)",
    "create table t(id integer primary key, a text, p references p(id))",
    "create table k(a text, b, primary key (a, b)) without rowid",
    "create table s(a int) strict",
    "create index t_a on t(a)",
    "create virtual table f using fts5(words)",
)
PROFILES = ("rows", "read_only", "full")


async def new_database(gateway: Served) -> dict[str, Caller]:
    """A database with some tables, and a caller for each profile."""
    owner = await gateway.database(f"t-{uuid.uuid4().hex[:12]}")
    for sql in TABLES:
        assert "rows" in await owner.run(sql)
    return {profile: await gateway.caller(owner.name, profile) for profile in PROFILES}


async def through(caller: Caller, sql: str) -> dict[str, list[list[Any]] | str]:
    """Rows, or an error's text, by every door that gives rows."""
    stmt = {"sql": sql}
    steps = {"steps": [{"stmt": stmt}]}
    found: dict[str, list[list[Any]] | str] = {}

    def put(door: str, status: int, result: Any) -> None:
        rows = result.get("rows") if status == 200 and isinstance(result, dict) else None
        found[door] = str(result) if rows is None else [[plain(cell) for cell in row] for row in rows]

    for version in (2, 3):
        status, body = await caller.post(
            f"v{version}/pipeline", {"requests": [{"type": "execute", "stmt": stmt}, CLOSE]}
        )
        first = body["results"][0] if status == 200 else body
        put(f"v{version}", status, first["response"]["result"] if first.get("type") == "ok" else first)
    status, body = await caller.post("v1/execute", {"stmt": stmt})
    put("v1", status, body.get("result", body))
    status, body = await caller.post("v1/batch", {"batch": steps})
    put("v1 batch", status, (body["result"]["step_results"][0] or body) if status == 200 else body)
    requests = [{"type": "store_sql", "sql_id": 1, "sql": sql}, {"type": "execute", "stmt": {"sql_id": 1}}, CLOSE]
    status, body = await caller.post("v3/pipeline", {"requests": requests})
    second = body["results"][1] if status == 200 else body
    put("stored", status, second["response"]["result"] if second.get("type") == "ok" else second)
    return found


@pytest.mark.parametrize("profile", PROFILES)
async def test_settings_are_read_with_any_token(gateway: Served, profile: str) -> None:
    caller = (await new_database(gateway))[profile]
    for name in SETTINGS:
        for sql in (f"PRAGMA {name}", f"pragma main . {name} ;", f"select * from pragma_{name}"):
            for door, found in (await through(caller, sql)).items():
                assert isinstance(found, list), (sql, door, found)
                assert found, (sql, door)
    for setting in SET:
        for door, found in (await through(caller, f"PRAGMA {setting}")).items():
            assert "can be read, not set" in found, (setting, door, found)
    for other in ("lock_status", "hard_heap_limit", "temp_store_directory", "writable_schema"):
        for sql in (f"PRAGMA {other}", f"select * from pragma_{other}"):
            for door, found in (await through(caller, sql)).items():
                assert "not allowed" in found, (sql, door, found)


@pytest.mark.parametrize("profile", PROFILES)
async def test_what_tools_ask_and_set_as_they_connect_is_answered_and_changes_nothing(
    gateway: Served, profile: str
) -> None:
    caller = (await new_database(gateway))[profile]
    # The one names what was asked, the other counts what others did, our own folding of sqld's log included.
    settings = [name for name in SETTINGS if name not in {"module_list", "data_version"}]
    before = {name: await caller.rows(f"PRAGMA {name}") for name in settings}
    for name in ("table_info", "table_xinfo", "index_list", "index_info", "index_xinfo", "foreign_key_list"):
        for table in ("t", "nix"):
            for door, found in (await through(caller, f'PRAGMA temp.{name}("{table}")')).items():
                assert found == [], (name, door)
    for sql, rows in (
        ("PRAGMA database_list", [[0, "main", ""]]),
        ("SELECT name, file FROM pragma_database_list", [["main", ""]]),
        ("PRAGMA journal_mode = DELETE", [["wal"]]),
        ("PRAGMA wal_checkpoint(TRUNCATE)", [[0, -1, -1]]),
        ("PRAGMA synchronous = OFF", []),
        ("PRAGMA cache_size = -100000", []),
        ("PRAGMA read_uncommitted = 1", []),
        ("PRAGMA optimize", []),
        ('PRAGMA "index_info"("t_a")', [[0, 1, "a"]]),
    ):
        for door, found in (await through(caller, sql)).items():
            assert found == rows, (sql, door)
    for door, found in (await through(caller, "PRAGMA busy_timeout = 1")).items():
        assert found == before["busy_timeout"], door
    assert {name: await caller.rows(f"PRAGMA {name}") for name in settings} == before


@pytest.mark.parametrize("profile", ["rows", "read_only"])
async def test_foreign_keys_may_be_switched_on_and_not_off(gateway: Served, profile: str) -> None:
    caller = (await new_database(gateway))[profile]
    for sql in SWITCHES:
        for door, found in (await through(caller, sql)).items():
            assert isinstance(found, list), (sql, door, found)
    for sql in KEPT:
        for door, found in (await through(caller, sql)).items():
            assert isinstance(found, str), (sql, door, found)
    assert await caller.rows("PRAGMA foreign_keys") == [[1]]
    assert await caller.rows("PRAGMA defer_foreign_keys") == [[0]]


async def test_a_transaction_that_defers_foreign_keys_cannot_break_them(gateway: Served) -> None:
    caller = (await new_database(gateway))["rows"]
    body = await caller.pipeline(
        "BEGIN",
        "PRAGMA defer_foreign_keys = ON",
        "INSERT INTO t(p) VALUES (7)",
        "INSERT INTO p VALUES (7)",
        "COMMIT",
        CLOSE,
    )
    assert [each["type"] for each in body["results"]] == ["ok"] * 6
    for ending in ("COMMIT", "PRAGMA defer_foreign_keys = OFF", "RELEASE s"):
        begin = "SAVEPOINT s" if ending.startswith("RELEASE") else "BEGIN"
        sqls = (begin, "PRAGMA defer_foreign_keys = ON", "INSERT INTO t(p) VALUES (8)", ending)
        requests = [*({"type": "execute", "stmt": {"sql": sql}} for sql in sqls), CLOSE]
        _, body = await caller.post("v3/pipeline", {"requests": requests})
        if "results" in body:
            assert [each["type"] for each in body["results"]] == ["ok", "ok", "ok", "error", "ok"], ending
    body = await caller.pipeline("PRAGMA defer_foreign_keys = ON", "INSERT INTO t(p) VALUES (9)", CLOSE)
    assert body["results"][1]["type"] == "error"
    # Whoever comes next on the same connection is told at once.
    await caller.pipeline("PRAGMA defer_foreign_keys = ON", CLOSE)
    body = await caller.pipeline("BEGIN", "INSERT INTO t(p) VALUES (9)", "ROLLBACK", CLOSE)
    assert body["results"][1]["type"] == "error"
    assert await caller.rows("SELECT p FROM t") == [[7]]
    assert await caller.rows("PRAGMA foreign_key_check") == []


@pytest.mark.parametrize("profile", PROFILES)
async def test_views_that_are_too_large_keep_nobody_from_looking_at_tables(gateway: Served, profile: str) -> None:
    like_it = (await new_database(gateway))[profile]
    caller = (await new_database(gateway))[profile]
    await put_by_force(gateway, caller.name, DOUBLING)
    asked = (
        *(f"PRAGMA {name}({table})" for name in ("table_info", "table_xinfo") for table in "tkf"),
        *("PRAGMA index_list(t)", "PRAGMA index_info(t_a)", "PRAGMA index_xinfo(t_a)"),
        *("PRAGMA foreign_key_list(t)", "PRAGMA foreign_key_check", "PRAGMA foreign_key_check(t)"),
        *("PRAGMA integrity_check", "PRAGMA quick_check", "PRAGMA integrity_check(t)"),
        "SELECT name, type FROM pragma_table_info('t') ORDER BY cid",
        "SELECT i.name FROM pragma_table_xinfo('t', 'main') AS i",
        "SELECT * FROM pragma_integrity_check",
        "SELECT m.name, l.name FROM sqlite_schema m, pragma_index_list(m.name) l",
        "PRAGMA table_list(t)",
        "PRAGMA main.table_list = k",
    )
    lists = (
        "PRAGMA table_list",
        "PRAGMA main.table_list;",
        "SELECT * FROM pragma_table_list",
        "WITH a AS (SELECT 1) SELECT l.* FROM a, pragma_table_list l",
    )
    for sql in asked:
        assert await through(caller, sql) == await through(like_it, sql), sql
    ours = {"sqlite_schema", "sqlite_temp_schema"}
    for sql in lists:
        before = await through(like_it, sql)
        for door, found in (await through(caller, sql)).items():
            was = before[door]
            assert isinstance(found, list), (sql, door, found)
            assert isinstance(was, list), (sql, door, was)
            tables = sorted(row for row in found if row[2] != "view")
            expected = sorted([*row[:3], None, *row[4:]] if row[2] == "virtual" else row for row in was)
            assert [row for row in tables if row[1] not in ours] == [row for row in expected if row[1] not in ours]
            assert {row[1] for row in tables} >= ours
            assert {row[1] for row in found if row[2] == "view"} == {f"w{i}" for i in range(24)}
    for sql in (
        "PRAGMA table_info(w23)",
        "PRAGMA table_xinfo('W23')",
        "SELECT * FROM pragma_table_info('w23')",
        "SELECT * FROM pragma_table_info('t') WHERE arg = 'w23'",
        "SELECT m.name, i.name FROM sqlite_schema m, pragma_table_info(m.name) i",
    ):
        for door, found in (await through(caller, sql)).items():
            assert "view `w" in found, (sql, door, found)


async def test_views_are_found_whatever_letters_their_names_have(gateway: Served) -> None:
    owner = (await new_database(gateway))["full"]
    sqls = ['create view "Ä0" as select 1 x'] + [
        f'create view "Ä{i}" as select a.x from "Ä{i - 1}" a, "Ä{i - 1}" b' for i in range(1, 24)
    ]
    refused = [sql for sql in sqls if "rows" not in await owner_answer(owner, sql)]
    assert refused


async def owner_answer(owner: Caller, sql: str) -> Any:
    status, body = await owner.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": sql}}, CLOSE]})
    if status != 200 or body["results"][0]["type"] != "ok":
        return body
    return body["results"][0]["response"]["result"]


async def test_a_replica_may_hand_them_on(sqld: Sqld, tmp_path: Path) -> None:
    async with served_by_sqld(tmp_path, sqld) as running:
        caller = (await new_database(running))["rows"]
        for sql in ("PRAGMA compile_options", "PRAGMA foreign_keys = ON", "PRAGMA table_info(t)"):
            answer = await grpc(caller, "proxy.Proxy/Execute", frame(program(sql)))
            assert answer[0] == 200, (sql, answer)
        refused = await grpc(caller, "proxy.Proxy/Execute", frame(program("PRAGMA foreign_keys = OFF")))
        assert refused[:2] == (200, "7")
