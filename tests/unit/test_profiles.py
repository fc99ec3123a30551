"""What a piece of SQL needs of a token's profile, told by its text."""

import time

import pytest

from freehold.profiles import PROFILES, Profile, narrowed
from freehold.sql.profiles import need_of, refusal


@pytest.mark.parametrize(
    ("sql", "needed"),
    [
        ("", "read_only"),
        (" ;; -- nothing", "read_only"),
        ("SELECT 1", "read_only"),
        ("/* a */ select 1 /* ; drop table x */;", "read_only"),
        ("BEGIN IMMEDIATE", "read_only"),
        ("savepoint x; release x", "read_only"),
        ("WITH replace AS (SELECT 1) SELECT replace(1, 2, 3)", "read_only"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "read_only"),
        ("WITH a AS (SELECT 1), replace(x) AS (SELECT 2) SELECT replace(x, 1, 2) FROM a, replace", "read_only"),
        ("WITH a AS (SELECT 1) VALUES (1)", "read_only"),
        ("PRAGMA main.table_info(x)", "read_only"),
        ("PRAGMA foreign_keys", "read_only"),
        ("EXPLAIN QUERY PLAN SELECT 1", "read_only"),
        ("EXPLAIN DELETE FROM x", "rows"),
        ("INSERT INTO x VALUES ('; DROP TABLE x')", "rows"),
        ("SELECT 1; DELETE FROM x", "rows"),
        ("WITH a AS (SELECT 1) UPDATE x SET y = 1", "rows"),
        ("with/**/a as (select 1)replace into x values (1)", "rows"),
        ("SELECT 1; DROP TABLE x", "full"),
        ("SELECT 1;\0", "full"),
        ("\ufeffDROP TABLE x", "full"),
        (";DROP TABLE x", "full"),
        ("EXPLAIN EXPLAIN SELECT 1", "full"),
        ("EXPLAIN CREATE TABLE x (a)", "full"),
        ("PRAGMA foreign_keys(0)", "full"),
        ("PRAGMA 'main' . \"foreign_keys\" = 0", "full"),
        ("PRAGMA user_version = 1", "rows"),
        ("PRAGMA", "full"),
        ("WITH a", "full"),
        ("ANALYZE", "full"),
        ("REINDEX", "full"),
        ("(SELECT 1)", "full"),
        ("'SELECT' 1", "full"),
        ("\u00a0SELECT 1", "full"),
        ("ſelect 1", "full"),
        ("CREATE TABLE land (freehold TEXT)", "full"),
        ("CREATE INDEX i ON land (freehold)", "full"),
        ("INSERT INTO x SELECT * FROM freehold_ledger", "rows"),
        ("INSERT INTO x VALUES ('freehold_ledger')", "rows"),
        ("UPDATE x SET freehold_ledger = 1", "rows"),
    ],
)
def test_what_each_needs(sql: str, needed: Profile) -> None:
    assert need_of(sql).profile == needed


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM freehold_ledger",
        "delete from main . 'Freehold_Ledger'",
        "INSERT OR ROLLBACK INTO freehold_ledger DEFAULT VALUES",
        "UPDATE OR REPLACE [freehold_ledger] SET name = 1",
        "REPLACE INTO\nfreehold_ledger VALUES (1)",
        "WITH replace AS (SELECT 1), a AS (SELECT 2) DELETE FROM freehold_ledger",
        "WITH a AS (SELECT 1) /* x */ INSERT INTO `freehold_x` SELECT 1",
        "SELECT 1; DELETE FROM freehold_ledger",
        "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; DELETE FROM freehold_ledger; END",
        "CREATE TRIGGER t AFTER INSERT ON x BEGIN UPDATE 'freehold_ledger' SET name = 1; END",
        "CREATE VIEW freehold_view AS SELECT 1",
        "CREATE VIRTUAL TABLE main.freehold USING fts5(a)",
        'CREATE VIRTUAL TABLE IF NOT EXISTS "FREEHOLD" USING rtree(a, b, c)',
        "CREATE INDEX freehold ON x (libsql_vector_idx(a))",
        "ALTER TABLE x RENAME TO freehold",
        "ALTER TABLE x RENAME TO 'freehold_'",
        "DROP TABLE IF EXISTS freehold_ledger",
        "EXPLAIN DROP TABLE freehold_ledger",
    ],
)
def test_freeholds_own_tables_are_written_under_no_profile(sql: str) -> None:
    assert need_of(sql).profile is None
    assert all("freehold" in str(refusal(sql, profile)) for profile in PROFILES)


def test_a_narrower_profile_is_never_widened() -> None:
    for at, profile in enumerate(PROFILES):
        for wider in PROFILES[at:]:
            assert narrowed(profile, wider) == narrowed(wider, profile) == profile
            assert refusal("SELECT 1", profile) is None or profile == "none"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_refusal_names_the_profile_that_would_do(profile: Profile) -> None:
    for sql, needed in (("SELECT 1", "read_only"), ("DELETE FROM x", "rows"), ("DROP TABLE x", "full")):
        found = refusal(sql, profile)
        is_enough = PROFILES.index(profile) >= PROFILES.index(needed)
        assert (found is None) == is_enough
        assert found is None or f"`{needed}`" in str(found)


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN " * 50_000,
        "WITH " * 50_000,
        "WITH a AS " + "(" * 50_000,
        "DELETE FROM " + "main." * 50_000,
        "UPDATE OR " * 50_000,
        ";" * 200_000,
        "SELECT 1;" * 20_000,
        "PRAGMA " + "." * 100_000,
        "insert into x values ('" + ";" * 200_000,
    ],
    ids=lambda sql: sql[:20],
)
def test_text_of_any_form_is_looked_at_in_a_time_that_grows_with_its_length(sql: str) -> None:
    began = time.process_time()
    need_of(sql)
    assert time.process_time() - began < 5
