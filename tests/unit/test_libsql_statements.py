"""What kind of statement a text is."""

import pytest

from freehold.sql.statements import Verb, reads_only, verb


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("BEGIN", Verb.BEGIN),
        ("-- why\n begin immediate", Verb.BEGIN),
        ("/* */;; COMMIT;", Verb.COMMIT),
        ("end transaction", Verb.COMMIT),
        ("ROLLBACK", Verb.ROLLBACK),
        ("rollback transaction;", Verb.ROLLBACK),
        ("ROLLBACK TO s", Verb.OTHER),
        ("ROLLBACK TRANSACTION TO SAVEPOINT s", Verb.OTHER),
        ("savepoint s", Verb.SAVEPOINT),
        ("RELEASE s", Verb.OTHER),
        ("attach x as y", Verb.SETTING),
        ("select 'begin'", Verb.OTHER),
        ("'begin'", Verb.OTHER),
        ("", Verb.OTHER),
    ],
)
def test_the_first_words_tell_the_verb(sql: str, expected: Verb) -> None:
    assert verb(sql) is expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", True),
        ("(select 1)", False),
        ("/* insert */ select 1", True),
        ("values (1)", True),
        ("explain delete from t", True),
        ("with a as (select 1) select * from a", True),
        ("with a as (select 1) insert into t select * from a", False),
        ("with a as (select 1) replace into t select * from a", False),
        ("with a as (select 'delete') select * from a", True),
        ("insert into t values (1)", False),
        ("pragma user_version", False),
        ("", False),
        ("selecting", False),
        ('"select"', False),
    ],
)
def test_only_what_surely_changes_nothing_is_taken_for_reading(sql: str, expected: bool) -> None:
    assert reads_only(sql) is expected


@pytest.mark.parametrize("sql", ["COMMIT; DROP TABLE t", "BEGIN; SELECT 1", "ROLLBACK; SELECT 1", "END x"])
def test_what_is_more_than_one_statement_is_left_to_the_server(sql: str) -> None:
    assert verb(sql) is Verb.OTHER


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("PRAGMA foreign_keys", Verb.PRAGMA),
        ("PRAGMA main.foreign_keys;", Verb.PRAGMA),
        ("PRAGMA foreign_keys = off", Verb.SETTING),
        ("/* */ PRAGMA main . foreign_keys=off", Verb.SETTING),
        ("PRAGMA foreign_keys(off)", Verb.SETTING),
        ('PRAGMA table_info("a = b")', Verb.PRAGMA),
        ('PRAGMA main.table_xinfo("t")', Verb.PRAGMA),
        ("PRAGMA", Verb.PRAGMA),
        ("DETACH x", Verb.SETTING),
    ],
)
def test_a_pragma_sets_something_or_tells_something(sql: str, expected: Verb) -> None:
    assert verb(sql) is expected


def test_a_long_statement_is_told_alike() -> None:
    filler = "/*" + "x" * 10_000 + "*/"
    assert verb(filler + "COMMIT") is Verb.COMMIT
    assert reads_only(filler + "SELECT 1")
    assert not reads_only("WITH a AS (SELECT 1) " + filler + " DELETE FROM t")
