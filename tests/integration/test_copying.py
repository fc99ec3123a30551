"""Copying a database, row by row, between the engines: what arrives is what was there, however odd."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from testbed.sqld import running_sqld

from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.migrate.copying import CannotBeCopied, copy_database
from freehold.migrate.fingerprint import ask
from freehold.migrate.schema import read_schema
from freehold.migrate.target import Target
from freehold.providers.sqlite.file_target import FileTarget
from tests.support.gateway_app import served_by_sqld

ODD = (
    "CREATE TABLE plain (a INTEGER PRIMARY KEY, b TEXT, c BLOB, d REAL)",
    "INSERT INTO plain VALUES (-9223372036854775808, 'a' || char(0) || 'b''x' || char(10) || 'y;', x'00ff', 1.5e300)",
    "INSERT INTO plain VALUES (9223372036854775807, CAST(x'c328' AS TEXT), x'', 9e999), (0, '', NULL, -9e999)",
    "INSERT INTO plain VALUES (5, 'كتاب', zeroblob(70000), 0.1)",
    "CREATE TABLE untyped (x, rowid, _rowid_)",
    "INSERT INTO untyped VALUES ('1', 1, 1.0), (1, '1', x'31')",
    "CREATE TABLE computed (x INTEGER, y AS (x * 2), z GENERATED ALWAYS AS (x + 1) STORED)",
    "INSERT INTO computed (x) VALUES (20)",
    "CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID",
    "INSERT INTO keyed VALUES ('z', 1), ('a', 2)",
    "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT)",
    "INSERT INTO counted VALUES (41)",
    "DELETE FROM counted",
    """CREATE TABLE "odd ""na'me" ("c;" TEXT DEFAULT ';', "select" INT)""",
    """INSERT INTO "odd ""na'me" VALUES (';', 1)""",
    # A child before its parent, and a trigger that would double what it sees.
    "CREATE TABLE child (x REFERENCES parent (id))",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "INSERT INTO parent VALUES (7)",
    "INSERT INTO child VALUES (7)",
    "CREATE TRIGGER twice AFTER INSERT ON child BEGIN INSERT INTO parent VALUES (new.x + 1000); END",
    "CREATE VIEW seen AS SELECT b FROM plain",
    "CREATE INDEX plain_b ON plain (b) WHERE d > 0",
    "CREATE VIRTUAL TABLE notes USING fts5(body)",
    "INSERT INTO notes (rowid, body) VALUES (9, 'hello world'), (3, 'other words')",
    "CREATE VIRTUAL TABLE found USING fts5(b, content='plain', content_rowid='a')",
    "INSERT INTO found (found) VALUES ('rebuild')",
    "CREATE VIRTUAL TABLE boxes USING rtree(id, low, high)",
    "INSERT INTO boxes VALUES (4, 2.5, 3.5)",
    "INSERT INTO notes (notes, rank) VALUES ('rank', 'bm25(3.0)')",
    "CREATE VIEW shown AS SELECT a AS n, b FROM plain WHERE a < 100",
    "CREATE VIRTUAL TABLE found_shown USING fts5(b, content='shown', content_rowid='n')",
    "INSERT INTO found_shown (found_shown) VALUES ('rebuild')",
    "PRAGMA user_version = 12",
)
ROWS = {
    "plain": "SELECT a, hex(b), typeof(b), hex(c), typeof(c), CAST(d AS TEXT), typeof(d) FROM plain ORDER BY a",
    "untyped": "SELECT x, typeof(x), rowid, typeof(rowid), _rowid_, typeof(_rowid_) FROM untyped",
    "computed": "SELECT * FROM computed",
    "keyed": "SELECT * FROM keyed",
    "counted": "SELECT name, seq FROM sqlite_sequence",
    "odd": """SELECT * FROM "odd ""na'me" """,
    "child": "SELECT rowid, x FROM child",
    "parent": "SELECT * FROM parent",
    "notes": "SELECT rowid, body FROM notes ORDER BY rowid",
    "match": "SELECT rowid FROM notes WHERE notes MATCH 'hello'",
    "content": "SELECT rowid FROM found WHERE found MATCH 'كتاب'",
    "boxes": "SELECT * FROM boxes",
    "view": "SELECT rowid FROM found_shown WHERE found_shown MATCH 'كتاب'",
    "settings": "SELECT k, v FROM notes_config ORDER BY k",
    "version": "PRAGMA user_version",
    "keys": "PRAGMA foreign_keys",
    "whole": "PRAGMA integrity_check",
}


async def run(target: Target, *statements: str) -> None:
    [result] = await target.run([Batch(tuple(BatchStep(Stmt(sql=sql)) for sql in statements))])
    assert not any(result.step_errors), [error for error in result.step_errors if error]


async def everything(target: Target) -> dict[str, Sequence[object]]:
    return dict(zip(ROWS, await ask(target, *ROWS.values()), strict=True))


class Places:
    """Empty databases, of either engine."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._made = 0
        self._sqld: object = None

    async def target(self, engine: str) -> Target:
        self._made += 1
        if engine == "file":
            target = await FileTarget.create(self._folder / f"{self._made}.db")
            self._stack.push_async_callback(target.close)
            return target
        if self._sqld is None:
            server = self._stack.enter_context(running_sqld())
            self._sqld = await self._stack.enter_async_context(served_by_sqld(self._folder, server))
        await self._sqld.provider.create(f"t-{self._made}")  # type: ignore[attr-defined]
        return await self._sqld.provider.open(f"t-{self._made}")  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
async def places(tmp_path: Path) -> AsyncIterator[Places]:
    async with AsyncExitStack() as stack:
        yield Places(stack, tmp_path)


@pytest.mark.parametrize(("source", "destination"), [("file", "file"), ("file", "sqld"), ("sqld", "file")])
async def test_everything_arrives_as_it_was(places: Places, source: str, destination: str) -> None:
    here, there = await places.target(source), await places.target(destination)
    await run(here, *ODD)
    done = await copy_database(here, there)
    assert done.skipped == ()
    assert await everything(there) == await everything(here)
    assert (await read_schema(there)).fingerprint == (await read_schema(here)).fingerprint


@pytest.mark.parametrize(("source", "destination"), [("file", "sqld"), ("sqld", "file")])
async def test_large_rows_and_many_rows_come_in_pages(places: Places, source: str, destination: str) -> None:
    here, there = await places.target(source), await places.target(destination)
    await run(
        here,
        "CREATE TABLE many (n INTEGER, t TEXT)",
        """INSERT INTO many WITH RECURSIVE c (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < 20000)
        SELECT n, 'row ' || n FROM c""",
        "CREATE TABLE large (b BLOB)",
        *["INSERT INTO large VALUES (randomblob(3900000))"] * 3,
        "INSERT INTO large VALUES (x'01'), (randomblob(2000000))",
    )
    seen: list[int] = []
    done = await copy_database(here, there, seen.append)
    assert (done.rows, seen[-1]) == (20005, 20005)
    sums = (
        "SELECT count(*), sum(n), sum(length(t)) FROM many",
        "SELECT sum(length(b)), hex(substr(max(b), 1, 50)) FROM large",
    )
    for sql in sums:
        assert (await ask(there, sql)) == (await ask(here, sql))


async def test_what_the_destination_does_not_know_is_left_out_and_named(places: Places) -> None:
    here, there = await places.target("sqld"), await places.target("file")
    await run(
        here,
        "CREATE TABLE films (v F32_BLOB(3), title TEXT)",
        "CREATE INDEX films_v ON films (libsql_vector_idx(v))",
        "INSERT INTO films VALUES (vector32('[1,2,3]'), 'one')",
        "CREATE VIRTUAL TABLE words USING fts5(t, content='')",
        "INSERT INTO words (rowid, t) VALUES (1, 'kept nowhere')",
    )
    done = await copy_database(here, there)
    assert await ask(there, "SELECT title, length(v) FROM films") == [[["one", 12]]]
    assert any("libsql_vector_idx" in line for line in done.skipped)
    assert any("words" in line for line in done.skipped)


async def test_a_row_that_the_destination_does_not_take_is_an_error(places: Places) -> None:
    here, there = await places.target("file"), await places.target("sqld")
    await run(here, "CREATE TABLE large (b BLOB)", "INSERT INTO large VALUES (randomblob(7000000))")
    with pytest.raises(CannotBeCopied, match="too big"):
        await copy_database(here, there)
