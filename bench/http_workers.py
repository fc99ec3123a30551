"""get-session with two processes that serve HTTP beside one."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from bench.load import Load, get, measure
from bench.report import Finding, compare, note
from bench.service import MeasuredService
from freehold.auth.passwords.passwords import cores

_ROUNDS = 5
_SECONDS = 2.0
_CONNECTIONS = 16
_CORES = 3  # two for them, and one for the load


async def run() -> AsyncIterator[Finding]:
    """Start both services and load them in turn. The ratio is wanted only where there are cores for both processes."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (
            MeasuredService(Path(folder) / str(count), RATE_LIMITS="off", ENGINES="1", HTTP_WORKERS=str(count)).start()
            for count in (1, 2)
        )
        try:
            requests = {service.port: await _get_session(service.url) for service in (one, two)}
            loads: dict[int, list[Load]] = {one.port: [], two.port: []}
            note(f"measuring get-session, {_CONNECTIONS} connections, on {cores()} cores")
            for _ in range(_ROUNDS):
                for port, request in requests.items():
                    loads[port].append(await measure(port, request, connections=_CONNECTIONS, seconds=_SECONDS))
            assert all(set(load.statuses) == {"200"} for each in loads.values() for load in each)
            yield compare(
                f"get-session, 2 processes, x{_CONNECTIONS}",
                "/s",
                [load.per_second for load in loads[two.port]],
                [load.per_second for load in loads[one.port]],
                at_least=1.5 if cores() >= _CORES else None,
                beside="one",
            )
        finally:
            one.stop()
            two.stop()


async def _get_session(url: str) -> bytes:
    person = {"name": "Bench", "email": "bench@example.com", "password": "correct-horse-1"}
    async with httpx.AsyncClient(base_url=url) as http:
        reply = (await http.post("/api/auth/sign-up/email", json=person)).raise_for_status()
    return get("/api/auth/get-session", authorization=f"Bearer {reply.json()['token']}")
