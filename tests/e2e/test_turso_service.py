"""The service with its tenants on (the local twin of) Turso: clients go there themselves."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import libsql_client
import pytest
from testbed.servers import ROOT, Service, run_node
from testbed.twin import TOKEN, Twin, running_twin

from freehold.client import FreeholdClient
from tests.e2e.people import PASSWORD, run_sql, sign_up


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with running_twin() as running:
        yield running


@pytest.fixture(scope="module")
def service(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"), **twin.variables).start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _no_faults(twin: Twin) -> Iterator[None]:
    yield
    twin.fault_no_more()


def databases(twin: Twin) -> set[str]:
    return {each["Name"] for each in twin.call("GET", "databases").json()["databases"]}


def secrets_in(folder: Path) -> list[str]:
    """Files of the service that hold a database token or the platform's."""
    return [
        str(file)
        for file in folder.rglob("*")
        if file.is_file() and any(text in file.read_bytes() for text in (b"eyJhbGci", TOKEN.encode()))
    ]


def test_the_official_javascript_client_works_on_the_database_it_is_given(service: Service, twin: Twin) -> None:
    mine = sign_up(service.url).credentials()
    assert mine["url"].startswith(twin.url)
    assert mine["db_name"] in databases(twin)
    assert mine["hostname"] in mine["url"]
    ended = run_node(ROOT / "tests/e2e/node/libsql_client.mjs", mine["url"], mine["access_token"])
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["word"] == "كتاب"
    assert secrets_in(service.folder) == []


async def test_python_clients_work_too(service: Service) -> None:
    person = sign_up(service.url)
    mine = person.credentials()
    async with FreeholdClient(service.url) as freehold:
        await freehold.sign_in(person.email, PASSWORD)
        assert (await freehold.migrate()).version == mine["schema_version"]
    async with libsql_client.create_client(mine["url"], auth_token=mine["access_token"]) as db:
        assert (await db.execute("SELECT count(*) FROM freehold_ledger")).rows[0][0] == mine["schema_version"]


def test_one_tenants_token_opens_no_other_database(service: Service) -> None:
    mine, theirs = (sign_up(service.url).credentials() for _ in range(2))
    body = {"requests": [{"type": "execute", "stmt": {"sql": "select 1"}}]}
    for url in (theirs["url"], theirs["url"].replace(theirs["db_name"], theirs["db_name"] + "/../x")):
        reply = httpx.post(f"{url}v3/pipeline", json=body, headers={"authorization": f"Bearer {mine['access_token']}"})
        assert reply.status_code in {401, 404}, reply.text


def test_reading_is_what_a_read_only_token_allows(service: Service) -> None:
    person = sign_up(service.url)
    mine = person.credentials(access_level="read_only")
    assert mine["access_level"] == "read_only"
    run_sql(mine, "select count(*) from settings")
    reply = httpx.post(
        f"{mine['url']}v3/pipeline",
        json={"requests": [{"type": "execute", "stmt": {"sql": "create table t(a)"}}]},
        headers={"authorization": f"Bearer {mine['access_token']}"},
    )
    assert reply.json()["results"][0]["error"]["code"] == "PROFILE_NEEDED"


def test_there_is_no_gateway_of_our_own(service: Service) -> None:
    mine = sign_up(service.url).credentials()
    reply = httpx.post(f"{service.url}/db/{mine['db_name']}/v3/pipeline", json={"requests": []})
    assert reply.status_code == 404


def test_asking_again_costs_turso_nothing(service: Service, twin: Twin) -> None:
    person = sign_up(service.url)
    first = person.credentials()
    twin.fault({"kind": "error_before"})
    assert person.credentials()["access_token"] == first["access_token"]


def test_people_sign_up_while_turso_is_away_and_get_their_databases_after(service: Service, twin: Twin) -> None:
    before = databases(twin)
    twin.kill()
    started = time.monotonic()
    people = [sign_up(service.url) for _ in range(5)]
    assert time.monotonic() - started < 20
    while httpx.get(f"{service.url}/ready", timeout=10).status_code != 503:
        assert time.monotonic() - started < 30
    twin.start()
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda person: person.credentials(within_s=60), people))
    assert databases(twin) - before == {each["db_name"] for each in found}
    assert secrets_in(service.folder) == []


def test_a_bad_token_is_said_plainly(twin: Twin, tmp_path: Path) -> None:
    service = Service(tmp_path, **{**twin.variables, "TURSO_API_TOKEN": "some-other-token"})
    ended = service.run("serve")
    assert ended.returncode == 3
    assert "TURSO_API_TOKEN" in ended.stderr
    assert "some-other-token" not in ended.stdout + ended.stderr
