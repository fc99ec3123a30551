"""The service with its tenants on a real sqld: from signing up to an embedded replica that writes back."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.servers import Service
from testbed.sqld import Sqld, running_sqld
from testbed.sqld_service import sqld_variables

from tests.e2e.replica import replica

_PASSWORD = "correct-horse-1"


@pytest.fixture(scope="module", params=["a file", "the same sqld"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sqld, Service]]:
    """A service in front of an sqld of its own, with its central database in `params`."""
    with running_sqld() as sqld:
        variables = {**sqld_variables(sqld), "SQLD_DATA_DIR": str(sqld.folder / "data")}
        if request.param == "the same sqld":
            variables["DATABASE_URL"] = f"{sqld.url}/?namespace=central"
        service = Service(tmp_path_factory.mktemp("service"), **variables).start()
        try:
            yield sqld, service
        finally:
            service.stop()


@pytest.fixture
def sqld(both: tuple[Sqld, Service]) -> Sqld:
    return both[0]


@pytest.fixture
def service(both: tuple[Sqld, Service]) -> Service:
    return both[1]


def test_an_sqld_that_nobody_looks_after_is_told(service: Service) -> None:
    assert httpx.get(f"{service.url}/ready", timeout=10).json()["sqld"] == "unsupervised"
    assert "sqld.unsupervised" in service.log()
    text = httpx.get(f"{service.url}/metrics", timeout=10).text
    assert "freehold_sqld_supervised 0.0" in text
    assert "freehold_sqld_up 1.0" in text
    assert "freehold_sqld_restarts" not in text
    assert 'freehold_sqld_calls{state="lingering"} 0.0' in text


async def sign_up(service: Service, who: str) -> httpx.AsyncClient:
    http = httpx.AsyncClient(base_url=service.url, timeout=30)
    person = {"name": who, "email": f"{who}@example.com", "password": _PASSWORD}
    for way in itertools.chain(["sign-up"], itertools.cycle(["sign-in", "sign-up"])):
        reply = await http.post(f"/api/auth/{way}/email", json=person)
        if reply.status_code == 200:
            return http
        # The central database is away, and whether the user was written may be unknown.
        assert reply.status_code in {401, 422, 503}, reply.text
        await asyncio.sleep(0.1)
    raise AssertionError


async def database(http: httpx.AsyncClient, access_level: str = "full") -> dict[str, Any]:
    """The user's database once it is there."""
    for _ in range(300):
        reply = await http.get("/databases/user", params={"access_level": access_level})
        if reply.status_code == 200:
            return dict(reply.json())
        assert reply.status_code in {202, 503}, reply.text
        await asyncio.sleep(0.1)
    raise AssertionError(reply.text)


def namespaces(sqld: Sqld) -> int:
    """How many databases there are on sqld's disk."""
    folder = sqld.folder / "data" / "dbs"
    return len(list(folder.iterdir())) if folder.exists() else 0


async def run(mine: dict[str, Any], sql: str) -> Any:
    body = {"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}
    headers = {"authorization": f"Bearer {mine['access_token']}"}
    async with httpx.AsyncClient() as http:
        reply = await http.post(f"{mine['url']}v3/pipeline", json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    result = reply.json()["results"][0]
    assert result["type"] == "ok", result
    return [[cell.get("value") for cell in row] for row in result["response"]["result"]["rows"]]


def word(text: str) -> str:
    """What writes it, once."""
    return (
        "insert into dictionary_entries (id, word, translation, type, created_at, updated_at)"
        f" values ('{text}', '{text}', 'x', 'noun', 0, 0)"
    )


async def test_replicas_hand_on_no_change_of_the_schema(service: Service, tmp_path: Path) -> None:
    mine = await database(await sign_up(service, "schema"))
    _, refusal, _, rows = await asyncio.to_thread(
        replica,
        tmp_path / "replica.db",
        mine["url"],
        mine["access_token"],
        "sync",
        "create table mine (a)",
        word("one"),
        "select count(*) from sqlite_schema where name = 'mine'",
    )
    assert "needs a token with the profile `full`" in refusal
    assert rows == [[0]]
    assert await run(mine, "select word from dictionary_entries") == [["one"]]


async def test_from_signing_up_to_a_replica_that_writes_back(service: Service, tmp_path: Path) -> None:
    mine = await database(await sign_up(service, "replica"))
    assert mine["schema_version"] > 0
    await run(mine, word("one"))
    file = tmp_path / "replica.db"
    select = "select word from dictionary_entries order by rowid"

    def play(*steps: str) -> list[Any]:
        return replica(file, mine["url"], mine["access_token"], *steps)

    assert (await asyncio.to_thread(play, "sync", select))[1] == [["one"]]
    await run(mine, word("two"))
    assert (await asyncio.to_thread(play, "sync", select))[1] == [["one"], ["two"]]
    await asyncio.to_thread(play, "sync", word("three"), "sync")
    assert await run(mine, select) == [["one"], ["two"], ["three"]]
    assert (await asyncio.to_thread(play, "sync", select))[1] == [["one"], ["two"], ["three"]]


async def test_what_a_replica_hands_on_goes_past_the_guard(service: Service, tmp_path: Path) -> None:
    mine = await database(await sign_up(service, "guarded"))
    target = tmp_path / "written"
    _, refusal = await asyncio.to_thread(
        replica,
        tmp_path / "replica.db",
        mine["url"],
        mine["access_token"],
        "sync",
        f"create table t as select writefile('{target}', 'x')",
    )
    assert "writefile" in refusal
    assert not target.exists()


async def test_a_read_only_replica_reads_and_cannot_write(service: Service, tmp_path: Path) -> None:
    http = await sign_up(service, "reader")
    mine = await database(http, "read_only")
    _, rows, refusal, _ = await asyncio.to_thread(
        replica,
        tmp_path / "replica.db",
        mine["url"],
        mine["access_token"],
        "sync",
        "select count(*) from dictionary_entries",
        word("x"),
        "sync",
    )
    assert rows == [[0]]
    assert isinstance(refusal, str)
    assert await run(mine, "select count(*) from dictionary_entries") == [["0"]]


async def test_a_replica_follows_nobody_elses_database(service: Service, tmp_path: Path) -> None:
    mine = await database(await sign_up(service, "mine"))
    theirs = await database(await sign_up(service, "theirs"))
    await run(theirs, word("secret"))
    select = "select word from dictionary_entries"
    refusal, rows = await asyncio.to_thread(
        replica, tmp_path / "a.db", theirs["url"], mine["access_token"], "sync", select
    )
    assert isinstance(refusal, str), refusal
    assert "no such table" in rows
    # Without a name in the path the token says which database it is: one's own.
    _, found = await asyncio.to_thread(replica, tmp_path / "b.db", service.url, mine["access_token"], "sync", select)
    assert found == []


async def test_sqld_stopped_while_fifty_tenants_are_made(sqld: Sqld, service: Service) -> None:
    """Nothing is lost, nothing doubled: each has one database, whole, and its own. No database is without a user."""
    before = namespaces(sqld)
    coming = [asyncio.create_task(sign_up(service, f"person{number}")) for number in range(50)]
    while namespaces(sqld) < before + 10:
        await asyncio.sleep(0.01)
    sqld.kill()
    assert namespaces(sqld) < before + 50
    await asyncio.sleep(0.5)
    sqld.start()
    await asyncio.sleep(0.2)
    sqld.stop()
    sqld.start()
    people = await asyncio.gather(*coming)  # signing up never waits for sqld
    found = await asyncio.gather(*(database(http) for http in people))
    assert len({each["db_name"] for each in found}) == 50
    for each in found:
        await run(each, word("mine"))  # would be there already, were two users given one database
        ledger = await run(each, "select version from freehold_ledger order by version")
        assert ledger == [[str(version)] for version in range(1, each["schema_version"] + 1)]
    assert namespaces(sqld) == before + 50
    done = await asyncio.to_thread(service.run, "tenants", "reconcile", "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "orphan" not in done.stdout
    assert namespaces(sqld) == before + 50


async def test_a_database_that_nobody_has_is_removed(sqld: Sqld, service: Service) -> None:
    """As a crash of some kind that we did not think of may leave one."""
    mine = await database(await sign_up(service, "kept"))
    before = namespaces(sqld)
    orphan = sqld.create(f"t-{'a' * (len(mine['db_name']) - 2)}")
    found = await asyncio.to_thread(service.run, "tenants", "reconcile", "--json", "--dry-run")
    assert found.returncode == 1, (found.stdout, found.stderr)
    assert orphan in found.stdout
    done = await asyncio.to_thread(service.run, "tenants", "reconcile", "--json", "--yes")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert namespaces(sqld) == before
    assert await run(mine, "select 1") == [["1"]]
