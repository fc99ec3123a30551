"""The SDK on a real service tells a deleted database from a suspended one, and both from one to come back to."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from testbed.servers import Service

from freehold.client import (
    DatabaseDeleted,
    DatabaseSuspended,
    FreeholdClient,
    FreeholdError,
    Unauthenticated,
    Unavailable,
)
from freehold.errors import InvalidInput, NotFound
from freehold.libsql.client import LibsqlError, create_client
from freehold.libsql.http import HranaTarget
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from tests.support.serving import listen, serving

_PASSWORD = "a-long-password-2"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("refusals"), RATE_LIMIT_SIGN_IN="4/60").start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def email(request: pytest.FixtureRequest) -> str:
    return f"{abs(hash(request.node.name))}@example.com"


@pytest.fixture
async def client(service: Service, email: str) -> AsyncIterator[FreeholdClient]:
    async with FreeholdClient(service.url) as opened:
        await opened.sign_up(email, _PASSWORD, "Noor")
        await opened.credentials()
        yield opened


def tenants(service: Service, *words: str) -> None:
    done = service.run("tenants", *words)
    assert done.returncode == 0, (done.stdout, done.stderr)


async def test_suspended_says_why_and_is_no_reason_to_come_back(
    service: Service, client: FreeholdClient, email: str
) -> None:
    tenants(service, "suspend", email, "--reason", "unpaid since May")
    for call in (client.credentials, client.migrate):
        with pytest.raises(DatabaseSuspended) as refused:
            await call()
        assert refused.value.reason == "unpaid since May"
        assert refused.value.code == "database_suspended"
        assert "unpaid since May" in str(refused.value)
        assert not isinstance(refused.value, Unavailable)
    tenants(service, "resume", email)
    assert (await client.credentials()).status == "ready"


async def test_a_database_that_is_suspended_while_it_is_migrated_says_so(
    service: Service, client: FreeholdClient, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = await client.credentials()
    tenants(service, "suspend", email, "--reason", "just now")
    asked = client.credentials

    async def first_good() -> Any:
        monkeypatch.setattr(client, "credentials", asked)
        return good

    monkeypatch.setattr(client, "credentials", first_good)
    with pytest.raises(DatabaseSuspended, match="just now"):
        await client.migrate()


async def test_deleted_is_told_and_over_when_the_user_gets_another_one(
    service: Service, client: FreeholdClient, email: str
) -> None:
    old = await client.credentials()
    tenants(service, "delete", email, "--yes")
    for call in (client.credentials, client.migrate):
        with pytest.raises(DatabaseDeleted) as gone:
            await call()
        assert (gone.value.code, isinstance(gone.value, NotFound)) == ("database_deleted", True)
    tenants(service, "create", email)
    made = await client.credentials()
    assert (made.status, made.id) == ("ready", old.id)
    assert made.url != old.url
    async with create_client(made.url, auth_token=made.access_token) as db:
        assert (await db.execute("SELECT 1")).rows[0][0] == 1
    async with create_client(made.url, auth_token=old.access_token) as db:  # it opened the old one
        with pytest.raises(LibsqlError, match="NOT_FOUND"):
            await db.execute("SELECT 1")
    tenants(service, "create", email)  # safe to run twice
    assert (await client.credentials()).url == made.url


async def test_too_many_calls_say_when_to_come_back(service: Service) -> None:
    async with FreeholdClient(service.url) as client:
        for _ in range(20):
            with pytest.raises((Unauthenticated, Unavailable)) as refused:
                await client.sign_in("nobody@example.com", _PASSWORD)
            if isinstance(refused.value, Unavailable):
                break
    assert isinstance(refused.value, Unavailable)
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 60


class Answering:
    """A service, and a database, that always answer the same."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, dict[str, str](), b"{}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@pytest.fixture
async def answering() -> AsyncIterator[tuple[Answering, str]]:
    listener, url = listen()
    app = Answering()
    async with serving(app, listener):
        yield app, url


@pytest.mark.parametrize(
    ("status", "headers", "kind", "least", "most"),
    [
        (429, {"Retry-After": "7"}, Unavailable, 7, 7),
        (503, {"Retry-After": "2"}, Unavailable, 2, 2),
        (429, {"X-Retry-After": "9"}, Unavailable, 9, 9),
        (503, {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(days=1))}, Unavailable, 80_000, 86_400),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, Unavailable, 0, 0),
        (503, {"Retry-After": "soon"}, Unavailable, None, None),
        (503, {"Retry-After": "nan"}, Unavailable, None, None),
        (502, {}, Unavailable, None, None),
        (405, {}, InvalidInput, None, None),
        (410, {}, NotFound, None, None),
    ],
)
async def test_what_an_answer_says_of_coming_back(
    answering: tuple[Answering, str],
    status: int,
    headers: dict[str, str],
    kind: type[FreeholdError],
    least: float | None,
    most: float | None,
) -> None:
    app, url = answering
    app.status, app.headers, app.body = status, headers, b"<html>"
    async with FreeholdClient(url, session_token="any") as client:
        with pytest.raises(kind) as refused:
            await client.credentials()
    later = getattr(refused.value, "retry_after", None)
    assert (later is None) == (least is None)
    assert later is None or (least or 0) <= later <= (most or 0)


async def test_a_database_says_so_too(answering: tuple[Answering, str]) -> None:
    app, url = answering
    app.status, app.headers = 429, {"Retry-After": "3"}
    app.body = b'{"message": "too many calls", "code": "TOO_MANY_REQUESTS"}'
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Unavailable) as refused:
            await HranaTarget(session, url, "any").run([Batch((BatchStep(Stmt(sql="SELECT 1")),))])
    assert refused.value.retry_after == 3
    async with create_client(url, auth_token="any") as db:
        with pytest.raises(LibsqlError) as again:
            await db.execute("SELECT 1")
    assert again.value.retry_after == 3


async def test_where_nobody_answers_there_is_no_moment(tmp_path: Path) -> None:
    listener, url = listen()
    listener.close()
    async with FreeholdClient(url, httpx.AsyncClient(timeout=2)) as client:
        with pytest.raises(Unavailable) as refused:
            await client.pull()
    assert refused.value.retry_after is None
