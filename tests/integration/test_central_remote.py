"""The whole service with its central database on a real libSQL server, and that server away for a while."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from testbed.servers import ROOT
from testbed.sqld import Sqld, running_sqld

from freehold.http.app import create_asgi
from freehold.registry.types import PublishedMigration
from freehold.settings.fields import BadSettings
from freehold.settings.load import load_settings
from freehold.wiring.services import Services, open_services
from tests.integration.libsql_parts import new_url

_SIGN_UP = {"name": "Amal", "email": "amal@example.com", "password": "correct-horse-1"}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(processors=[lambda _logger, _name, _event: ""])


@pytest.fixture
def sqld() -> Iterator[Sqld]:
    with running_sqld() as server:
        yield server


@asynccontextmanager
async def service(folder: Path, url: str, token: str) -> AsyncIterator[tuple[Services, httpx.AsyncClient]]:
    """One process of several; only the central database is shared."""
    given = {
        "RATE_LIMITS": "off",
        "DATA_DIR": str(folder),
        "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar"),
        "DATABASE_URL": url,
        "DATABASE_AUTH_TOKEN": token,
        "BETTER_AUTH_SECRET": "s" * 40,
    }
    async with open_services(load_settings(given)) as services:
        app: Any = create_asgi(services)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            http.event_hooks = {"request": [_without_cookies]}
            yield services, http


async def _without_cookies(request: httpx.Request) -> None:
    request.headers.pop("cookie", None)


async def test_one_users_whole_life(tmp_path: Path, sqld: Sqld) -> None:
    async with service(tmp_path, *new_url(sqld)) as (services, http):
        await services.publish_registry()
        work = asyncio.create_task(services.provisioner.run())
        try:
            reply = await http.post("/api/auth/sign-up/email", json=_SIGN_UP)
            bearer = {"authorization": f"Bearer {reply.json()['token']}"}
            assert (await http.post("/api/auth/sign-up/email", json=_SIGN_UP)).status_code == 422
            until = time.monotonic() + 20
            while (found := await http.get("/databases/user", headers=bearer)).status_code == 202:
                assert time.monotonic() < until, found.text
            assert found.json()["schema_version"] == len((await services.registry.snapshot()).rows)
            assert (await http.post("/api/auth/sign-in/email", json=_SIGN_UP)).status_code == 200
            await http.post("/api/auth/sign-out", headers=bearer, json={})
            assert (await http.get("/api/auth/get-session", headers=bearer)).json() is None
        finally:
            work.cancel()


async def test_what_one_process_commits_the_others_know_at_once(tmp_path: Path, sqld: Sqld) -> None:
    place = new_url(sqld)
    async with service(tmp_path / "a", *place) as (one, here), service(tmp_path / "b", *place) as (other, there):
        await one.publish_registry()
        assert (await other.registry.snapshot()).version == (await one.registry.snapshot()).version
        token = (await here.post("/api/auth/sign-up/email", json=_SIGN_UP)).json()["token"]
        bearer = {"authorization": f"Bearer {token}"}
        for _ in range(2):  # the second from its cache
            assert (await there.get("/api/auth/get-session", headers=bearer)).json()["user"]["name"] == "Amal"
        await here.post("/api/auth/sign-out", headers=bearer, json={})
        assert (await there.get("/api/auth/get-session", headers=bearer)).json() is None
        added: PublishedMigration = await one.registry.register("CREATE TABLE more (x);", "more")
        assert (await there.get("/migrations/current-version")).json() == {"version": added.version}


async def test_ten_sign_ups_of_one_address_make_one_user(tmp_path: Path, sqld: Sqld) -> None:
    async with service(tmp_path, *new_url(sqld)) as (services, http):
        replies = await asyncio.gather(*(http.post("/api/auth/sign-up/email", json=_SIGN_UP) for _ in range(10)))
        assert sorted(reply.status_code for reply in replies) == [200] + [422] * 9
        assert sum((await services.listing.counts()).values()) == 1


async def test_a_server_that_is_away_is_a_prompt_503_and_nothing_is_lost(tmp_path: Path, sqld: Sqld) -> None:
    async with service(tmp_path, *new_url(sqld)) as (services, http):
        token = (await http.post("/api/auth/sign-up/email", json=_SIGN_UP)).json()["token"]
        bearer = {"authorization": f"Bearer {token}"}
        sqld.kill()
        for method, path in (("GET", "/api/auth/get-session"), ("GET", "/databases/user"), ("GET", "/ready"),
                             ("POST", "/api/auth/sign-in/email")):  # fmt: skip
            started = time.monotonic()
            reply = await http.request(method, path, headers=bearer, json=_SIGN_UP if method == "POST" else None)
            assert reply.status_code == 503, (path, reply.text)
            assert int(reply.headers["retry-after"]) > 0
            assert time.monotonic() - started < 8
        sqld.start()
        session = await http.get("/api/auth/get-session", headers=bearer)
        assert session.json()["user"]["email"] == "amal@example.com"
        assert sum((await services.listing.counts()).values()) == 1


async def test_a_namespace_that_sqld_denies_for_a_moment_is_asked_for_again(tmp_path: Path, sqld: Sqld) -> None:
    async def appear() -> None:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(sqld.create, "central")

    appearing = asyncio.create_task(appear())
    url, token = f"{sqld.url}/?namespace=central", sqld.token("central")
    async with service(tmp_path, url, token) as (_, http):
        assert appearing.done()
        assert (await http.post("/api/auth/sign-up/email", json=_SIGN_UP)).status_code == 200


async def test_a_token_that_is_refused_never_shows(tmp_path: Path, sqld: Sqld) -> None:
    url, token = new_url(sqld)
    wrong = token[:-6] + "AAAAAA"
    with pytest.raises(Exception) as caught:
        async with service(tmp_path, url, wrong):
            pass
    assert wrong not in f"{caught.value!r} {caught.value}"


async def test_a_url_that_leads_nowhere_is_a_fault_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="DATABASE_URL"):
        async with service(tmp_path, "https://", ""):
            pass
