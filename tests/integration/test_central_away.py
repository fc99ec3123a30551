"""The whole service while its central database is locked, full or gone: a prompt 503, and nothing half-written."""

import asyncio
import sqlite3
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from testbed.servers import ROOT, clean_environ

from freehold.http.app import create_asgi
from freehold.settings.load import load_settings
from freehold.wiring.services import Services, open_services

_SIGN_UP = {"name": "Amal", "email": "amal@example.com", "password": "correct-horse-1"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(processors=[lambda _logger, _name, _event: ""])
    yield
    structlog.reset_defaults()


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    given = {"RATE_LIMITS": "off", "DATA_DIR": str(tmp_path), "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar")}
    async with open_services(load_settings(given)) as opened:
        yield opened


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    app: Any = create_asgi(services)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        client.event_hooks = {"request": [_without_cookies]}  # they would need an Origin
        yield client


async def _without_cookies(request: httpx.Request) -> None:
    request.headers.pop("cookie", None)


async def test_a_locked_database_is_a_prompt_503_and_nothing_is_half_written(
    services: Services, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    token = (await http.post("/api/auth/sign-up/email", json=_SIGN_UP)).json()["token"]
    with sqlite3.connect(tmp_path / "central.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        reply = await http.post("/api/auth/sign-up/email", json={**_SIGN_UP, "email": "two@example.com"})
        took_s = time.monotonic() - started
        # Readers need no lock.
        session = await http.get("/api/auth/get-session", headers={"authorization": f"Bearer {token}"})
        other.execute("ROLLBACK")
    assert (reply.status_code, reply.json()["code"]) == (503, "CENTRAL_UNAVAILABLE")
    assert int(reply.headers["retry-after"]) > 0
    assert took_s < 10
    assert session.json()["user"]["email"] == "amal@example.com"
    with sqlite3.connect(tmp_path / "central.db") as db:
        assert db.execute("SELECT count(*) FROM user").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM tenant").fetchone() == (1,)
    again = await http.post("/api/auth/sign-up/email", json={**_SIGN_UP, "email": "two@example.com"})
    assert again.status_code == 200


async def test_a_database_that_is_gone_is_a_503_everywhere(
    services: Services, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    token = (await http.post("/api/auth/sign-up/email", json=_SIGN_UP)).json()["token"]
    await services.central.close()  # so that the next use opens the file again
    (tmp_path / "central.db").write_bytes(b"no database " * 500)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"central.db{suffix}").unlink(missing_ok=True)
    bearer = {"authorization": f"Bearer {token}"}
    for method, path, body in (
        ("GET", "/databases/user", None),
        ("POST", "/api/auth/sign-in/email", _SIGN_UP),
        ("GET", "/ready", None),
    ):
        reply = await http.request(method, path, json=body, headers=bearer)
        assert reply.status_code == 503, (path, reply.text)
        assert int(reply.headers["retry-after"]) > 0
        assert str(tmp_path) not in reply.text
    assert (await http.get("/health")).status_code == 200


_FULL = """
    import asyncio, resource, signal, sys
    from pathlib import Path
    import httpx, structlog
    from freehold.wiring.services import open_services
    from freehold.http.app import create_asgi
    from freehold.settings.load import load_settings

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))

    async def sign_up(transport, number):
        body = {"name": "x" * 5000, "email": f"p{number}@example.com", "password": "correct-horse-1"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            return (await http.post("/api/auth/sign-up/email", json=body)).status_code

    async def main():
        given = {"RATE_LIMITS": "off", "DATA_DIR": sys.argv[1], "SCHEMA_REGISTRY": sys.argv[2]}
        async with open_services(load_settings(given)) as services:
            transport = httpx.ASGITransport(create_asgi(services))
            print(await sign_up(transport, 1))
            size = max(path.stat().st_size for path in Path(sys.argv[1]).glob("central.db*"))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, resource.RLIM_INFINITY))
            print(*[await sign_up(transport, number) for number in range(2, 6)])
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(await sign_up(transport, 9))

    asyncio.run(main())
"""


async def test_a_full_disk_is_a_503_until_there_is_room_again(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(_FULL), str(tmp_path), str(ROOT / "schema_registry/bahar"),
        env=clean_environ(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 60)
    before, during, after = (line.split() for line in out.decode().splitlines())
    assert (before, after) == (["200"], ["200"]), err
    assert during[-1] == "503", err
    assert set(during) <= {"200", "503"}
    with sqlite3.connect(tmp_path / "central.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        users = db.execute("SELECT count(*) FROM user").fetchone()
        assert users == db.execute("SELECT count(*) FROM tenant").fetchone()
        assert users == (2 + during.count("200"),)
