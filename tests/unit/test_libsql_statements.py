"""What kind of statement a text is."""

import pytest

from freehold.libsql.statements import Verb, reads_only, verb


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
        ("pragma foreign_keys = off", Verb.PRAGMA),
        ("attach x as y", Verb.PRAGMA),
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
