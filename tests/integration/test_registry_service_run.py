"""The running service: administrators register over HTTP, and the SDK plays a client app."""

import json
from collections.abc import Iterator

import aiohttp
import httpx
import pytest
from testbed.servers import Service

from freehold.client import FreeholdClient
from freehold.errors import Conflict, Forbidden, InvalidInput, Unauthenticated
from freehold.libsql.http import HranaTarget

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("registry")).start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def admin_token(running: Service) -> str:
    made = running.run("users", "create-admin", "root@example.com", "--password-stdin", stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    body = {"email": "root@example.com", "password": PASSWORD}
    return str(httpx.post(f"{running.url}/api/auth/sign-in/email", json=body).json()["token"])


def register(running: Service, token: str | None, **body: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"{running.url}/migrations/register", json=body, headers=headers)


def version_of(running: Service) -> int:
    return int(httpx.get(f"{running.url}/migrations/current-version").json()["version"])


async def test_only_administrators_register(running: Service) -> None:
    before = version_of(running)
    new = {"sqlScript": "CREATE TABLE mine (x);", "description": "mine"}
    assert register(running, None, **new).status_code == 401
    assert register(running, "forged", **new).status_code == 401
    async with FreeholdClient(running.url) as client:
        await client.sign_up("user@example.com", PASSWORD, "User")
        reply = register(running, client.session_token, **new)
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert version_of(running) == before


async def test_what_an_administrator_registers_is_served_at_once_and_applied(
    running: Service, admin_token: str
) -> None:
    before = version_of(running)
    async with FreeholdClient(running.url) as client:
        await client.sign_up("early@example.com", PASSWORD, "Early")
        assert (await client.credentials()).schema_version == before
        sql = "-- why\r\nCREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT NOT NULL);\r\n"
        reply = register(running, admin_token, sqlScript=sql, description="Create notes")
        assert reply.status_code == 201, reply.text
        answer = reply.json()
        assert (answer["version"], answer["name"], answer["description"]) == (
            before + 1,
            "create_notes",
            "Create notes",
        )
        assert answer["sql_script"] == sql.replace("\r\n", "\n")
        assert version_of(running) == before + 1
        done = await client.migrate()
        assert (done.version, done.applied) == (before + 1, (before + 1,))
        assert (await client.migrate()).applied == ()
    again = register(running, admin_token, sqlScript=sql, description="Create notes")
    assert (again.status_code, again.json()["code"]) == (409, "already_published")
    assert f"version {before + 1}" in again.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"sqlScript": "CREATE TABLE a (x);"}, 400),
        ({"sqlScript": 3, "description": "d"}, 400),
        ({"sqlScript": ["CREATE TABLE a (x);"], "description": "d"}, 400),
        ({"sqlScript": "", "description": "d"}, 400),
        ({"sqlScript": "CREATE TABLE a (x);", "description": ""}, 400),
        ({"sqlScript": "CREATE TABLE a (x);", "description": " \n "}, 400),
        ({"sqlScript": "CREATE TABLE a (x);", "description": "d" * 201}, 400),
        ({"sqlScript": "CREATE TABLE a (x); COMMIT;", "description": "ends"}, 400),
        ({"sqlScript": "CREATE TABLE a (x DEFAULT 'open);", "description": "open"}, 400),
        ({"sqlScript": "DROP TABLE freehold_ledger;", "description": "ledger"}, 400),
        ({"sqlScript": "\x00", "description": "nul"}, 400),
        ({"sqlScript": "-- " + "x" * 1024 * 1024, "description": "over 1 MiB"}, 400),
        ({"sqlScript": "-- " + "x" * 3 * 1024 * 1024, "description": "over the limit of a body"}, 413),
    ],
)
def test_bad_registrations_are_refused(
    running: Service, admin_token: str, body: dict[str, object], status: int
) -> None:
    before = version_of(running)
    reply = register(running, admin_token, **body)
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert version_of(running) == before


def test_a_lone_surrogate_is_refused(running: Service, admin_token: str) -> None:
    body = b'{"sqlScript": "SELECT \'\\ud800\';", "description": "\\udfff"}'
    headers = {"Authorization": f"Bearer {admin_token}", "Content-Type": "application/json"}
    reply = httpx.post(f"{running.url}/migrations/register", content=body, headers=headers)
    assert reply.status_code == 400, reply.text


async def test_the_sdk_plays_an_apps_whole_session(running: Service) -> None:
    async with FreeholdClient(running.url) as client:
        user = await client.sign_up("amal@example.com", PASSWORD, "Amal")
        credentials = await client.credentials()
        assert credentials.user_id == user.id
        assert credentials.url.endswith("/")
        assert credentials.schema_version == (await client.pull()).version
        assert (await client.migrate()).applied == ()
        await client.sign_out()
        with pytest.raises(Unauthenticated):
            await client.credentials()
        assert (await client.sign_in("amal@example.com", PASSWORD)).id == user.id
        assert (await client.credentials()).db_name == credentials.db_name


async def test_the_sdk_tells_wrong_passwords_and_taken_addresses(running: Service) -> None:
    async with FreeholdClient(running.url) as client:
        await client.sign_up("taken@example.com", PASSWORD, "Taken")
    async with FreeholdClient(running.url) as client:
        with pytest.raises(Unauthenticated) as wrong:
            await client.sign_in("taken@example.com", "not the password")
        assert wrong.value.code == "INVALID_EMAIL_OR_PASSWORD"
        with pytest.raises((InvalidInput, Conflict)):
            await client.sign_up("taken@example.com", PASSWORD, "Taken")
        assert client.session_token is None


async def test_a_read_only_token_cannot_migrate(running: Service, admin_token: str) -> None:
    async with FreeholdClient(running.url) as client, aiohttp.ClientSession() as session:
        await client.sign_up("reader@example.com", PASSWORD, "Reader")
        credentials = await client.credentials("read_only")
        new = register(running, admin_token, sqlScript="CREATE TABLE extra (x);", description="extra").json()
        read_only = HranaTarget(session, credentials.url, credentials.access_token)
        with pytest.raises(Forbidden):
            await client.migrate(read_only)
        assert (await client.migrate()).applied == (new["version"],)


def test_the_command_sees_what_was_registered_over_http(running: Service, admin_token: str) -> None:
    register(running, admin_token, sqlScript="CREATE TABLE last_one (x);", description="last one")
    states = [json.loads(line) for line in running.run("registry", "status", "--json").stdout.splitlines()]
    assert states[-1] == {"version": version_of(running), "name": "last_one", "state": "no file"}
    report = json.loads(running.run("registry", "publish", "--json").stdout)
    assert report["published"] == []
    assert version_of(running) in report["without_file"]
