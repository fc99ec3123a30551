"""What is read from a migration, the hashes that pin it, and what makes it unfit for any database."""

import hashlib
from pathlib import Path

import pytest

from freehold.errors import InvalidInput
from freehold.libsql.conditions import MAX_DEPTH, holds
from freehold.libsql.protocol import (
    Cond,
    CondAnd,
    CondError,
    CondIsAutocommit,
    CondNot,
    CondOk,
    CondOr,
    Error,
    StmtResult,
)
from freehold.libsql.values import decode, encode
from freehold.migrate.check import check_migration, check_order, require_order, require_sound
from freehold.migrate.faults import BadMigration, shortened
from freehold.migrate.types import GENESIS, Migration, chain, chains, normalise

BAHAR = Path(__file__).parents[2] / "schema_registry" / "bahar"


def migration(sql: str, version: int = 1, name: str = "make_it") -> Migration:
    return Migration(version=version, name=name, sql=sql)


def reasons(sql: str) -> str:
    return "\n".join(str(fault) for fault in check_migration(migration(sql)))


# What is read ------------------------------------------------------------------------------------


def test_the_checksum_is_of_the_bytes_and_does_not_depend_on_line_ends() -> None:
    unix, windows = "SELECT 'قلم';\nSELECT 2;\n", "SELECT 'قلم';\r\nSELECT 2;\r\n"
    assert migration(unix).checksum == hashlib.sha256(unix.encode()).hexdigest()
    assert normalise(windows) == normalise(windows.replace("\r\n", "\r")) == unix


def test_a_chain_names_the_whole_history_before_it() -> None:
    first, second, other = migration("SELECT 1"), migration("SELECT 2", 2), migration("SELECT 3", 2)
    links = chains([first, second])
    assert links[0] == hashlib.sha256(bytes.fromhex(first.checksum)).hexdigest() == chain(GENESIS, first.checksum)
    assert links[1] == hashlib.sha256(bytes.fromhex(links[0] + second.checksum)).hexdigest()
    assert chains([first, other])[1] != links[1]
    assert chains([]) == []


@pytest.mark.parametrize(
    ("sql", "description", "is_off"),
    [
        ("SELECT 1", "make it", False),
        ("-- description: Makes it\nSELECT 1", "Makes it", False),
        ("\n-- why: because\n\n--Description :  Makes: it \n-- foreign_keys: off\nSELECT 1", "Makes: it", True),
        ("-- Foreign-Keys: OFF\nSELECT 1", "make it", True),
        ("-- foreign_keys: on\nSELECT 1", "make it", False),
        ("-- description:\nSELECT 1", "make it", False),
        ("/* -- foreign_keys: off */ SELECT 1", "make it", False),
        ("SELECT 1;\n-- description: too late", "make it", False),
    ],
)
def test_the_lines_at_the_top_say_what_it_is_and_how_it_runs(sql: str, description: str, is_off: bool) -> None:
    read = migration(sql)
    assert (read.description, read.foreign_keys_off) == (description, is_off)


def test_statements_come_without_comments_around_them() -> None:
    assert migration("-- a\nSELECT 1; -- b\n;/* c */ SELECT 2").statements == ("SELECT 1", "SELECT 2")


def test_an_unreadable_migration_says_which_it_is_and_where() -> None:
    with pytest.raises(BadMigration, match=r"migration 7 \(add_tags\), line 2: this string is not closed"):
        _ = migration("SELECT 1;\nSELECT 'a", 7, "add_tags").statements


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("", "no statement"),
        ("-- nothing\n;;/* here */", "no statement"),
        ("SELECT 'a", "not closed"),
        ("BEGIN", "BEGIN is refused"),
        ("SELECT 1; /* hidden */ commit", "statement 2, line 1: COMMIT is refused"),
        ("END", "END is refused"),
        ("ROLLBACK", "ROLLBACK is refused"),
        ("SAVEPOINT a", "SAVEPOINT is refused"),
        ("RELEASE a", "RELEASE is refused"),
        ("ATTACH 'a' AS b", "ATTACH is refused"),
        ("DETACH b", "DETACH is refused"),
        ("VACUUM INTO 'x'", "VACUUM is refused"),
        ("ANALYZE", "ANALYZE is refused"),
        ("CREATE TEMP TABLE a (b)", "temporary"),
        ("CREATE TEMPORARY TRIGGER a AFTER INSERT ON b BEGIN SELECT 1; END", "temporary"),
        ("PRAGMA foreign_keys = OFF", "-- foreign_keys: off"),
        ('PRAGMA main . "FOREIGN_KEYS"(0)', "-- foreign_keys: off"),
        ("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode is refused"),
        ("PRAGMA user_version = 3", "PRAGMA user_version is refused"),
        ("PRAGMA", "PRAGMA  is refused"),
        ("DROP TABLE freehold_ledger", "freehold_ledger"),
        ("DROP TABLE 'Freehold_Ledger'", "freehold_ledger"),
        ('DELETE FROM main."FREEHOLD_ledger"', "freehold_ledger"),
        ("CREATE TABLE [freehold_x] (a)", "freehold_x"),
        ("ALTER TABLE a RENAME TO freehold_ledger", "freehold_ledger"),
        ("CREATE TRIGGER a AFTER INSERT ON b BEGIN DELETE FROM freehold_ledger; END", "freehold_ledger"),
        ("INSERT INTO a VALUES (?)", "parameter"),
        ("INSERT INTO a VALUES (:b)", "parameter"),
        ("INSERT INTO a VALUES (@b)", "parameter"),
        ("INSERT INTO a VALUES ($b)", "parameter"),
        ("-- foreign_keys: no\nSELECT 1", "is `on` or `off`"),
        ("-- foreign_keys: off\n-- foreign_keys: on\nSELECT 1", "twice"),
        ("SELECT 1;\n-- foreign_keys: off\nSELECT 2", "line 2: `-- foreign_keys:` counts only before"),
        ("CREATE TABLE n (a); DROP TABLE t; ALTER TABLE n RENAME TO t", "statement 2, line 1: this rebuilds table t"),
        ('DROP TABLE IF EXISTS main."T"; ALTER TABLE main.n RENAME TO [t]', "this rebuilds table t"),
        ("-- foreign_keys: off\nALTER TABLE t RENAME TO o; CREATE TABLE t (a); DROP TABLE o", "renaming t away"),
    ],
)
def test_what_no_database_should_be_given_is_refused(sql: str, why: str) -> None:
    assert why in reasons(sql)
    with pytest.raises(BadMigration, match="migration 1"):
        require_sound([migration(sql)])


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE begin_end (a TEXT DEFAULT 'BEGIN; COMMIT', \"commit\" TEXT)",
        "CREATE TRIGGER a AFTER INSERT ON b BEGIN SELECT 1; END",
        "PRAGMA defer_foreign_keys = ON",
        "INSERT INTO a VALUES ('what? :b @c $d', 'freehold_estate', json_extract('{}', '$.a'))",
        "SELECT a -> '$.b', price$ FROM t -- ?\n",
        "INSERT INTO a VALUES (1) RETURNING b",
        "-- foreign_keys: off\nCREATE TABLE n (a); DROP TABLE t; ALTER TABLE n RENAME TO t",
        "DROP TABLE t",
        "ALTER TABLE t RENAME COLUMN a TO b; DROP TABLE b",
        "REPLACE INTO a VALUES (1)",
    ],
)
def test_what_only_looks_dangerous_is_let_through(sql: str) -> None:
    assert reasons(sql) == ""


@pytest.mark.parametrize("name", ["", "Add", "a__b", "_a", "a_", "a b", "a-b", "قلم", "a" * 101, "../a"])
def test_a_name_that_is_no_snake_case_is_refused(name: str) -> None:
    assert "snake_case" in str(check_migration(migration("SELECT 1", name=name))[0])


@pytest.mark.parametrize("version", [-1, 0, 10_000])
def test_a_version_that_no_file_can_have_is_refused(version: int) -> None:
    assert "versions go from" in str(check_migration(migration("SELECT 1", version))[0])


def test_every_fault_of_every_migration_is_told_at_once() -> None:
    with pytest.raises(BadMigration) as caught:
        require_sound([migration("BEGIN; COMMIT"), migration("VACUUM", 2)])
    assert [(fault.version, fault.statement) for fault in caught.value.faults] == [(1, 1), (1, 2), (2, 1)]
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("versions", "why"),
    [([2], "version 1 is missing"), ([1, 3], "version 2 is missing"), ([1, 1], "should stand here"), ([1, 2, 1], "3")],
)
def test_versions_that_are_not_in_a_row_are_refused(versions: list[int], why: str) -> None:
    with pytest.raises(BadMigration, match=why):
        require_order([migration("SELECT 1", version) for version in versions])


def test_the_schema_that_ships_is_sound() -> None:
    files = sorted(BAHAR.glob("*.sql"))
    read = [Migration(version=int(file.name[:4]), name=file.stem[5:], sql=file.read_text("utf-8")) for file in files]
    assert len(read) >= 7
    assert check_order(read) == []
    assert [fault for one in read for fault in check_migration(one)] == []
    assert all(one.sql.startswith("-- description: ") for one in read)
    assert any(one.foreign_keys_off for one in read)


def test_sql_is_shown_in_one_short_line() -> None:
    assert shortened("SELECT\n\n  1") == "SELECT 1"
    assert len(shortened("SELECT " + "a, " * 100_000)) <= 201
    assert shortened("SELECT" + " " * 5000 + "1").endswith("…")


# Conditions and values ---------------------------------------------------------------------------

OK, FAILED, SKIPPED = CondOk(0), CondOk(1), CondOk(2)


@pytest.mark.parametrize(
    ("cond", "expected"),
    [
        (None, True),
        (OK, True),
        (FAILED, False),
        (SKIPPED, False),
        (CondError(0), False),
        (CondError(1), True),
        (CondError(2), False),
        (CondNot(SKIPPED), True),
        (CondAnd((OK, FAILED)), False),
        (CondAnd(()), True),
        (CondOr((FAILED, OK)), True),
        (CondOr(()), False),
        (CondIsAutocommit(), True),
    ],
)
def test_a_condition_holds_by_what_the_earlier_steps_did(cond: Cond | None, expected: bool) -> None:
    results = [StmtResult(), None, None]
    errors = [None, Error("no"), None]
    assert holds(cond, results, errors, lambda: True) is expected


@pytest.mark.parametrize("cond", [CondOk(1), CondError(1), CondOk(-1), CondNot(CondOk(7))])
def test_a_condition_on_a_step_to_come_is_refused(cond: Cond) -> None:
    with pytest.raises(InvalidInput, match="step"):
        holds(cond, [StmtResult()], [None], lambda: True)


def test_a_condition_nested_too_deep_is_refused_before_it_exhausts_the_stack() -> None:
    cond: Cond = CondOk(0)
    for _ in range(MAX_DEPTH - 2):
        cond = CondNot(cond)
    assert holds(CondNot(cond), [StmtResult()], [None], lambda: True) is (MAX_DEPTH % 2 == 1)
    for _ in range(100_000):
        cond = CondNot(cond)
    with pytest.raises(InvalidInput, match="nested"):
        holds(cond, [StmtResult()], [None], lambda: True)


@pytest.mark.parametrize("value", [None, 0, -(2**63), 2**63 - 1, 1.5, "", "قلم", b"", b"\x00\xff", b"abcd"])
def test_a_value_survives_the_way_to_the_wire_and_back(value: int | float | str | bytes | None) -> None:
    assert decode(encode(value)) == value


def test_a_float_that_json_cannot_hold_becomes_none() -> None:
    assert decode(encode(float("inf"))) is None
