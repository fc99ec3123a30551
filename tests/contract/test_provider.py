"""Every adapter of `DatabaseProvider` keeps these words."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from testbed.sqld import running_sqld
from testbed.twin import Twin, running_twin, turso_provider
from tests.support.gateway_app import served, served_by_sqld

from freehold.errors import Conflict, InvalidInput, NotFound
from freehold.libsql.protocol import Batch, BatchResult, BatchStep, Stmt
from freehold.libsql.values import decode
from freehold.profiles import PROFILES, Profile
from freehold.providers.local.provider import LocalProvider
from freehold.tenants.errors import NoPointInTime
from freehold.tenants.ports import DatabaseProvider

BAD_NAMES = ["", "..", "../x", "a/b", "A", "a.b", "a\0", "ä", "a" * 64, "%2e"]


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    """Turso's Platform API, on this machine."""
    with running_twin() as running:
        yield running


@pytest.fixture(params=["local", "sqld", "turso"])
async def provider(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DatabaseProvider]:
    """The adapter, with its databases reachable at their URLs."""
    if request.param == "local":
        async with served(tmp_path) as running:
            yield running.provider
    elif request.param == "turso":
        turso = turso_provider(request.getfixturevalue("twin"))
        try:
            yield turso
        finally:
            await turso.aclose()
            request.getfixturevalue("twin").clear()
    else:
        with running_sqld() as sqld:
            async with served_by_sqld(tmp_path, sqld, data_dir=sqld.folder / "data") as running:
                yield running.provider


def batch(*statements: str) -> Batch:
    return Batch(steps=tuple(BatchStep(stmt=Stmt(sql=sql)) for sql in statements))


async def run(provider: DatabaseProvider, name: str, *statements: str) -> BatchResult:
    target = await provider.open(name)
    return (await target.run([batch(*statements)]))[0]


async def ask(url: str, token: str, sql: str) -> int:
    """The status of a call."""
    return (await call(url, token, sql))[0]


async def answer(url: str, token: str, sql: str) -> str:
    """The whole answer to a call."""
    return (await call(url, token, sql))[1]


async def call(url: str, token: str, sql: str) -> tuple[int, str]:
    body = {"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}v3/pipeline", json=body, headers={"authorization": f"Bearer {token}"}) as reply,
    ):
        return reply.status, await reply.text()


async def test_create_twice_gives_the_same_database(provider: DatabaseProvider) -> None:
    first = await provider.create("t-1")
    await run(provider, "t-1", "create table t(a)")
    assert await provider.create("t-1") == first
    assert (await run(provider, "t-1", "select * from t")).step_errors == [None]
    assert first.name == "t-1"
    assert first.url.endswith("/")
    assert first.hostname in first.url


async def test_twenty_creates_at_once_make_one_database(provider: DatabaseProvider) -> None:
    made = await asyncio.gather(*(provider.create("t-1") for _ in range(20)))
    assert len({each.url for each in made}) == 1
    results = await asyncio.gather(
        *(run(provider, "t-1", "create table if not exists t(a)", "insert into t values(1)") for _ in range(5))
    )
    assert all(result.step_errors == [None, None] for result in results)


async def test_twenty_databases_are_made_at_once(provider: DatabaseProvider) -> None:
    made = await asyncio.gather(*(provider.create(f"t-{number}") for number in range(20)))
    assert len({each.url for each in made}) == 20
    assert len({each.db_id for each in made}) == 20


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_bad_name_is_refused_before_anything_happens(provider: DatabaseProvider, name: str) -> None:
    with pytest.raises(InvalidInput):
        await provider.create(name)
    with pytest.raises(InvalidInput):
        await provider.mint_token(name, "full", "test")


async def test_find_tells_what_is_there(provider: DatabaseProvider) -> None:
    assert await provider.find("t-1") is None
    made = await provider.create("t-1")
    assert await provider.find("t-1") == made


async def test_names_are_those_of_all_databases_that_there_are(provider: DatabaseProvider) -> None:
    assert await names_of(provider) == []
    wanted = [f"t-{number}" for number in range(30)]
    await asyncio.gather(*(provider.create(name) for name in wanted))
    assert await names_of(provider) == sorted(wanted)
    await provider.delete("t-7")
    assert await names_of(provider) == sorted(set(wanted) - {"t-7"})


async def names_of(provider: DatabaseProvider) -> list[str]:
    pages = provider.names()
    assert pages is not None
    return sorted([name async for page in pages for name in page])


async def test_deleting_takes_all_data_and_works_twice(provider: DatabaseProvider) -> None:
    await provider.delete("t-1")
    await provider.create("t-1")
    await run(provider, "t-1", "create table t(a)")
    await provider.delete("t-1")
    await provider.delete("t-1")
    assert await provider.find("t-1") is None
    await provider.create("t-1")
    (error,) = (await run(provider, "t-1", "select * from t")).step_errors
    assert error is not None
    assert "no such table" in error.message


async def test_a_missing_database_cannot_be_used(provider: DatabaseProvider) -> None:
    with pytest.raises(NotFound):
        await (await provider.open("t-1")).run([batch("select 1")])
    assert await provider.find("t-1") is None
    await provider.create("t-1")
    target = await provider.open("t-1")
    await provider.delete("t-1")
    with pytest.raises(NotFound):
        await target.run([batch("select 1")])
    assert await provider.find("t-1") is None


async def test_many_are_used_at_once(provider: DatabaseProvider) -> None:
    names = [f"t-{number}" for number in range(6)]
    for name in names:
        await provider.create(name)

    async def use(name: str) -> list[BatchResult]:
        one = await provider.open(name)
        return await one.run([batch("CREATE TABLE t (a)", f"INSERT INTO t VALUES ('{name}')")])

    await asyncio.gather(*(use(name) for name in names))
    with pytest.raises(NotFound):
        await (await provider.open("missing")).run([batch("SELECT 1")])
    for name in BAD_NAMES:
        with pytest.raises((InvalidInput, NotFound)):
            await (await provider.open(name)).run([batch("SELECT 1")])
    for name in names:
        result = (await run(provider, name, "SELECT a FROM t")).step_results[0]
        assert result is not None
        assert [[decode(value) for value in row] for row in result.rows] == [[name]]


async def test_a_target_runs_its_batches_on_one_connection_and_leaves_nothing_open(provider: DatabaseProvider) -> None:
    await provider.create("t-1")
    target = await provider.open("t-1")
    results = await target.run([batch("create table t(a)", "begin immediate"), batch("insert into t values(1)")])
    assert [result.step_errors for result in results] == [[None, None], [None]]
    assert [len(rows.rows) for rows in (await run(provider, "t-1", "select * from t")).step_results if rows] == [0]


async def test_a_token_opens_only_its_own_database(provider: DatabaseProvider) -> None:
    mine, theirs = await provider.create("t-1"), await provider.create("t-2")
    token = await provider.mint_token("t-1", "full", "test")
    assert await ask(mine.url, token.text, "create table t(a)") == 200
    assert await ask(theirs.url, token.text, "select 1") == 404
    assert await ask(mine.url, token.text + "x", "select 1") == 401


async def test_a_read_only_token_reads(provider: DatabaseProvider) -> None:
    database = await provider.create("t-1")
    token = await provider.mint_token("t-1", "read_only", "test")
    assert token.access_level == "read_only"
    assert await ask(database.url, token.text, "select * from sqlite_schema") == 200
    status, told = await call(database.url, token.text, "create table t(a)")
    assert (status, '"code":"PROFILE_NEEDED"' in told) == (200, True), told
    assert "create table" not in await answer(database.url, token.text, "select sql from sqlite_schema")


NEEDS: dict[Profile, str] = {"read_only": "select * from t", "rows": "delete from t", "full": "create table u(a)"}


@pytest.mark.parametrize("asked", PROFILES)
async def test_a_token_tells_the_profile_that_the_database_holds_it_to(
    provider: DatabaseProvider, asked: Profile
) -> None:
    database = await provider.create("t-1")
    await run(provider, "t-1", "create table t(a)")
    token = await provider.mint_token("t-1", asked, "test")
    # Turso's tokens know reading and everything, and what they are is said.
    assert token.profile == ("full" if (provider.name, asked) == ("turso", "rows") else asked)
    assert token.access_level == ("full" if asked in {"rows", "full"} else "read_only")
    for needed, sql in NEEDS.items():
        status, answer = await call(database.url, token.text, sql)
        has_run = status == 200 and '"error"' not in answer
        assert has_run == (PROFILES.index(token.profile) >= PROFILES.index(needed)), (sql, status, answer)


async def test_a_token_of_a_deleted_database_opens_nothing(provider: DatabaseProvider) -> None:
    database = await provider.create("t-1")
    token = await provider.mint_token("t-1", "full", "test")
    await provider.delete("t-1")
    assert await ask(database.url, token.text, "select 1") == 404


async def test_a_suspended_database_refuses_everybody_until_it_is_resumed(provider: DatabaseProvider) -> None:
    for missing in (provider.suspend("t-1"), provider.resume("t-1")):
        with pytest.raises(NotFound):
            await missing
    database = await provider.create("t-1")
    await provider.create("t-2")
    await run(provider, "t-1", "create table t(a)")
    token = await provider.mint_token("t-1", "full", "test")
    for _ in range(2):
        await provider.suspend("t-1", "unpaid")
    found = await provider.find("t-1")
    assert found is not None
    assert found.is_suspended
    for sql in ("select * from t", "insert into t values (1)"):
        assert "BLOCKED" in await answer(database.url, token.text, sql)
        (error,) = (await run(provider, "t-1", sql)).step_errors
        assert error is not None
        assert error.code == "BLOCKED"
        assert "unpaid" in error.message or provider.name == "turso"  # which keeps no reason
    assert (await run(provider, "t-2", "select 1")).step_errors == [None]
    assert (await provider.create("t-1")).url == database.url  # whoever comes by must not open it
    assert "BLOCKED" in await answer(database.url, token.text, "select 1")
    for _ in range(2):
        await provider.resume("t-1")
    assert await provider.find("t-1") == database
    assert await numbers(provider, "t-1") == []


async def test_a_suspended_database_can_be_deleted_and_its_name_used_again(provider: DatabaseProvider) -> None:
    await provider.create("t-1")
    await provider.suspend("t-1")
    await provider.delete("t-1")
    database = await provider.create("t-1")
    assert not database.is_suspended
    assert (await run(provider, "t-1", "select 1")).step_errors == [None]


async def test_a_fork_is_a_database_of_its_own(provider: DatabaseProvider) -> None:
    await filled(provider, "t-1", 3)
    mine = await provider.mint_token("t-1", "full", "test")
    await provider.suspend("t-1")
    fork = await provider.fork("t-1", "t-2")
    await provider.resume("t-1")
    assert fork == await provider.find("t-2")
    assert not fork.is_suspended
    await run(provider, "t-1", "delete from t")
    assert await numbers(provider, "t-2") == [1, 2, 3]
    await run(provider, "t-2", "insert into t values (4)")
    assert await numbers(provider, "t-1") == []
    assert await ask(fork.url, mine.text, "select 1") == 404
    theirs = await provider.mint_token("t-2", "full", "test")
    assert await ask(fork.url, theirs.text, "select 1") == 200
    await filled(provider, "t-3", 1)
    with pytest.raises(Conflict):
        await provider.fork("t-1", "t-3")
    with pytest.raises(NotFound):
        await provider.fork("missing", "t-4")
    assert await numbers(provider, "t-3") == [1]
    assert await provider.find("t-4") is None


async def test_where_no_past_is_kept_nothing_is_made_of_it(provider: DatabaseProvider) -> None:
    """The twin keeps none either; Turso itself does."""
    await filled(provider, "t-1", 3)
    await filled(provider, "t-2", 1)
    at = datetime.now(UTC) - timedelta(seconds=5)
    with pytest.raises(NoPointInTime, match=r"restore from an export|point-in-time"):
        await provider.fork_at("t-1", "t-3", at)
    with pytest.raises(Conflict) as taken:
        await provider.fork_at("t-1", "t-2", at)
    assert not isinstance(taken.value, NoPointInTime)
    with pytest.raises(NotFound):
        await provider.fork_at("missing", "t-3", at)
    for bad in (("../x", "t-3"), ("t-1", "../x")):
        with pytest.raises(InvalidInput):
            await provider.fork_at(*bad, at)
    assert await names_of(provider) == ["t-1", "t-2"]
    assert (await numbers(provider, "t-1"), await numbers(provider, "t-2")) == ([1, 2, 3], [1])


async def test_an_export_is_one_file_that_anybody_can_open(provider: DatabaseProvider, tmp_path: Path) -> None:
    await filled(provider, "t-1", 3000)
    await provider.suspend("t-1")
    path = tmp_path / "export.db"
    path.write_text("something else")
    copied = await provider.export("t-1", path, "t-scratch")
    assert copied.skipped == ()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("export")] == ["export.db"]
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*), sum(a) from t").fetchone() == (3000, 4501500)
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        assert db.execute("pragma journal_mode").fetchone() == ("delete",)
    with pytest.raises(NotFound):
        await provider.export("missing", path, "t-scratch")


async def test_an_empty_database_has_no_table(provider: DatabaseProvider) -> None:
    await provider.create_empty("t-1")
    assert await numbers(provider, "t-1", "select count(*) from sqlite_schema") == [0]


async def filled(provider: DatabaseProvider, name: str, rows: int) -> None:
    await provider.create(name)
    count = f"with recursive c(n) as (values (1) union all select n + 1 from c where n < {rows}) select n from c"
    result = await run(provider, name, "create table t(a)", f"insert into t {count}")
    assert result.step_errors == [None, None]


async def numbers(provider: DatabaseProvider, name: str, sql: str = "select a from t order by a") -> list[object]:
    (result,) = (await run(provider, name, sql)).step_results
    assert result is not None
    return [decode(row[0]) for row in result.rows]


async def test_a_provider_that_works_says_so(provider: DatabaseProvider) -> None:
    await provider.check()
    assert provider.name


def test_the_local_provider_is_one(tmp_path: Path) -> None:
    provider: DatabaseProvider = LocalProvider(tmp_path, "http://x", Ed25519PrivateKey.generate())
    assert provider.name == "local"
