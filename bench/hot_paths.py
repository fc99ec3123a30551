"""get-session and the registry pull beside a bare Litestar handler doing one SQLite lookup."""

import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from testbed.process import Process, spawn
from testbed.servers import ROOT, clean_environ

from bench.load import Load, get, measure
from bench.report import Finding, compare, note
from bench.service import MeasuredService

_ROUNDS = 5
_SECONDS = 2.0


@contextmanager
def _floor(database: Path) -> Iterator[int]:
    """The bare application on a copy of the same database; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = Process(database.with_name("floor.log"))
    words = [sys.executable, "-m", "bench.floor", database, str(port)]
    try:
        begins = spawn(words, ROOT, clean_environ())
        assert process.launch(begins, lambda: httpx.get(f"http://127.0.0.1:{port}/nothing")), process.log()
        yield port
    finally:
        process.kill()


async def run() -> AsyncIterator[Finding]:
    """Start both servers, load them in turn, and give a finding for each path."""
    with tempfile.TemporaryDirectory() as folder:
        service = MeasuredService(Path(folder) / "service", RATE_LIMITS="off").start()
        cached = MeasuredService(Path(folder) / "cached", RATE_LIMITS="off", SESSION_COOKIE_CACHE="compact")
        try:
            paths = await _prepare(service)
            paths["get-session, cookie cache"] = await _with_cookie_cache(cached.start())
            # A copy: the floor must not share the file that the service writes.
            copy = Path(folder) / "floor.db"
            for suffix in ("", "-wal"):
                source = service.data_dir / f"central.db{suffix}"
                if source.exists():
                    shutil.copy(source, f"{copy}{suffix}")
            with _floor(copy) as floor_port:
                nothing = await measure(floor_port, get("/nothing"), seconds=_SECONDS)
                note(f"Litestar doing nothing, for scale: {nothing.per_second:,.0f} a second")
                for name, (port, request, status) in paths.items():
                    note(f"measuring {name}")
                    ours: list[Load] = []
                    floor: list[Load] = []
                    for _ in range(_ROUNDS):
                        floor.append(await measure(floor_port, get("/lookup"), seconds=_SECONDS))
                        ours.append(await measure(port, request, seconds=_SECONDS))
                    _must_be(ours, status)
                    yield compare(name, "/s", [x.per_second for x in ours], [x.per_second for x in floor], at_least=0.8)
        finally:
            service.stop()
            cached.stop()


async def _with_cookie_cache(service: MeasuredService) -> tuple[int, bytes, str]:
    async with httpx.AsyncClient(base_url=service.url) as http:
        reply = await _sign_up(http)
    sent = reply.headers.get_list("set-cookie")
    cookies = "; ".join(cookie.partition(";")[0] for cookie in sent)
    assert "session_data" in cookies
    return service.port, get("/api/auth/get-session", cookie=cookies), "200"


async def _sign_up(http: httpx.AsyncClient) -> httpx.Response:
    reply = await http.post(
        "/api/auth/sign-up/email", json={"name": "Bench", "email": "bench@example.com", "password": "correct-horse-1"}
    )
    return reply.raise_for_status()


async def _prepare(service: MeasuredService) -> dict[str, tuple[int, bytes, str]]:
    async with httpx.AsyncClient(base_url=service.url) as http:
        reply = await _sign_up(http)
        cookie = f"better-auth.session_token={reply.cookies['better-auth.session_token']}"
        token = reply.json()["token"]
        pull = await http.get("/migrations", params={"after": 0})
        full = await http.get("/migrations/full")
    requests = {
        "get-session, cookie": (get("/api/auth/get-session", cookie=cookie), "200"),
        "get-session, bearer": (get("/api/auth/get-session", authorization=f"Bearer {token}"), "200"),
        "registry pull, 200": (get("/migrations?after=0"), "200"),
        "registry pull, 304": (get("/migrations?after=0", if_none_match=pull.headers["etag"]), "304"),
        "registry in full, 200": (get("/migrations/full"), "200"),
        "registry in full, 304": (get("/migrations/full", if_none_match=full.headers["etag"]), "304"),
    }
    return {name: (service.port, *request) for name, request in requests.items()}


def _must_be(loads: list[Load], status: str) -> None:
    for load in loads:
        if set(load.statuses) != {status}:
            raise AssertionError(f"expected only {status}, got {load.statuses}")
