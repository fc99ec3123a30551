"""Token profiles at the gateway, on files and on a real sqld: who may change what, through which door.

The schema is the registry's: with a token of the profile `rows` it changes by exactly the registry's own batches.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.libsql.protocol import Batch, BatchStep, Stmt
from tests.integration.profile_parts import (
    DOORS,
    OWN,
    READING,
    SCHEMA,
    WRITING,
    fresh,
    published,
    serve,
    state,
    through,
    version_of,
)
from tests.support.gateway_app import Caller, Served, served


@pytest.fixture(params=["local", "sqld"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(request, request.param, tmp_path, "full") as running:
        yield running


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
async def test_read_only_reads_and_a_refusal_names_the_profile_it_would_need(place: Served, door: str) -> None:
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


# What a token says, and what the service allows --------------------------------------------------------


async def test_the_setting_caps_tokens_that_are_out_already(request: pytest.FixtureRequest, tmp_path: Path) -> None:
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
                assert (asked.profile, asked.access_level) == (most, "full" if most == "rows" else "read_only")


async def test_tables_made_by_other_means_than_their_names_are_freeholds_too(tmp_path: Path) -> None:
    """On files SQLite itself says what a statement would write: a trigger from before there were profiles."""
    async with served(tmp_path, published=published) as place:
        caller = await fresh(place, "full")
        target = await place.provider.open(caller.name)
        old = "CREATE TRIGGER old AFTER INSERT ON words BEGIN DELETE FROM freehold_ledger; END"
        [made] = await target.run([Batch((BatchStep(Stmt(sql=old)),))])
        assert made.step_errors == [None]
        # What Freehold itself has prepared on the same connection is not found again by others.
        ours = "INSERT INTO words (word) SELECT 'x' WHERE 0"
        for want_rows in (True, False):
            [ran] = await target.run([Batch((BatchStep(Stmt(sql=ours, want_rows=want_rows)),))])
            assert ran.step_errors == [None]
        for profile in ("rows", "full"):
            caller = await place.caller(caller.name, profile)
            for sql in ("INSERT INTO words (word) VALUES ('x')", ours):
                code, message = await through(caller, "execute", sql)
                assert (code, "freehold_" in message) == ("SQLITE_AUTH", True)
        assert await version_of(caller) == 1
