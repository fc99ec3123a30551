"""When a snapshot must not stand for the history: rows of chance, and what SQL text cannot bring back."""

import pytest

from freehold.migrate.determinism import ONE, OTHER, freeze
from freehold.migrate.fingerprint import fingerprint
from freehold.migrate.schema import EMPTY, read_schema
from freehold.migrate.snapshot import SnapshotUnfit, build_snapshot, sqlite_scratch
from tests.integration.migrate_parts import history

TABLE = "CREATE TABLE word (text, at DEFAULT CURRENT_TIMESTAMP, n DEFAULT (abs(random() % 2)));\n"
BY_CHANCE = [
    "INSERT INTO word (text) VALUES ('a')",
    "INSERT INTO word (text, n) VALUES ('a', 1)",
    "INSERT INTO word (text, at) VALUES ('a', 1)",
    "INSERT INTO word VALUES ('a', CURRENT_DATE, 1)",
    "INSERT INTO word VALUES ('a', current_time, 1)",
    "INSERT INTO word VALUES ('a', datetime('now'), 1)",
    "INSERT INTO word VALUES ('a', DATE ( 'NOW' , 'start of day' ), 1)",
    "INSERT INTO word VALUES ('a', strftime('%s', 'now'), 1)",
    "INSERT INTO word VALUES ('a', strftime('%Y'), 1)",
    "INSERT INTO word VALUES ('a', unixepoch(), 1)",
    "INSERT INTO word VALUES ('a', julianday( /* now */ ), 1)",
    "INSERT INTO word VALUES ('a', 1, random())",
    "INSERT INTO word VALUES ('a', 1, hex(randomblob(2)))",
    "INSERT INTO word VALUES ('a', 1, random() < 0), ('b', 1, abs(random()) % 3)",
    "INSERT INTO word VALUES ('a', 1, 2); UPDATE word SET at = unixepoch('now') WHERE n = 2",
    "CREATE TRIGGER dated AFTER INSERT ON word BEGIN UPDATE word SET at = time(); END;"
    "INSERT INTO word VALUES ('a', 1, 2)",
    "INSERT INTO word WITH t AS (SELECT date() AS d) SELECT d, d, 1 FROM t",
    "INSERT INTO word SELECT 1, 2, 3 WHERE random() > 0; INSERT INTO word VALUES (1, 2, (SELECT count(*) FROM word))",
]
NOT_BY_CHANCE = [
    "INSERT INTO word VALUES ('now', 'now', 1)",
    "INSERT INTO word VALUES ('a', date('2020-02-03'), 1)",
    "INSERT INTO word VALUES ('a', strftime('%Y', '2020-02-03'), 1)",
    "INSERT INTO word VALUES ('random()', 'unixepoch()', 1)",
    "UPDATE word SET at = unixepoch(), n = random()",
    "CREATE VIEW today AS SELECT date('now') AS today; INSERT INTO word VALUES ('a', 1, 2)",
    "CREATE TABLE random (date, time); INSERT INTO random (date, time) VALUES (1, 2)",
]


@pytest.mark.parametrize("sql", BY_CHANCE)
async def test_rows_that_depend_on_the_time_or_on_chance_make_it_unfit(sql: str) -> None:
    with pytest.raises(SnapshotUnfit, match="depend on the time or on chance"):
        await build_snapshot(history(TABLE, sql), sqlite_scratch)


@pytest.mark.parametrize("sql", NOT_BY_CHANCE)
async def test_a_clock_that_shows_in_no_row_does_not(sql: str) -> None:
    assert (await build_snapshot(history(TABLE, sql), sqlite_scratch)).version == 2


def test_sql_that_asks_for_neither_is_not_replayed_again() -> None:
    assert freeze(history("CREATE TABLE a (date)", "INSERT INTO a VALUES ('now')"), ONE) is None


def test_a_frozen_migration_says_the_same_with_constants() -> None:
    sql = "-- foreign_keys: off\nINSERT INTO a VALUES (time(), date('now', '-1 day'), RANDOM ( ))"
    [frozen] = freeze(history(sql), OTHER) or []
    assert frozen.sql == (
        "-- foreign_keys: off\nINSERT INTO a VALUES (time('2013-12-21 17:48:59'), "
        "date('2013-12-21 17:48:59', '-1 day'), ifnull ( 4611686018427387905, 0))"
    )
    assert frozen.foreign_keys_off


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("CREATE TABLE a (rowid, _rowid_, oid); INSERT INTO a VALUES (1, 2, 3)", "hide the row numbers"),
        ("CREATE VIRTUAL TABLE a USING fts5(x, content=''); INSERT INTO a VALUES ('y')", "keeps no content"),
        ("CREATE TABLE b (x); INSERT INTO b VALUES ('y');"
         "CREATE VIRTUAL TABLE a USING fts5(x, content=b)", "malformed"),
        ("CREATE TABLE a (x) NO SUCH", "cannot be replayed"),
        ("SELECT nothing FROM nowhere", "cannot be replayed"),
        ("CREATE TABLE a (x); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)"
         "INSERT INTO a SELECT zeroblob(500) FROM n", "over the limit"),
    ],
)  # fmt: skip
async def test_what_cannot_be_brought_back_makes_it_unfit_and_is_named(sql: str, reason: str) -> None:
    with pytest.raises(SnapshotUnfit, match=reason):
        await build_snapshot(history(sql), sqlite_scratch)


async def test_no_migrations_have_no_snapshot() -> None:
    with pytest.raises(SnapshotUnfit):
        await build_snapshot([], sqlite_scratch)


async def _fingerprint(*scripts: str) -> str:
    return (await build_snapshot(history(*scripts), sqlite_scratch)).fingerprint


async def test_a_fingerprint_tells_the_order_of_triggers_but_not_rows_layout_or_the_order_of_tables() -> None:
    one, two = "CREATE TABLE a (x);", "CREATE TABLE b (x);"
    first, second = (f"CREATE TRIGGER {name} AFTER INSERT ON a BEGIN SELECT 1; END;" for name in "yz")
    base = await _fingerprint(one + two + first + second)
    assert base == await _fingerprint(two + one + first + second)
    assert base == await _fingerprint(one, two, first, second + "INSERT INTO b VALUES (1);")
    assert base == await _fingerprint("CREATE TABLE a (x );" + two + first + second)
    others = {
        await _fingerprint(one + two + second + first),
        await _fingerprint(one + two + first),
        await _fingerprint("CREATE TABLE a (x INT);" + two + first + second),
        await _fingerprint(one + two + first + second + "CREATE INDEX i ON a (x);"),
    }
    assert len(others) == 4
    assert base not in others


async def test_the_fingerprint_of_an_empty_database_is_that_of_no_objects() -> None:
    async with sqlite_scratch() as target:
        assert (await read_schema(target)).fingerprint == EMPTY.fingerprint


def test_fingerprints_tell_apart_what_only_looks_alike_when_joined() -> None:
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
    assert fingerprint([["a"], "b"]) != fingerprint(["a", "b"])
    assert fingerprint([None]) != fingerprint(["null"])
