"""Token profiles at the gateway, on files and on a real sqld: who may change what, through which door.

The schema is the registry's: with a token of the profile `rows` it changes by exactly the registry's own batches.
"""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freehold.libsql.http import HranaTarget
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
from freehold.providers.sqld.protobuf import encoded
from freehold.providers.sqld.proxy_messages import framed
from tests.gateway_app import Caller, Served, served, served_by_sqld
from tests.sqld import Sqld

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


@pytest.fixture(params=["local", "sqld"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(request, request.param, tmp_path, "full") as running:
        yield running


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
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA user_version = 7",
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
            return _verdict(*await caller.post(door, {"stmt": stmt}))
        case "v1/batch":
            return _verdict(*await caller.post(door, {"batch": {"steps": [{"stmt": stmt}]}}))
        case "cursor":
            async with caller.served.http.post(
                f"{caller.url}v3/cursor",
                json={"batch": {"steps": [{"stmt": stmt}]}},
                headers={"authorization": f"Bearer {caller.token}"},
            ) as reply:
                return _verdict(
                    reply.status, [json.loads(line) for line in (await reply.text()).splitlines()]
                )
    ways: dict[str, list[Any]] = {
        "execute": [{"type": "execute", "stmt": stmt}],
        "v2": [{"type": "execute", "stmt": stmt}],
        "batch": [{"type": "batch", "batch": {"steps": [{"stmt": stmt}]}}],
        "sequence": [{"type": "sequence", "sql": sql}],
        "describe": [{"type": "describe", "sql": sql}],
        "stored": [
            {"type": "store_sql", "sql_id": 1, "sql": sql},
            {"type": "execute", "stmt": {"sql_id": 1}},
        ],
        "stored sequence": [
            {"type": "store_sql", "sql_id": 1, "sql": sql},
            {"type": "sequence", "sql_id": 1},
        ],
        "transaction": [
            {"type": "execute", "stmt": {"sql": "BEGIN"}},
            {"type": "execute", "stmt": stmt},
            {"type": "execute", "stmt": {"sql": "COMMIT"}},
        ],
    }
    requests = ways[door]
    version = 2 if door == "v2" else 3
    return _verdict(*await caller.post(f"v{version}/pipeline", {"requests": [*requests, close]}))


def _verdict(status: int, body: Any) -> tuple[str, str]:
    error = next(_errors(body), None)
    assert (status == 200) or error is not None, (status, body)
    return (error["code"], error["message"]) if error else ("ok", "")


def _errors(body: Any) -> Iterator[dict[str, str]]:
    if isinstance(body, dict):
        if isinstance(body.get("message"), str) and "code" in body:
            yield body
        for value in body.values():
            yield from _errors(value)
    elif isinstance(body, list):
        for value in body:
            yield from _errors(value)


@pytest.mark.parametrize("door", DOORS)
async def test_rows_change_rows_and_nothing_else(place: Served, door: str) -> None:
    caller = await fresh(place)
    for sql in (*READING, *WRITING, "PRAGMA user_version", "PRAGMA foreign_keys"):
        assert (sql, await through(caller, door, sql)) == (sql, ("ok", ""))
    before = await state(caller)
    for sql in SCHEMA:
        code, message = await through(caller, door, sql)
        assert (sql, code) == (sql, "PROFILE_NEEDED"), message
        assert "`full`" in message, message
    for sql in OWN:
        code, message = await through(caller, door, sql)
        assert (sql, code in {"SQLITE_AUTH", "REFUSED_SQL"}) == (sql, True), (code, message)
        assert "freehold" in message
    assert await state(caller) == before


@pytest.mark.parametrize("door", DOORS)
async def test_read_only_reads_and_a_refusal_names_the_profile_it_would_need(
    place: Served, door: str
) -> None:
    caller = await fresh(place, "read_only")
    for sql in READING:
        assert (sql, await through(caller, door, sql)) == (sql, ("ok", ""))
    before = await state(caller)
    for sql, wanted in [*((sql, "`rows`") for sql in WRITING), *((sql, "`full`") for sql in SCHEMA)]:
        code, message = await through(caller, door, sql)
        assert (sql, code) == (sql, "PROFILE_NEEDED"), message
        assert wanted in message, message
    for sql in OWN:
        assert (await through(caller, door, sql))[0] != "ok", sql
    assert await state(caller) == before


@pytest.mark.parametrize("door", DOORS)
async def test_full_changes_the_schema_but_not_what_is_freeholds_own(place: Served, door: str) -> None:
    caller = await fresh(place, "full")
    before = await state(caller)
    for sql in OWN:
        code, message = await through(caller, door, sql)
        assert (sql, code in {"SQLITE_AUTH", "REFUSED_SQL"}) == (sql, True), (code, message)
    assert await state(caller) == before
    for sql in (*READING, *WRITING, *SCHEMA):
        if "PRAGMA" in sql or "REINDEX" in sql or "RENAME" in sql:  # the engines differ, or the table is gone
            continue
        assert (sql, await through(caller, door, sql)) == (sql, ("ok", ""))


@pytest.mark.parametrize("door", DOORS)
async def test_none_opens_nothing_and_says_what_it_would_need(place: Served, door: str) -> None:
    caller = await fresh(place, "none")
    for sql in (READING[0], WRITING[0], SCHEMA[0]):
        code, message = await through(caller, door, sql)
        assert code == "PROFILE_NEEDED"
        assert all(f"`{name}`" in message for name in ("read_only", "rows", "full"))


async def state(caller: Caller) -> Any:
    """The schema, the ledger and what connections are set to, as a reader sees them."""
    reader = await caller.served.caller(caller.name, "rows")
    return (
        await reader.rows(
            "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        ),
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
            return await caller.post("v3/pipeline", {"requests": _stored(body)})
        case "cursor":
            async with caller.served.http.post(
                f"{caller.url}v3/cursor",
                json={"batch": body},
                headers={"authorization": f"Bearer {caller.token}"},
            ) as reply:
                return reply.status, [json.loads(line) for line in (await reply.text()).splitlines()]
    return await caller.post("v1/batch", {"batch": body})


def _stored(batch: Any) -> list[Any]:
    """A pipeline that stores every text and names it by its number."""
    steps = batch["steps"]
    stores = [
        {"type": "store_sql", "sql_id": number, "sql": step["stmt"]["sql"]}
        for number, step in enumerate(steps)
    ]
    for number, step in enumerate(steps):
        step["stmt"] = {**step["stmt"], "sql_id": number}
        del step["stmt"]["sql"]
    return [*stores, {"type": "batch", "batch": batch}, {"type": "close"}]


async def version_of(caller: Caller) -> int:
    reader = await caller.served.caller(caller.name, "read_only")
    [[version]] = await reader.rows("SELECT max(version) FROM freehold_ledger")
    return int(version)


@pytest.mark.parametrize("door", ["pipeline", "v2", "open stream", "cursor", "v1/batch", "stored"])
async def test_exactly_the_registrys_batches_pass_through_every_door(place: Served, door: str) -> None:
    caller = await fresh(place)
    await caller.run("INSERT INTO words (word) VALUES ('a')")
    if door in {"v2", "v1/batch"} and place.provider.name == "sqld":  # which wants the newest protocol for it
        status, body = await send(caller, batch_of(1, 2), door)
        assert (status, body["code"], await version_of(caller)) == (400, "INVALID_INPUT", 1)
        return
    for after, to in ((1, 3), (3, 4), (4, 5)):
        status, body = await send(caller, batch_of(after, to, together=True), door)
        assert (status, await version_of(caller)) == (200, to), body
        if door == "cursor" and place.provider.name == "sqld":  # nobody goes on where one was broken off
            assert body[0]["baton"] is None
    assert (await caller.rows("SELECT word, note FROM words")) == [["a!", None]]
    reader = await place.caller(caller.name, "full")
    assert await reader.rows("PRAGMA foreign_keys") == [[1]]


@pytest.mark.parametrize("start", range(len(MIGRATIONS)))
@pytest.mark.parametrize("profile", ["rows", "full"])
async def test_a_client_migrates_its_own_database_from_every_version(
    place: Served, start: int, profile: str
) -> None:
    caller = await fresh(place, profile, to=start)
    target = HranaTarget(caller.served.http, caller.url, caller.token)
    applied = await apply(target, MIGRATIONS)
    assert (applied.version, len(applied.applied)) == (len(MIGRATIONS), len(MIGRATIONS) - start)
    assert await version_of(caller) == len(MIGRATIONS)


async def test_clients_that_race_each_other_apply_each_version_once(place: Served) -> None:
    caller = await fresh(place, to=0)
    target = HranaTarget(caller.served.http, caller.url, caller.token)
    done = await asyncio.gather(*(apply(target, MIGRATIONS) for _ in range(4)))
    assert {each.version for each in done} == {len(MIGRATIONS)}
    assert sorted(version for each in done for version in each.applied) == [1, 2, 3, 4, 5]


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


@pytest.mark.parametrize("door", ["pipeline", "open stream", "cursor", "v1/batch", "stored"])
async def test_a_batch_that_is_nearly_the_registrys_changes_nothing(place: Served, door: str) -> None:
    caller = await fresh(place, to=2)
    await caller.run("INSERT INTO words (word) VALUES ('a')")
    before = await state(caller)
    for what, batch in tampered():
        if door == "stored" and any(step.stmt.sql is None for step in batch.steps):
            continue
        status, body = await send(caller, batch, door)
        assert (what, next(_errors(body), None) is not None) == (what, True), (status, body)
        await _end_stream(caller, body)
        assert (what, await state(caller)) == (what, before)
    assert await caller.rows("SELECT word FROM words") == [["a"]]
    assert await caller.rows("PRAGMA foreign_keys") == [[1]]
    status, body = await send(caller, batch_of(2, 3))
    assert (status, await version_of(caller)) == (200, 3), body


async def _end_stream(caller: Caller, body: Any) -> None:
    """What is left open there would hold the lock."""
    baton = next(
        (each["baton"] for each in (body if isinstance(body, list) else [body]) if "baton" in each), None
    )
    if baton is not None:
        await caller.pipeline({"type": "close"}, baton=baton)


async def test_a_batch_for_another_version_changes_nothing(place: Served) -> None:
    """The registry's own `DROP INDEX` is of no use at will: the ledger lets it pass once, in its turn."""
    caller = await fresh(place, to=1)
    before = await state(caller)
    for after, to in ((2, 3), (3, 4), (4, 5), (0, 1)):
        status, _ = await send(caller, batch_of(after, to))
        assert (status, await state(caller)) == (200, before)
    behind = await fresh(place, to=3)
    before = await state(behind)
    assert (await send(behind, batch_of(2, 3)))[0] == 200
    assert await state(behind) == before


async def test_a_migration_does_not_mix_with_a_transaction_of_the_client(place: Served) -> None:
    caller = await fresh(place, to=2)
    before = await state(caller)
    opened = await caller.pipeline("BEGIN IMMEDIATE", "INSERT INTO words (word) VALUES ('mine')")
    status, body = await send(caller, batch_of(2, 3), "open stream", baton=opened["baton"])
    assert status == 200
    assert next(_errors(body))["message"]  # a transaction within a transaction
    after = await caller.pipeline("COMMIT", "PRAGMA foreign_keys", {"type": "close"}, baton=body["baton"])
    assert after["results"][0]["type"] == "ok"
    assert await state(caller) == before
    assert await caller.rows("SELECT word FROM words") == [["mine"]]


async def test_the_text_that_a_number_stands_for_is_the_one_that_counts(place: Served) -> None:
    caller = await fresh(place, to=2)
    before = await state(caller)
    opened = await caller.pipeline({"type": "store_sql", "sql_id": 7, "sql": "SELECT 1"})
    batch = msgspec.to_builtins(batch_of(2, 3))
    for step in batch["steps"]:
        if step["stmt"]["sql"].startswith("DROP"):
            step["stmt"] = {"sql_id": 7, "want_rows": False}
    status, body = await caller.post(
        "v3/pipeline", {"baton": opened["baton"], "requests": [{"type": "batch", "batch": batch}]}
    )
    assert next(_errors(body), None) is not None, (status, body)
    assert await state(caller) == before


async def test_text_beyond_the_profile_is_of_no_use_when_it_is_stored(place: Served) -> None:
    caller = await fresh(place, to=2)
    before = await state(caller)
    status, body = await caller.post(
        "v3/pipeline", {"requests": [{"type": "store_sql", "sql_id": 1, "sql": "DROP TABLE words"}]}
    )
    baton = body.get("baton")
    if baton is not None:
        for request in (
            {"type": "execute", "stmt": {"sql_id": 1}},
            {"type": "sequence", "sql_id": 1},
            {"type": "batch", "batch": {"steps": [{"stmt": {"sql_id": 1}}]}},
        ):
            answer = await caller.pipeline(request, baton=baton)
            baton = answer["baton"]
            assert next(_errors(answer))["code"] == "PROFILE_NEEDED"
    assert (status == 403) == (baton is None)
    assert await state(caller) == before


async def test_a_migration_sent_as_one_sequence_is_refused_and_says_how_to_send_it(place: Served) -> None:
    caller = await fresh(place, to=2)
    before = await state(caller)
    text = ";\n".join(step.stmt.sql or "" for step in batch_of(2, 3).steps)
    code, message = await through(caller, "sequence", text)
    assert code in {"PROFILE_NEEDED", "SQLITE_AUTH", "REFUSED_SQL"}, message
    assert await state(caller) == before
    code, message = await through(caller, "sequence", "BEGIN; DROP INDEX by_word; COMMIT")
    assert code == "PROFILE_NEEDED"
    assert "batch" in message


async def test_many_migrations_in_one_pipeline_each_pass_by_themselves(place: Served) -> None:
    caller = await fresh(place, to=1)
    batches = [{"type": "batch", "batch": msgspec.to_builtins(batch_of(at, at + 1))} for at in range(1, 5)]
    body = await caller.pipeline(*batches, {"type": "close"})
    assert next(_errors(body), None) is None, body
    assert await version_of(caller) == 5


# What a token says, and what the service allows --------------------------------------------------------


async def test_the_setting_caps_tokens_that_are_out_already(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for kind in ("local", "sqld"):
        folder = tmp_path / kind
        folder.mkdir()
        async with serve(request, kind, folder, "full") as place:
            caller = await fresh(place, "full")
            assert await through(caller, "execute", SCHEMA[0]) == ("ok", "")
        for most, sql in (("rows", SCHEMA[1]), ("read_only", WRITING[0]), ("none", READING[0])):
            async with serve(request, kind, folder, most) as narrower:
                same = Caller(narrower, caller.name, caller.token)
                assert (await through(same, "execute", sql))[0] == "PROFILE_NEEDED"
                asked = await narrower.provider.mint_token(caller.name, "full", "test")
                assert (asked.profile, asked.access_level) == (
                    most,
                    "full" if most == "rows" else "read_only",
                )


async def test_tables_made_by_other_means_than_their_names_are_freeholds_too(tmp_path: Path) -> None:
    """On files SQLite itself says what a statement would write: a trigger from before there were profiles."""
    async with served(tmp_path, published=published) as place:
        caller = await fresh(place, "full")
        target = await place.provider.open(caller.name)
        old = "CREATE TRIGGER old AFTER INSERT ON words BEGIN DELETE FROM freehold_ledger; END"
        [made] = await target.run([Batch((BatchStep(Stmt(sql=old)),))])
        assert made.step_errors == [None]
        for profile in ("rows", "full"):
            caller = await place.caller(caller.name, profile)
            code, message = await through(caller, "execute", "INSERT INTO words (word) VALUES ('x')")
            assert (code, "freehold_" in message) == ("SQLITE_AUTH", True)
        assert await version_of(caller) == 1


# Replicas --------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    return bytes([value])


def _cond(cond: Cond) -> bytes:
    match cond:
        case CondOk(step=step):
            return encoded(1, b"\x08" + _varint(step) if step else b"")
        case CondError(step=step):
            return encoded(2, b"\x08" + _varint(step) if step else b"")
        case CondNot(cond=inner):
            return encoded(3, encoded(1, _cond(inner)))
        case CondAnd(conds=conds):
            return encoded(4, b"".join(encoded(1, _cond(each)) for each in conds))
        case CondIsAutocommit():
            return encoded(6, b"")
    raise AssertionError(cond)


def _param(value: Any) -> bytes:
    if isinstance(value, Integer):
        return encoded(1, struct.pack("<Iq", 1, int(value.value)))
    text = value.value.encode()
    return encoded(1, struct.pack("<IQ", 3, len(text)) + text)


def program(steps: Sequence[BatchStep]) -> bytes:
    """What a replica hands on: a connection's id and the steps."""
    made = b""
    for step in steps:
        query = encoded(1, (step.stmt.sql or "").encode())
        query += encoded(2, b"".join(encoded(1, _param(arg)) for arg in step.stmt.args))
        cond = b"" if step.condition is None else encoded(1, _cond(step.condition))
        made += encoded(1, cond + encoded(2, query))
    return framed(encoded(1, b"replica-1") + encoded(2, made))


async def hand_on(caller: Caller, method: str, body: bytes) -> tuple[str, str]:
    """gRPC's status and message of a call that a replica makes; the status is in the last frame if it ran."""
    async with caller.served.http.post(
        f"{caller.url}proxy.Proxy/{method}",
        data=body,
        headers={"authorization": f"Bearer {caller.token}", "content-type": "application/grpc-web"},
    ) as reply:
        await reply.read()
        return reply.headers.get("grpc-status", "0"), reply.headers.get("grpc-message", "")


async def test_replicas_hand_on_rows_and_the_registrys_batches_alone(tmp_path: Path, sqld: Sqld) -> None:
    async with served_by_sqld(tmp_path, sqld, published=published) as place:
        caller = await fresh(place, to=2)
        assert await hand_on(caller, "Execute", program([BatchStep(Stmt(sql=WRITING[0]))])) == ("0", "")
        before = await state(caller)
        for sql in (*SCHEMA, *OWN):
            for method, body in (
                ("Execute", program([BatchStep(Stmt(sql=sql))])),
                ("Describe", framed(encoded(1, b"replica-1") + encoded(2, sql.encode()))),
            ):
                status, message = await hand_on(caller, method, body)
                assert (sql, method, status) == (sql, method, "7"), message
        for what, batch in tampered():
            if (
                any(step.stmt.sql is None for step in batch.steps)
                or "huge" in what
                or "says the same" in what
            ):
                continue  # a replica has no way to say that
            assert (what, (await hand_on(caller, "Execute", program(batch.steps)))[0]) == (what, "7")
        assert await state(caller) == before
        for after, to in ((2, 3), (3, 4), (4, 5)):
            assert await hand_on(caller, "Execute", program(batch_of(after, to).steps)) == ("0", "")
            assert await version_of(caller) == to
        reader = await place.caller(caller.name, "read_only")
        status, message = await hand_on(reader, "Execute", program([BatchStep(Stmt(sql=WRITING[0]))]))
        assert (status, "`rows`" in message) == ("7", True)
        nobody = await place.caller(caller.name, "none")
        assert (await hand_on(nobody, "Execute", program([BatchStep(Stmt(sql="SELECT 1"))])))[0] == "7"
