"""Exactly the registry's own batches change a schema; what is nearly one of them changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freehold.libsql.http import HranaTarget
from freehold.migrate.apply import apply
from tests.integration.profile_parts import (
    MIGRATIONS,
    batch_of,
    errors_in,
    fresh,
    send,
    serve,
    state,
    tampered,
    through,
    version_of,
)
from tests.support.gateway_app import Caller, Served


@pytest.fixture(params=["local", "sqld"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(request, request.param, tmp_path, "full") as running:
        yield running


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
async def test_a_client_migrates_its_own_database_from_every_version(place: Served, start: int, profile: str) -> None:
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


@pytest.mark.parametrize("door", ["pipeline", "open stream", "cursor", "v1/batch", "stored"])
async def test_a_batch_that_is_nearly_the_registrys_changes_nothing(place: Served, door: str) -> None:
    caller = await fresh(place, to=2)
    await caller.run("INSERT INTO words (word) VALUES ('a')")
    before = await state(caller)
    for what, batch in tampered():
        if door == "stored" and any(step.stmt.sql is None for step in batch.steps):
            continue
        status, body = await send(caller, batch, door)
        assert (what, next(errors_in(body), None) is not None) == (what, True), (status, body)
        await end_stream(caller, body)
        assert (what, await state(caller)) == (what, before)
    assert await caller.rows("SELECT word FROM words") == [["a"]]
    assert await caller.rows("PRAGMA foreign_keys") == [[1]]
    status, body = await send(caller, batch_of(2, 3))
    assert (status, await version_of(caller)) == (200, 3), body


async def end_stream(caller: Caller, body: Any) -> None:
    """What is left open there would hold the lock."""
    baton = next((each["baton"] for each in (body if isinstance(body, list) else [body]) if "baton" in each), None)
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
    assert next(errors_in(body))["message"]  # a transaction within a transaction
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
    assert next(errors_in(body), None) is not None, (status, body)
    assert await state(caller) == before


async def test_text_beyond_the_profile_is_of_no_use_when_it_isstored(place: Served) -> None:
    caller = await fresh(place, to=2)
    before = await state(caller)
    stored = await caller.pipeline({"type": "store_sql", "sql_id": 1, "sql": "DROP TABLE words"})
    baton = stored["baton"]
    for request in (
        {"type": "execute", "stmt": {"sql_id": 1}},
        {"type": "sequence", "sql_id": 1},
        {"type": "batch", "batch": {"steps": [{"stmt": {"sql_id": 1}}]}},
    ):
        answer = await caller.pipeline(request, baton=baton)
        baton = answer["baton"]
        assert next(errors_in(answer))["code"] == "PROFILE_NEEDED"
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
    assert next(errors_in(body), None) is None, body
    assert await version_of(caller) == 5
