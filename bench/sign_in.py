"""Sign-in and sign-up beside the bare password hash on all cores, and what get-session notices of them."""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
from testbed.servers import ROOT, clean_environ

from bench.load import COUNTER, Load, get, measure, post
from bench.report import Finding, compare, note
from bench.service import MeasuredService

_ROUNDS = 5
_SECONDS = 4.0
_CONNECTIONS = 16
_PASSWORD = "correct-horse-1"
_PAUSE_S = 0.005  # of who asks get-session: a load of its own would take the cores from the hashes
_TIMES_IDLE = 3.0


async def run() -> AsyncIterator[Finding]:
    """Start the service and load it in turn with the floor."""
    with tempfile.TemporaryDirectory() as folder:
        # Limits would count the load; delays after wrong passwords do not matter, all are right.
        service = MeasuredService(Path(folder), RATE_LIMITS="off").start()
        try:
            cookie = await _sign_up_all(service)
            yield await _beside_the_hash("sign-in", service, [_sign_in(number) for number in range(_CONNECTIONS)])
            yield await _beside_the_hash("sign-up", service, [_sign_up(f"new{COUNTER}")])
            yield await _meanwhile(service, get("/api/auth/get-session", cookie=cookie))
        finally:
            service.stop()


async def _beside_the_hash(name: str, service: MeasuredService, requests: list[bytes]) -> Finding:
    note(f"measuring {name}")
    ours: list[float] = []
    floor: list[float] = []
    for number in range(_ROUNDS):
        floor.append(await _floor())
        load = await measure(
            service.port, requests, connections=_CONNECTIONS, seconds=_SECONDS, first=number * 1_000_000
        )
        _must_work(load)
        ours.append(load.per_second)
    return compare(f"{name}, over the bare hash", "/s", ours, floor, at_least=0.95)


async def _meanwhile(service: MeasuredService, request: bytes) -> Finding:
    note("measuring get-session while people sign in")
    idle: list[float] = []
    busy: list[float] = []
    for _ in range(_ROUNDS):
        idle.append((await _ask(service, request)).p99_ms)
        people = asyncio.create_task(
            measure(
                service.port,
                [_sign_in(number) for number in range(_CONNECTIONS)],
                connections=_CONNECTIONS,
                seconds=_SECONDS + 2,
            )
        )
        await asyncio.sleep(1)  # until the hashes run
        busy.append((await _ask(service, request)).p99_ms)
        _must_work(await people)
    times = statistics.median(mine / theirs for mine, theirs in zip(busy, idle, strict=True))
    note(f"get-session's p99 is {times:.2f} times that of an idle service; {_TIMES_IDLE} are allowed")
    return Finding(
        name=f"get-session p99, sign-ins: {_TIMES_IDLE:.0f} / times idle",
        unit="ms",
        ours=statistics.median(busy),
        floor=statistics.median(idle),
        ratio=round(_TIMES_IDLE / times, 3),
        at_least=1.0,
    )


async def _ask(service: MeasuredService, request: bytes) -> Load:
    load = await measure(service.port, [request], connections=1, seconds=_SECONDS, pause_s=_PAUSE_S)
    _must_work(load)
    return load


async def _floor() -> float:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.hash_floor", str(_SECONDS)),
        cwd=ROOT,
        env=clean_environ(),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    return float(out)


async def _sign_up_all(service: MeasuredService) -> str:
    """The people who sign in later; gives the first one's cookie."""
    cookie = ""
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as http:
        for number in range(_CONNECTIONS):
            http.cookies.clear()
            body = {"name": "Bench", "email": f"person{number}@example.com", "password": _PASSWORD}
            reply = await http.post("/api/auth/sign-up/email", json=body)
            reply.raise_for_status()
            cookie = cookie or f"better-auth.session_token={reply.cookies['better-auth.session_token']}"
    return cookie


def _sign_in(number: int) -> bytes:
    body = msgspec.json.encode({"email": f"person{number}@example.com", "password": _PASSWORD})
    return post("/api/auth/sign-in/email", body)


def _sign_up(name: str) -> bytes:
    body = msgspec.json.encode({"name": "Bench", "email": f"{name}@example.com", "password": _PASSWORD})
    return post("/api/auth/sign-up/email", body)


def _must_work(load: Load) -> None:
    if set(load.statuses) != {"200"}:
        raise AssertionError(f"expected only 200, got {load.statuses}")
