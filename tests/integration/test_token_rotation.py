"""The emergency brake: all tokens of one database are revoked at once, on each provider, in each process."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from testbed.servers import Service
from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables
from testbed.twin import running_twin

from tests.e2e.people import Person, run_sql, sign_up

_SELECT = {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1"}}, {"type": "close"}]}


@pytest.fixture(scope="module", params=["local", "sqld", "turso"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """Two processes of one installation."""
    folder = tmp_path_factory.mktemp("pair")
    if request.param == "sqld":
        with running_sqld() as sqld:
            yield from running_pair(folder, sqld_variables(sqld))
    elif request.param == "turso":
        with running_twin() as twin:
            yield from running_pair(folder, twin.variables)
    else:
        yield from running_pair(folder, {})


def running_pair(folder: Any, variables: dict[str, str]) -> Iterator[tuple[Service, Service]]:
    one = Service(folder, **variables).start()
    two = Service(folder, **{**variables, "BETTER_AUTH_URL": one.url}).start()
    yield one, two
    two.stop()
    one.stop()


def ask(credentials: dict[str, Any], service: Service) -> httpx.Response:
    """A query by way of this process, or of the provider where clients go there."""
    url = credentials["url"]
    if "/db/t-" in url and not url.rstrip("/").endswith("-acme"):
        url = f"{service.url}/db/{credentials['db_name']}/"
    return httpx.post(
        f"{url}v3/pipeline",
        headers={"authorization": f"Bearer {credentials['access_token']}"},
        json=_SELECT,
        timeout=30,
    )


def at(service: Service, person: Person) -> dict[str, Any]:
    """The person's credentials from this process."""
    return Person(service.url, person.email, person.user_id, person.token).credentials()


def test_a_rotation_ends_all_tokens_of_one_database_in_every_process(pair: tuple[Service, Service]) -> None:
    person, other = sign_up(pair[0].url), sign_up(pair[0].url)
    for generation in (1, 2):
        theirs = other.credentials()
        tokens = [*(at(service, person) for service in pair), person.credentials(access_level="read_only")]
        for credentials in tokens:
            assert all(ask(credentials, service).status_code == 200 for service in pair)
        done = pair[0].run("tenants", "rotate", tokens[0]["db_name"], "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["generation"] == generation
        for credentials in tokens:
            assert all(ask(credentials, service).status_code == 401 for service in pair)
        for service in pair:  # also the process that had the old one in memory
            assert all(ask(at(service, person), each).status_code == 200 for each in pair)
            assert ask(theirs, service).status_code == 200
        assert run_sql(person.credentials(), "select count(*) > 0 from sqlite_schema") == [["1"]]


def test_what_is_no_tenants_database_is_not_rotated(pair: tuple[Service, Service]) -> None:
    for words in (["t-nobody"], ["t-nobody", "--dry-run"], ["../x"]):
        done = pair[0].run("tenants", "rotate", *words)
        assert done.returncode == 1
        assert "no tenant here" in done.stderr
        assert done.stdout == ""


def test_a_rotation_is_on_the_record_and_a_dry_run_is_none(pair: tuple[Service, Service]) -> None:
    person = sign_up(pair[0].url)
    mine = person.credentials()
    done = pair[0].run("tenants", "rotate", mine["db_name"], "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "would revoke" in done.stdout
    assert ask(mine, pair[0]).status_code == 200
    assert pair[0].run("tenants", "rotate", mine["db_name"]).returncode == 0
    lines = pair[0].run("audit", "list", "--json").stdout.splitlines()
    entries = [json.loads(line) for line in lines]
    found = [each for each in entries if each["action"] == "tenant.tokens_rotated"]
    assert [each["target"] for each in found].count(f"tenant:{mine['id']}") == 1
    assert mine["access_token"] not in "".join(lines) + pair[0].log() + pair[1].log()
