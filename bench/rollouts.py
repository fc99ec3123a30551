"""Five pending migrations over a fleet: a rollout beside a plain loop, and beside the bare engine.

The loop is what a script would do: connect, read the version, one request a migration, close. The bare engine gets
the same statements in one go, on as many connections or threads as the rollout may use, and nobody writes down what
became of it. Planning and status are timed over 100,000 tenants.
"""

import asyncio
import itertools
import resource
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import structlog
from sqlalchemy import insert
from tests.sqld import Sqld, running_sqld
from tests.sqld_service import sqld_variables

from bench.report import Finding, compare, note
from freehold.auth.dates import utc_now
from freehold.bootstrap import Services, open_services
from freehold.central.tables import tenant
from freehold.central.tenant_rows import new_tenant_row
from freehold.libsql.protocol import Batch, BatchReq, CloseReq, PipelineReq
from freehold.libsql.values import decode
from freehold.migrate.apply import apply
from freehold.migrate.ledger import read_ledger
from freehold.migrate.plan import plan
from freehold.migrate.types import Migration, chains
from freehold.providers.local.files import TenantFiles
from freehold.providers.sqld.keys import NamespaceKeys
from freehold.rollouts.types import Options
from freehold.rollouts.worker import WorkerPace
from freehold.settings import load_settings

_FIRST, _LAST = 5, 10
_CONCURRENCY = 4
_LOOPED = 40
_ROUNDS = 3
_ONE_WAVE = Options(waves=())


def history(versions: int) -> list[Migration]:
    """A table, then a column or an index in turn."""
    found = []
    for version in range(1, versions + 1):
        sql = (
            f"CREATE TABLE words_{version} (id INTEGER PRIMARY KEY, word TEXT);"
            if version % 2
            else f"ALTER TABLE words_{version - 1} ADD COLUMN added_{version} TEXT;"
            f" CREATE INDEX words_{version} ON words_{version - 1} (added_{version});"
        )
        found.append(Migration(version=version, name=f"step_{version}", sql=sql))
    return found


_ALL = history(_LAST)
_PENDING: Sequence[Batch] = [each.batch for each in plan(_ALL, chains(_ALL), _FIRST, _LAST)]


async def run() -> AsyncIterator[Finding]:
    """Fleets on sqld, fleets of files, then the central database alone."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    for count in (200, 1000):
        note(f"a rollout over {count} namespaces on sqld")
        async for finding in _on_sqld(count):
            yield finding
    for count in (1000, 10_000):
        note(f"a rollout over {count} files")
        async for finding in _on_files(count):
            yield finding
    note("planning and status over 100,000 tenants")
    async for finding in _planning(100_000):
        yield finding


async def _on_sqld(count: int) -> AsyncIterator[Finding]:
    ours, bare, looped = [], [], []
    for _ in range(_ROUNDS if count <= 200 else 1):
        with running_sqld("--max-active-namespaces", "10000") as sqld:
            async with _services(**sqld_variables(sqld)) as services:
                names = await _fleet(services, 2 * count + _LOOPED)
                looped.append(await _loop(services, names[:_LOOPED]))
                bare.append(await _bare_sqld(sqld, names[_LOOPED : _LOOPED + count]))
                await _forget(services, names[: _LOOPED + count])
                ours.append(await _rollout(services, count))
    yield compare(f"rollout, {count} on sqld, over a plain loop", "/s", ours, looped, at_least=10)
    yield compare(f"rollout, {count} on sqld, over the bare engine", "/s", ours, bare, at_least=0.8)


async def _on_files(count: int) -> AsyncIterator[Finding]:
    ours, bare, looped = [], [], []
    for _ in range(_ROUNDS if count <= 1000 else 1):
        async with _services() as services:
            names = await _fleet(services, 2 * count + _LOOPED)
            looped.append(await _loop(services, names[:_LOOPED]))
            files = TenantFiles(services.settings.data_dir / "tenants")
            paths = [files.path_of(name) for name in names[_LOOPED : _LOOPED + count]]
            bare.append(await asyncio.to_thread(_bare_files, paths))
            await _forget(services, names[: _LOOPED + count])
            ours.append(await _rollout(services, count))
    yield compare(f"rollout, {count} files, over a plain loop", "/s", ours, looped)
    yield compare(f"rollout, {count} files, over bare sqlite3", "/s", ours, bare, at_least=0.8)


async def _rollout(services: Services, count: int) -> float:
    """Databases a second, from the plan to the last row written."""
    began = time.perf_counter()
    started = await services.rollouts.start(_ONE_WAVE)
    await services.rollouts.work(started.rollout_id, pace=WorkerPace(concurrency=_CONCURRENCY))
    took_s = time.perf_counter() - began
    done = await services.rollouts.progress()
    if (done.counts["migrated"], done.requests) != (count, count):
        raise AssertionError(f"expected {count} in one request each, got {done}")
    return count / took_s


async def _loop(services: Services, names: Sequence[str]) -> float:
    began = time.perf_counter()
    for name in names:
        target = await services.provider.open(name)
        at = (await read_ledger(target)).version
        for version in range(at + 1, _LAST + 1):
            await apply(target, _ALL, to=version, recorded=version - 1)
    return len(names) / (time.perf_counter() - began)


async def _bare_sqld(sqld: Sqld, names: Sequence[str]) -> float:
    body = msgspec.json.encode(PipelineReq((*(BatchReq(batch) for batch in _PENDING), CloseReq())))
    keys = NamespaceKeys(sqld.key)
    waiting = iter(names)
    async with aiohttp.ClientSession() as http:

        async def send() -> None:
            for name in waiting:
                headers = {
                    "Host": f"{name}.x",
                    "Authorization": f"Bearer {keys.credentials(name, 'full').token}",
                }
                async with http.post(f"{sqld.url}/v3/pipeline", data=body, headers=headers) as reply:
                    assert reply.status == 200
                    await reply.read()

        for name in names:  # minted before, as they are in the service
            keys.credentials(name, "full")
        began = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(_CONCURRENCY)))
        return len(names) / (time.perf_counter() - began)


def _bare_files(paths: Sequence[Path]) -> float:
    statements = [(step.stmt.sql or "", step.stmt.args) for batch in _PENDING for step in batch.steps]

    def one(path: Path) -> None:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA synchronous = FULL")
        for sql, args in statements:
            if not sql.startswith("ROLLBACK"):
                db.execute(sql, [decode(arg) for arg in args or ()])
        db.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        list(pool.map(one, paths))
    return len(paths) / (time.perf_counter() - began)


async def _planning(count: int) -> AsyncIterator[Finding]:
    async with _services() as services:
        await services.registry.publish(_ALL)
        for start in range(0, count, 10_000):
            async with services.central.write() as db:
                rows = [
                    {**new_tenant_row(f"u{at}", "local", utc_now()), "state": "ready", "due_at_ms": None}
                    for at in range(start, start + 10_000)
                ]
                await db.execute(insert(tenant), [{**row, "schema_version": _FIRST} for row in rows])
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        floor = [await _timed_ms(_count(services)) for _ in range(5)]
        plans = [await _timed_ms(services.rollouts.plan(_ONE_WAVE)) for _ in range(5)]
        started = [await _timed_ms(services.rollouts.start(_ONE_WAVE))] * 5
        status = [await _timed_ms(services.rollouts.progress()) for _ in range(5)]
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
        note(f"  the process grew by {grown_mb:.0f} MB for planning, starting and status")
        yield compare(f"plan over {count} tenants, over counting them", "ms", plans, floor)
        yield compare(f"start over {count} tenants, over counting them", "ms", started, floor)
        yield compare(f"status over {count} tenants, over counting them", "ms", status, floor)


async def _count(services: Services) -> None:
    async with services.central.read() as db:
        await db.exec_driver_sql("SELECT count(*), sum(schema_version) FROM tenant")


async def _timed_ms(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000


@asynccontextmanager
async def _services(**variables: str) -> AsyncIterator[Services]:
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder) / "registry"
        registry.mkdir()
        given = {"DATA_DIR": f"{folder}/data", "SCHEMA_REGISTRY": str(registry), **variables}
        async with open_services(load_settings(given)) as services:
            yield services


_users = itertools.count(1)


async def _fleet(services: Services, count: int) -> list[str]:
    """So many ready tenants at the first version, and the others published since."""
    await services.registry.publish(_ALL[:_FIRST])
    rows = [new_tenant_row(f"user-{next(_users)}", services.provider.name, utc_now()) for _ in range(count)]
    async with services.central.write() as db:
        await db.execute(insert(tenant), rows)
    assert await services.provisioner.drain() == []
    await services.registry.publish(_ALL)
    return [row["database_name"] for row in rows]


async def _forget(services: Services, names: Sequence[str]) -> None:
    """The rollout shall find the others only."""
    async with services.central.write() as db:
        for start in range(0, len(names), 500):
            some = tenant.c.database_name.in_(names[start : start + 500])
            await db.execute(tenant.update().where(some).values(state="suspended"))
