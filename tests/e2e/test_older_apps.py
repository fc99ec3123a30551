"""Apps of several ages with one running service: who gets which schema, and what a contract migration waits for."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest
from testbed.servers import Service

from freehold.client import FreeholdClient
from freehold.errors import AppTooOld
from tests.e2e.people import PASSWORD, Person, sign_up

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
            service.run("audit", "list", "--action", "registry.contract_forced", "--json").stdout.splitlines(),
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
    key = httpx.post(f"{service.url}/api/auth/api-key/create", json={"name": "k"}, headers=person.headers).json()["key"]
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


def test_a_flood_of_nobody_displaces_no_users_report_and_holds_nothing_up(service: Service, files: Path) -> None:
    """More of them than wait in memory to be written, and only then the user's app says what it is."""
    person = sign_up(service.url)

    def says(app: str) -> None:
        said = {"Freehold-App-Version": app, "Freehold-Device": "a phone", **person.headers}
        assert httpx.get(f"{service.url}/migrations?after=2", headers=said).status_code == 200

    flood(service, 12_000, app="9.9")
    says("1.9")
    service.stop()  # what the service heard is written by now
    refused, reason = publish(files, 3, service)
    assert refused == 1
    assert "needs app 2.0, and 1 signed-in user(s) with older ones (1.9) were seen" in reason
    service.start()
    says("2.0")
    flood(service, 200, app="0.1")
    service.stop()
    assert publish(files, 3, service)[0] == 0


def flood(service: Service, count: int, app: str) -> None:
    """Reports of so many devices that show nobody's credentials, some of them sent ahead."""
    head = b"GET /migrations?after=2 HTTP/1.1\r\nHost: x\r\nFreehold-App-Version: %b\r\n" % app.encode()
    ahead = 20
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as peer:
        for start in range(0, count, ahead):
            devices = range(start, start + ahead)
            peer.sendall(b"".join(head + b"Freehold-Device: %d\r\n\r\n" % device for device in devices))
            received = b""
            while received.count(b'"version":') < ahead:
                received += peer.recv(1_000_000)
            assert received.count(b"HTTP/1.1 200") == ahead, received[:500]


def person_cookie(url: str, person: Person) -> str:
    body = {"email": person.email, "password": PASSWORD}
    reply = httpx.post(f"{url}/api/auth/sign-in/email", json=body, timeout=30)
    return unquote(reply.cookies["better-auth.session_token"])
