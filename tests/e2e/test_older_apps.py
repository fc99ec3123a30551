"""Apps of several ages with one running service: who gets which schema, and what a contract migration waits for."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest

from freehold.client import FreeholdClient
from freehold.errors import AppTooOld
from tests.e2e.people import PASSWORD, Person, sign_up
from tests.servers import Service

VERSIONS = (
    "CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT, note TEXT);\n",
    "ALTER TABLE words ADD COLUMN remark TEXT;\n",
    "-- phase: contract\n-- min_app: 2.0\nALTER TABLE words DROP COLUMN note;\n",
    "ALTER TABLE words ADD COLUMN kind TEXT;\n",
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture
def service(files: Path, tmp_path: Path) -> Iterator[Service]:
    publish(files, 2)
    running = Service(tmp_path / "service", SCHEMA_REGISTRY=str(files)).start()
    try:
        yield running
    finally:
        running.stop()


def publish(files: Path, upto: int, service: Service | None = None, *options: str) -> tuple[int, str]:
    for version, sql in enumerate(VERSIONS[:upto], start=1):
        (files / f"{version:04}_step_{version}.sql").write_text(sql)
    if service is None:
        return 0, ""
    done = service.run("registry", "publish", *options)
    return done.returncode, done.stderr


async def test_a_contract_waits_for_apps_in_the_field_and_each_app_gets_what_it_can_read(
    service: Service, files: Path
) -> None:
    async with FreeholdClient(service.url, app_version="1.9", device="old phone") as old:
        await old.sign_up("amal@example.com", PASSWORD)
        await old.credentials()
        assert (await old.migrate()).version == 2
        service.stop()  # what the service heard is written by now
        refused, reason = publish(files, 3, service)
        assert refused == 1
        assert "migration 3 needs app 2.0, and 1 signed-in user(s) with older ones (1.9) were seen" in reason
        census = service.run("registry", "status", "--census")
        assert (census.returncode, "1 users at version 2 with app 1.9" in census.stdout) == (1, True)
        # Nor does the service end for it when it is started with those files, or publish it itself.
        service.start()
        assert "registry.contract_waits" in service.log()
        assert (await old.pull()).newest == 2

        assert publish(files, 4, service, "--force")[0] == 0
        [entry] = map(
            json.loads,
            service.run(
                "audit", "list", "--action", "registry.contract_forced", "--json"
            ).stdout.splitlines(),
        )
        assert (entry["target"], entry["details"]) == ("migration:3", {"min_app": "2.0", "older_users": 1})

        # The older one stays where it is, and can go on working there.
        assert (await old.migrate()).version == 2
        page = await old.pull()
        assert (page.version, page.newest, page.needs_app) == (2, 4, "2.0")
        async with FreeholdClient(service.url, app_version="2.0", device="new phone") as new:
            await new.sign_in("amal@example.com", PASSWORD)
            assert (await new.migrate()).applied == (3, 4)
        with pytest.raises(AppTooOld, match="update the app to 2") as raised:
            await old.migrate()
        assert raised.value.code == "app_too_old"
    async with FreeholdClient(service.url) as silent:  # says no version, and cannot be waited for
        await silent.sign_in("amal@example.com", PASSWORD)
        assert (await silent.migrate()).version == 4


def test_reports_count_for_the_user_however_they_show_who_they_are(service: Service) -> None:
    person = sign_up(service.url)
    cookie = f"better-auth.session_token={quote(person_cookie(service.url, person))}"
    key = httpx.post(
        f"{service.url}/api/auth/api-key/create", json={"name": "k"}, headers=person.headers
    ).json()["key"]
    guest = httpx.post(f"{service.url}/api/auth/sign-in/anonymous", json={}).json()["token"]
    shown = (person.headers, {"cookie": cookie}, {"x-api-key": key}, {"authorization": f"Bearer {guest}"})
    for number, headers in enumerate((*shown, {}, {"authorization": "Bearer made.up.token"})):
        for turn in range(20):
            said = {"Freehold-App-Version": "0.9", "Freehold-Device": f"device {number} {turn}"}
            reply = httpx.get(f"{service.url}/migrations?after=1", headers={**said, **headers})
            assert reply.status_code == 200
    service.stop()  # what the service heard is written by now
    lines = service.run("registry", "status", "--census", "--json").stdout.splitlines()
    [census] = [line["census"] for line in map(json.loads, lines) if "census" in line]
    assert census["apps"] == [{"app_version": "0.9", "schema_version": 1, "users": 1, "guests": 1}]
    assert census["anonymous"] == [{"app_version": "0.9", "schema_version": 1, "devices": 32}]


def person_cookie(url: str, person: Person) -> str:
    body = {"email": person.email, "password": PASSWORD}
    reply = httpx.post(f"{url}/api/auth/sign-in/email", json=body, timeout=30)
    return unquote(reply.cookies["better-auth.session_token"])
