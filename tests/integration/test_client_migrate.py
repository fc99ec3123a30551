"""The SDK gets the user's database and brings it to the newest version, with nothing but verified migrations."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from freehold.client import FreeholdClient
from freehold.errors import InvalidInput, Unauthenticated, Unavailable
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.http.registry.routes import registry_routes
from freehold.migrate.failures import MigrationFailed
from freehold.migrate.signature import RegistryTampered
from freehold.migrate.types import Migration
from freehold.registry.service import Registry
from tests.integration.registry_parts import by_hand, history, open_registry
from tests.simulators.hrana_service import SESSION, SqliteTarget, UserDatabase
from tests.support.serving import listen, serving

SERVICE = "http://freehold.test"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with open_registry(tmp_path / "central.db") as opened:
        await opened.publish(history(3))
        yield opened


@pytest.fixture
def database(tmp_path: Path) -> UserDatabase:
    return UserDatabase(tmp_path / "mine.db")


@pytest.fixture
async def client(registry: Registry, database: UserDatabase) -> AsyncIterator[FreeholdClient]:
    app = Litestar(
        [registry_routes(registry), *database.routes()], exception_handlers=EXCEPTION_HANDLERS, logging_config=None
    )
    listener, url = listen()
    async with (
        serving(app, listener),
        httpx.AsyncClient(cookies={"theirs": "kept"}) as http,
        FreeholdClient(url, http, session_token=SESSION) as opened,
    ):
        yield opened


def ledger(path: Path) -> list[int]:
    with sqlite3.connect(path) as db:
        return [version for (version,) in db.execute("SELECT version FROM freehold_ledger ORDER BY version")]


async def test_the_users_database_is_migrated_over_hrana(client: FreeholdClient, database: UserDatabase) -> None:
    done = await client.migrate()
    assert (done.version, done.applied) == (3, (1, 2, 3))
    assert ledger(database.path) == [1, 2, 3]


async def test_migrating_again_does_nothing(client: FreeholdClient, tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "local.db")
    await client.migrate(target)
    runs = target.runs
    assert (await client.migrate(target)).applied == ()
    assert target.runs == runs + 1  # the ledger is read, and that is all


async def test_only_what_is_missing_is_applied(client: FreeholdClient, registry: Registry, tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "local.db")
    assert (await client.migrate(target, to=2)).applied == (1, 2)
    await registry.publish(history(4))
    assert (await client.migrate(target)).applied == (3, 4)
    assert ledger(target.path) == [1, 2, 3, 4]


async def test_many_migrate_at_once_and_each_migration_is_applied_once(client: FreeholdClient, tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "local.db")
    done = await asyncio.gather(*(client.migrate(target) for _ in range(8)))
    assert {each.version for each in done} == {3}
    assert sorted(version for each in done for version in each.applied) == [1, 2, 3]


async def test_a_database_of_another_history_is_left_alone(client: FreeholdClient, tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "local.db")
    await client.migrate(target, to=2)
    by_hand(target.path, "UPDATE freehold_ledger SET chain = ? WHERE version = 2", ["ab" * 32])
    with pytest.raises(RegistryTampered, match="chain at migration 3"):
        await client.migrate(target)
    assert ledger(target.path) == [1, 2]


async def test_a_database_ahead_of_the_registry_is_left_alone(client: FreeholdClient, tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "local.db")
    await client.migrate(target)
    by_hand(
        target.path,
        "INSERT INTO freehold_ledger SELECT 4, 3, 'more', checksum, 'cd', chain, applied_at"
        " FROM freehold_ledger WHERE version = 3",
    )
    with pytest.raises(RegistryTampered, match="older than version 4"):
        await client.migrate(target)


async def test_a_version_that_is_not_published_is_refused(client: FreeholdClient, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no version 9"):
        await client.migrate(SqliteTarget(tmp_path / "local.db"), to=9)


async def test_a_migration_that_fails_leaves_the_version_before(
    client: FreeholdClient, registry: Registry, tmp_path: Path
) -> None:
    target = SqliteTarget(tmp_path / "local.db")
    await client.migrate(target)
    by_hand(target.path, "CREATE TABLE mine (x)")
    bad_here = Migration(version=4, name="fails", sql="CREATE TABLE t9 (x);\nCREATE TABLE mine (x);\n")
    await registry.publish([*history(3), bad_here])
    with pytest.raises(MigrationFailed, match="statement 2, line 2"):
        await client.migrate(target)
    assert ledger(target.path) == [1, 2, 3]


async def test_credentials_wait_while_the_database_is_made(client: FreeholdClient, database: UserDatabase) -> None:
    database.pending = 2
    credentials = await client.credentials("read_only")
    assert credentials.db_name == "mine"
    assert database.asked == ["access_level=read_only"] * 3
    assert credentials.access_token not in repr(credentials)


async def test_credentials_give_up_at_the_deadline(client: FreeholdClient, database: UserDatabase) -> None:
    database.pending = 10_000
    with pytest.raises(Unavailable, match=r"not ready within 0\.2 s"):
        await client.credentials(timeout_s=0.2)


async def test_without_a_session_there_are_no_credentials(client: FreeholdClient) -> None:
    client.session_token = None
    with pytest.raises(Unauthenticated, match="sign in first"):
        await client.credentials()
    client.session_token = "another"
    with pytest.raises(Unauthenticated, match="sign in first"):
        await client.migrate()


async def test_a_service_that_is_away_is_unavailable(tmp_path: Path) -> None:
    async with FreeholdClient("http://127.0.0.1:9", session_token=SESSION) as client:
        for ask in (client.pull, client.credentials, client.migrate, client.sign_out):
            with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9 does not answer"):
                await ask()


async def _answer(status: int, content: bytes, **headers: str) -> FreeholdClient:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content, headers=headers))
    return FreeholdClient(SERVICE, httpx.AsyncClient(transport=transport), session_token=SESSION)


@pytest.mark.parametrize(
    ("status", "content", "kind", "code", "message"),
    [
        (
            403,
            b'{"code":"database_suspended","detail":"suspended; ask"}',
            "DatabaseSuspended",
            "database_suspended",
            "ask",
        ),
        (422, b'{"code":"USER_ALREADY_EXISTS","message":"User exists"}', "InvalidInput", "USER_ALREADY_EXISTS", "User"),
        (410, b'{"code":"database_deleted","detail":"gone"}', "DatabaseDeleted", "database_deleted", "gone"),
        (409, b'{"code":"database_deleting"}', "DatabaseDeleting", "database_deleting", "answered 409"),
        (404, b"", "NotFound", "not_found", "answered 404"),
        (302, b"", "Unavailable", "unavailable", "answered 302"),
        (500, b"<html>", "Unavailable", "unavailable", "answered 500"),
        (503, b'{"code":"central_unavailable","detail":"later"}', "Unavailable", "central_unavailable", "later"),
        (429, b'{"message":"Too many"}', "Unavailable", "unavailable", "Too many"),
        (400, b'{"code":3}', "InvalidInput", "invalid_input", "answered 400"),
    ],
)
async def test_refusals_keep_the_services_code_and_message(
    status: int, content: bytes, kind: str, code: str, message: str
) -> None:
    client = await _answer(status, content)
    with pytest.raises(Exception, match=message) as caught:
        await client.credentials()
    assert (type(caught.value).__name__, caught.value.code) == (kind, code)  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"url": 1}', b"\xff", b"[" * 100_000])
async def test_an_answer_that_cannot_be_read_is_unavailable(content: bytes) -> None:
    client = await _answer(200, content)
    for ask in (client.credentials, client.pull):
        with pytest.raises(Unavailable, match="check the URL"):
            await ask()


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Location": "/x"}])
async def test_a_body_that_cannot_be_decoded_is_unavailable(headers: dict[str, str]) -> None:
    client = await _answer(200, b"not gzip", **headers)
    with pytest.raises(Unavailable):
        await client.pull()


@pytest.mark.parametrize(
    "url", ["", "data.example.com", "ftp://x", "http://", "https://u:p@x", "http://x?y=1", "http://[", "file:///etc"]
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="URL"):
        FreeholdClient(url)


async def test_sign_up_and_sign_in_keep_the_session() -> None:
    seen: list[tuple[str, Any, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers.get("authorization"), request.content))
        body = {"token": "new", "user": {"id": "u", "email": "a@b.c", "name": "A", "image": None}}
        return httpx.Response(200, json=body, headers={"Set-Cookie": "better-auth.session_token=x"})

    async with FreeholdClient(SERVICE, httpx.AsyncClient(transport=httpx.MockTransport(answer))) as client:
        assert (await client.sign_up("a@b.c", "correct horse", "A")).id == "u"
        assert client.session_token == "new"
        await client.sign_out()
        assert client.session_token is None
        await client.sign_out()
        await client.sign_in("a@b.c", "correct horse")
        assert client.session_token == "new"
    assert [path for path, _, _ in seen] == [
        "/api/auth/sign-up/email", "/api/auth/sign-out", "/api/auth/sign-in/email",
    ]  # fmt: skip
    assert seen[1][1] == "Bearer new"
