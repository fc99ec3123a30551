"""`/db/<name>/` in front of sqld beside sqld itself, asked the same by the same client in the same run."""

import asyncio
import statistics
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables

from bench.load import Load, measure, post
from bench.report import Finding, compare, note
from bench.service import MeasuredService
from freehold.providers.sqld.client.keys import NamespaceKeys

_ROUNDS = 5
_SECONDS = 2.0
_OVERHEAD_MS = 0.5
_PASSWORD = "correct-horse-1"
_QUERIES = {
    "select 1": {"sql": "SELECT 1"},
    "50 rows": {"sql": "SELECT value, 'term ' || value FROM generate_series(1, 50)"},
}


async def run() -> AsyncIterator[Finding]:
    """Start sqld and the service, and load both in turn."""
    with running_sqld() as sqld, tempfile.TemporaryDirectory() as folder:
        # Rate limits, once there are any, must not count the load.
        service = MeasuredService(Path(folder), **sqld_variables(sqld)).start()
        try:
            url, token = await _sign_up(service.url)
            name = url.rstrip("/").rpartition("/")[2]
            own = NamespaceKeys(sqld.key).credentials(name, "full")
            for label, stmt in _QUERIES.items():
                body = msgspec.json.encode({"requests": [{"type": "execute", "stmt": stmt}, {"type": "close"}]})
                path = f"/db/{name}/v3/pipeline"
                ours = post(path, body, authorization=f"Bearer {token}")
                direct = post("/v3/pipeline", body, authorization=f"Bearer {own.token}", x_namespace_bin=own.namespace)
                for connections in (1, 16):
                    note(f"measuring the gateway, {label}, {connections} connections")
                    yield await _compare(label, service.port, ours, sqld.port, direct, connections)
        finally:
            service.stop()


async def _compare(label: str, port: int, ours: bytes, sqld_port: int, direct: bytes, connections: int) -> Finding:
    through: list[Load] = []
    floor: list[Load] = []
    for _ in range(_ROUNDS):
        floor.append(await measure(sqld_port, direct, connections=connections, seconds=_SECONDS))
        through.append(await measure(port, ours, connections=connections, seconds=_SECONDS))
    _must_work([*through, *floor])
    if connections > 1:
        return compare(
            f"gateway, {label}, x{connections}",
            "/s",
            [load.per_second for load in through],
            [load.per_second for load in floor],
            at_least=0.55,
        )
    over_ms = statistics.median(mine.p50_ms - theirs.p50_ms for mine, theirs in zip(through, floor, strict=True))
    note(f"the gateway takes {over_ms:.3f} ms at the median; {_OVERHEAD_MS} are allowed")
    return Finding(
        name=f"gateway, {label}, x1: {_OVERHEAD_MS} ms / overhead",
        unit="ms",
        ours=statistics.median(load.p50_ms for load in through),
        floor=statistics.median(load.p50_ms for load in floor),
        ratio=round(_OVERHEAD_MS / max(over_ms, 0.001), 3),
        at_least=1.0,
    )


async def _sign_up(url: str) -> tuple[str, str]:
    """A user's database and a token for it, once it is there."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        person = {"name": "Bench", "email": "bench@example.com", "password": _PASSWORD}
        (await http.post("/api/auth/sign-up/email", json=person)).raise_for_status()
        for _ in range(100):
            reply = await http.get("/databases/user")
            if reply.status_code == 200:
                return reply.json()["url"], reply.json()["access_token"]
            await asyncio.sleep(0.1)
    raise AssertionError(f"no database: {reply.text}")


def _must_work(loads: list[Load]) -> None:
    for load in loads:
        if set(load.statuses) != {"200"}:
            raise AssertionError(f"expected only 200, got {load.statuses}")
