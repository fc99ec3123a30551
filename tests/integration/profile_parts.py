"""Migrations, databases and ways in for the tests of token profiles."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freehold.libsql.protocol import (
    Batch,
    BatchStep,
    Cond,
    CondAnd,
    CondError,
    CondIsAutocommit,
    CondNot,
    CondOk,
    Integer,
    Stmt,
    Text,
)
from freehold.migrate.apply import apply
from freehold.migrate.history import History
from freehold.migrate.plan import plan
from freehold.migrate.types import Migration
from tests.support.gateway_app import Caller, Served, served, served_by_sqld

MIGRATIONS = (
    Migration(
        version=1,
        name="words",
        sql="CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL);\nCREATE INDEX by_word ON words (word);",
    ),
    Migration(
        version=2,
        name="cards",
        sql=(
            "CREATE TABLE cards (id INTEGER PRIMARY KEY, word INTEGER REFERENCES words (id) ON DELETE CASCADE);\n"
            "CREATE TRIGGER cards_of_words AFTER INSERT ON words\n"
            "BEGIN INSERT INTO cards (word) VALUES (new.id); END;\n"
        ),
    ),
    Migration(version=3, name="drop_index", sql="DROP INDEX by_word;\n"),
    Migration(version=4, name="fill", sql="UPDATE words SET word = word || '!';\n"),
    Migration(
        version=5,
        name="rebuild",
        sql=(
            "-- foreign_keys: off\n"
            "CREATE TABLE new_words (id INTEGER PRIMARY KEY, word TEXT NOT NULL, note TEXT);\n"
            "INSERT INTO new_words (id, word) SELECT id, word FROM words;\n"
            "DROP TABLE words;\n"
            "ALTER TABLE new_words RENAME TO words;\n"
        ),
    ),
)
HISTORY = History(MIGRATIONS)


async def published() -> History:
    return HISTORY


@contextlib.asynccontextmanager
async def serve(request: pytest.FixtureRequest, kind: str, folder: Path, most: str) -> AsyncIterator[Served]:
    if kind == "local":
        async with served(folder, most=most, published=published) as running:
            yield running
        return
    sqld = request.getfixturevalue("sqld")
    async with served_by_sqld(folder, sqld, most=most, published=published) as running:
        yield running


_names = iter(range(10**6))


async def fresh(place: Served, profile: str = "rows", *, to: int = 1) -> Caller:
    """A database at version `to`, migrated by Freehold itself, with a token of the profile."""
    name = f"t-{next(_names)}"
    await place.provider.create(name)
    await apply(await place.provider.open(name), MIGRATIONS, to=to)
    return await place.caller(name, profile)


# What needs which profile ----------------------------------------------------------------------------

READING = (
    "SELECT * FROM words",
    "VALUES (1)",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "SELECT version FROM freehold_ledger",
    "EXPLAIN QUERY PLAN SELECT * FROM words",
    "PRAGMA table_info(words)",
    "-- a comment\n SELECT 1;",
)
WRITING = (
    "INSERT INTO words (word) VALUES ('a; DROP TABLE words')",
    "REPLACE INTO words (id, word) VALUES (1, 'freehold_ledger')",
    "UPDATE words SET word = 'x'",
    "DELETE FROM words WHERE id = 7",
    "WITH a AS (SELECT 1 AS id) DELETE FROM words WHERE id IN (SELECT id FROM a)",
    "INSERT INTO words (id, word) SELECT version + 100, name FROM freehold_ledger",
    'INSERT INTO "words" (word) VALUES (1) RETURNING id',
    "EXPLAIN QUERY PLAN DELETE FROM words",
    "EXPLAIN INSERT INTO words (word) VALUES ('x')",
    "PRAGMA user_version = 7",
)
SCHEMA = (
    "CREATE TABLE mine (a)",
    "CREATE TABLE IF NOT EXISTS words (a)",
    "/* x */ create /* y */ table mine2(a);",
    "CREATE INDEX mine_index ON words (word)",
    "CREATE VIEW mine_view AS SELECT 1",
    "CREATE TRIGGER mine_trigger AFTER INSERT ON words BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE mine_search USING fts5(a)",
    "ALTER TABLE words ADD COLUMN note TEXT",
    "ALTER TABLE words RENAME TO others",
    "DROP INDEX IF EXISTS gone",
    "DROP TABLE IF EXISTS gone",
    "EXPLAIN DROP TABLE words",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA main.foreign_keys(0)",
    "EXPLAIN PRAGMA foreign_keys = 0",
    "PRAGMA defer_foreign_keys = OFF",
    "EXPLAIN PRAGMA defer_foreign_keys = 0",
    "REINDEX words",
)
# Refused under all profiles; on files some for other reasons too.
OWN = (
    "DELETE FROM freehold_ledger",
    "delete from main.[freehold_ledger]",
    "UPDATE OR IGNORE \"freehold_ledger\" SET name = 'x'",
    "INSERT OR REPLACE INTO 'freehold_ledger' SELECT * FROM freehold_ledger",
    "WITH replace AS (SELECT 1) DELETE FROM `FREEHOLD_ledger`",
    "WITH a AS (SELECT 1) INSERT INTO freehold_ledger SELECT * FROM freehold_ledger",
    "DROP TABLE freehold_ledger",
    "ALTER TABLE freehold_ledger RENAME TO mine",
    "ALTER TABLE words RENAME TO freehold_words",
    "ALTER TABLE words RENAME TO 'freehold_words'",
    "CREATE TABLE freehold_words (a)",
    "CREATE TEMP TABLE freehold_ledger (a)",
    "CREATE VIRTUAL TABLE freehold USING fts5(a)",
    "CREATE VIEW freehold_view AS SELECT 1",
    "CREATE INDEX mine ON freehold_ledger (name)",
    "CREATE TRIGGER t AFTER INSERT ON words BEGIN DELETE FROM freehold_ledger; END",
    "CREATE TRIGGER t AFTER INSERT ON freehold_ledger BEGIN SELECT 1; END",
)
DOORS = (
    *("execute", "v2", "batch", "sequence", "describe", "stored", "stored sequence", "transaction"),
    *("cursor", "v1/execute", "v1/batch"),
)


async def through(caller: Caller, door: str, sql: str) -> tuple[str, str]:
    """Code and message of what becomes of the statement; `ok` if it is done."""
    close = {"type": "close"}
    stmt = {"sql": sql}
    match door:
        case "v1/execute":
            return verdict_of(*await caller.post(door, {"stmt": stmt}))
        case "v1/batch":
            return verdict_of(*await caller.post(door, {"batch": {"steps": [{"stmt": stmt}]}}))
        case "cursor":
            async with caller.served.http.post(
                f"{caller.url}v3/cursor",
                json={"batch": {"steps": [{"stmt": stmt}]}},
                headers={"authorization": f"Bearer {caller.token}"},
            ) as reply:
                return verdict_of(reply.status, [json.loads(line) for line in (await reply.text()).splitlines()])
    ways: dict[str, list[Any]] = {
        "execute": [{"type": "execute", "stmt": stmt}],
        "v2": [{"type": "execute", "stmt": stmt}],
        "batch": [{"type": "batch", "batch": {"steps": [{"stmt": stmt}]}}],
        "sequence": [{"type": "sequence", "sql": sql}],
        "describe": [{"type": "describe", "sql": sql}],
        "stored": [{"type": "store_sql", "sql_id": 1, "sql": sql}, {"type": "execute", "stmt": {"sql_id": 1}}],
        "stored sequence": [{"type": "store_sql", "sql_id": 1, "sql": sql}, {"type": "sequence", "sql_id": 1}],
        "transaction": [
            {"type": "execute", "stmt": {"sql": "BEGIN"}},
            {"type": "execute", "stmt": stmt},
            {"type": "execute", "stmt": {"sql": "COMMIT"}},
        ],
    }
    requests = ways[door]
    version = 2 if door == "v2" else 3
    return verdict_of(*await caller.post(f"v{version}/pipeline", {"requests": [*requests, close]}))


def verdict_of(status: int, body: Any) -> tuple[str, str]:
    error = next(errors_in(body), None)
    assert (status == 200) or error is not None, (status, body)
    return (error["code"], error["message"]) if error else ("ok", "")


def errors_in(body: Any) -> Iterator[dict[str, str]]:
    if isinstance(body, dict):
        if isinstance(body.get("message"), str) and "code" in body:
            yield body
        for value in body.values():
            yield from errors_in(value)
    elif isinstance(body, list):
        for value in body:
            yield from errors_in(value)


async def state(caller: Caller) -> Any:
    """The schema, the ledger and what connections are set to, as a reader sees them."""
    reader = await caller.served.caller(caller.name, "rows")
    return (
        await reader.rows("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"),
        await reader.rows("SELECT version, chain FROM freehold_ledger ORDER BY version"),
        await reader.rows("PRAGMA user_version"),
    )


# The registry's own batches --------------------------------------------------------------------------


def batch_of(after: int, to: int, *, together: bool = False) -> Batch:
    [planned] = plan(MIGRATIONS, HISTORY.links, after, to, together=together)
    return planned.batch


async def send(caller: Caller, batch: Batch, door: str = "pipeline", **more: Any) -> tuple[int, Any]:
    body = msgspec.to_builtins(batch)
    match door:
        case "pipeline":
            requests = [{"type": "batch", "batch": body}, {"type": "close"}]
            return await caller.post("v3/pipeline", {"requests": requests, **more})
        case "v2":
            requests = [{"type": "batch", "batch": body}, {"type": "close"}]
            return await caller.post("v2/pipeline", {"requests": requests})
        case "open stream":
            return await caller.post("v3/pipeline", {"requests": [{"type": "batch", "batch": body}], **more})
        case "stored":
            return await caller.post("v3/pipeline", {"requests": stored(body)})
        case "cursor":
            async with caller.served.http.post(
                f"{caller.url}v3/cursor", json={"batch": body}, headers={"authorization": f"Bearer {caller.token}"}
            ) as reply:
                return reply.status, [json.loads(line) for line in (await reply.text()).splitlines()]
    return await caller.post("v1/batch", {"batch": body})


def stored(batch: Any) -> list[Any]:
    """A pipeline that stores every text and names it by its number."""
    steps = batch["steps"]
    stores = [{"type": "store_sql", "sql_id": number, "sql": step["stmt"]["sql"]} for number, step in enumerate(steps)]
    for number, step in enumerate(steps):
        step["stmt"] = {**step["stmt"], "sql_id": number}
        del step["stmt"]["sql"]
    return [*stores, {"type": "batch", "batch": batch}, {"type": "close"}]


async def version_of(caller: Caller) -> int:
    reader = await caller.served.caller(caller.name, "read_only")
    [[version]] = await reader.rows("SELECT max(version) FROM freehold_ledger")
    return int(version)


def _without(batch: Batch, at: int) -> Batch:
    return Batch(batch.steps[:at] + batch.steps[at + 1 :])


def _with(batch: Batch, at: int, stmt: Stmt | None = None, condition: Cond | str | None = "same") -> Batch:
    old = batch.steps[at]
    kept: Any = old.condition if condition == "same" else condition
    return Batch((*batch.steps[:at], BatchStep(stmt or old.stmt, kept), *batch.steps[at + 1 :]))


def tampered() -> Iterator[tuple[str, Batch]]:
    """Batches that are nearly the registry's version 3, which drops an index."""
    own = batch_of(2, 3)
    ledger = next(at for at, step in enumerate(own.steps) if "INSERT" in (step.stmt.sql or ""))
    drop = ledger + 1
    commit = next(at for at, step in enumerate(own.steps) if step.stmt.sql == "COMMIT")
    for at in range(len(own.steps)):
        yield f"without step {at}", _without(own, at)
        yield (
            f"step {at} without its condition",
            _with(own, at, condition=None if own.steps[at].condition else CondOk(0)),
        )
        yield f"step {at} twice", Batch((*own.steps[: at + 1], *own.steps[at:]))
        text = own.steps[at].stmt.sql or ""
        yield (
            f"step {at} with a comment",
            _with(own, at, msgspec.structs.replace(own.steps[at].stmt, sql=f"{text} -- ")),
        )
        yield (
            f"step {at} with another",
            _with(own, at, msgspec.structs.replace(own.steps[at].stmt, sql=f"{text}; DROP TABLE words")),
        )
        yield (
            f"step {at} as a number",
            _with(own, at, msgspec.structs.replace(own.steps[at].stmt, sql=None, sql_id=at)),
        )
    yield "the drop alone", Batch((own.steps[drop],))
    yield "the drop alone, at once", Batch((BatchStep(own.steps[drop].stmt),))
    yield "up to the drop", Batch(own.steps[: drop + 1])
    yield "up to the commit", Batch(own.steps[:commit])
    yield "rolled back to a savepoint", _with(own, commit, Stmt(sql="ROLLBACK"))
    yield "one more step", Batch((*own.steps, BatchStep(Stmt(sql="DROP TABLE words"))))
    yield "one more harmless step", Batch((*own.steps, BatchStep(Stmt(sql="SELECT 1"))))
    yield "one before", Batch((BatchStep(Stmt(sql="SELECT 1")), *own.steps))
    stmt = own.steps[ledger].stmt
    other = batch_of(1, 2).steps[ledger].stmt
    yield "another version's row", _with(own, ledger, other)
    yield (
        "another name",
        _with(own, ledger, msgspec.structs.replace(stmt, args=(stmt.args[0], Text("x"), *stmt.args[2:]))),
    )
    yield (
        "a version that is none",
        _with(own, ledger, msgspec.structs.replace(stmt, args=(Integer("99"), *stmt.args[1:]))),
    )
    yield (
        "a huge number",
        _with(own, ledger, msgspec.structs.replace(stmt, args=(Integer("9" * 5000), *stmt.args[1:]))),
    )
    yield "no arguments", _with(own, ledger, msgspec.structs.replace(stmt, args=()))
    yield "another statement", _with(own, drop, Stmt(sql="DROP TABLE words"))
    deep: Cond = CondOk(0)
    for _ in range(60):
        deep = CondNot(CondNot(deep))
    yield "a condition that says the same", _with(own, drop, condition=deep)
    yield "a condition that fails", _with(own, drop, condition=CondError(0))
    yield "a condition with more", _with(own, drop, condition=CondAnd((CondOk(ledger), CondIsAutocommit())))
    steps = list(own.steps)
    steps[ledger], steps[drop] = steps[drop], steps[ledger]
    yield "in another order", Batch(tuple(steps))
    later = batch_of(4, 5)
    yield "foreign keys left off", Batch(later.steps[:-1])
    yield "foreign keys off alone", Batch(later.steps[:1])
