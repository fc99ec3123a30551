"""What tools ask and set as they connect is put in words that every engine answers alike, and that change nothing."""

import sqlite3

import pytest

from freehold.sql.guard import RefusedSql, check_sql
from freehold.sql.inspection import in_our_words
from freehold.sql.profiles import need_of

LIST = [(0, "main", "")]
# (the text, what it answers)
ANSWERED = [
    ('PRAGMA temp.table_info("nix")', []),
    ("pragma TEMP . table_xinfo ( 'nix' ) ;", []),
    ("PRAGMA temp.foreign_key_list(t)", []),
    ("PRAGMA temp.index_list = t", []),
    ("PRAGMA temp.index_xinfo(t_a)", []),
    ("PRAGMA temp.table_list", []),
    ("PRAGMA temp.integrity_check", []),
    ("PRAGMA database_list", LIST),
    ("PRAGMA main.database_list", LIST),
    ("-- which are there?\nPRAGMA database_list;", LIST),
    ("SELECT * FROM pragma_database_list", LIST),
    ("select d.name from PRAGMA_DATABASE_LIST() as d where d.seq = 0", [("main",)]),
    ('SELECT "pragma_database_list".file FROM "pragma_database_list"', [("",)]),
    ("WITH a AS (SELECT 7 x) SELECT x, name FROM a, pragma_database_list", [(7, "main")]),
    ("WITH RECURSIVE a(x) AS (SELECT 1) SELECT name FROM pragma_database_list, a", [("main",)]),
    ("SELECT 'x' FROM pragma_database_list WHERE 0", []),
    ("PRAGMA journal_mode = DELETE", [("wal",)]),
    ("PRAGMA journal_mode(MEMORY)", [("wal",)]),
    ("PRAGMA locking_mode = EXCLUSIVE", [("normal",)]),
    ("PRAGMA synchronous = OFF", []),
    ("PRAGMA cache_size = -2000", []),
    ("PRAGMA temp_store = MEMORY", []),
    ("PRAGMA read_uncommitted = 1", []),
    ("PRAGMA optimize", []),
    ("PRAGMA optimize(0x10002)", []),
    ("PRAGMA wal_checkpoint(TRUNCATE)", [(0, -1, -1)]),
]
# As they are: the engine answers them itself, or the guard refuses them.
AS_THEY_ARE = [
    "PRAGMA table_info(t)",
    "PRAGMA read_uncommitted",
    "PRAGMA journal_mode",
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA query_only = 1",
    "PRAGMA user_version = 3",
    "EXPLAIN PRAGMA database_list",
    "CREATE VIEW v AS SELECT * FROM pragma_database_list",
    "INSERT INTO t SELECT name FROM pragma_database_list",
    "SELECT * FROM main.pragma_database_list",
    "SELECT * FROM pragma_database_list(1)",
    "SELECT 'pragma_database_list', 'PRAGMA database_list'",
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 'pragma'; END",
    "PRAGMA other.table_info(t)",
    "PRAGMA temp.journal_mode",
    f"PRAGMA database_list -- {'x' * 70_000}",
]
REFUSED = [
    *("PRAGMA main.'database_list'", "EXPLAIN PRAGMA database_list", "SELECT * FROM main.pragma_database_list"),
    *("CREATE VIEW v AS SELECT * FROM pragma_database_list", "SELECT * FROM 'pragma_database_list'"),
    *("SELECT * FROM pragma_database_list(1)", "INSERT INTO t SELECT name FROM pragma_database_list"),
    *("PRAGMA database_list(1)", "PRAGMA temp.journal_mode", "PRAGMA other.table_info(t)"),
    *("PRAGMA recursive_triggers = ON", "PRAGMA query_only = 1", "PRAGMA case_sensitive_like = ON"),
    *("PRAGMA writable_schema = ON", "PRAGMA temp.user_version = 3", "PRAGMA temp_store_directory = '/x'"),
    *("SELECT 1; PRAGMA hard_heap_limit = 1; PRAGMA database_list", "SELECT * FROM pragma_optimize"),
    f"PRAGMA database_list -- {'x' * 70_000}",
]


@pytest.fixture
def database() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    made.executescript("CREATE TABLE t (a); CREATE INDEX t_a ON t (a)")
    return made


@pytest.mark.parametrize(("sql", "rows"), ANSWERED)
def test_it_is_answered_without_a_change_and_with_any_token(
    database: sqlite3.Connection, sql: str, rows: list[object]
) -> None:
    check_sql(sql)
    assert need_of(sql).profile == "read_only"
    asked = in_our_words(sql)
    assert asked != sql
    assert database.execute(asked).fetchall() == rows
    assert in_our_words(asked) == asked


@pytest.mark.parametrize("sql", AS_THEY_ARE)
def test_all_else_is_left_as_it_is(sql: str) -> None:
    assert in_our_words(sql) == sql


@pytest.mark.parametrize("sql", REFUSED)
def test_no_other_way_of_saying_it_passes_the_guard(sql: str) -> None:
    with pytest.raises(RefusedSql):
        check_sql(sql)


def test_a_quoted_name_of_a_pragma_is_written_as_every_engine_reads_it() -> None:
    assert in_our_words('PRAGMA "table_info"("a""b")') == 'PRAGMA table_info("a""b")'
    assert in_our_words("PRAGMA `index_list`('t');") == 'PRAGMA index_list("t");'


def test_of_several_statements_each_is_judged_for_itself(database: sqlite3.Connection) -> None:
    settings = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
    sql = f"{settings};\nCREATE TABLE u (b) ; -- PRAGMA optimize\nPRAGMA optimize"
    check_sql(sql)
    assert need_of(sql).words == "CREATE TABLE"
    asked = in_our_words(sql)
    database.executescript(asked)
    assert database.execute("SELECT name FROM sqlite_schema WHERE name = 'u'").fetchall() == [("u",)]
    assert database.execute("PRAGMA journal_mode").fetchall() == [("memory",)]
