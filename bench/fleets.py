"""Fleets of tenants that are some migrations behind, and what scripts and engines do with them without Freehold."""

import asyncio
import itertools
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
from sqlalchemy import insert
from testbed.sqld import Sqld

from freehold.central.tables import tenant
from freehold.central.tenants.rows import new_tenant_row
from freehold.dates import utc_now
from freehold.libsql.protocol import Batch, BatchReq, BatchStep, CloseReq, PipelineReq, Stmt
from freehold.libsql.values import decode
from freehold.migrate.ledger import LAST_SQL
from freehold.migrate.plan import plan
from freehold.migrate.types import Migration, chains
from freehold.providers.local.files import TenantFiles
from freehold.providers.sqld.client.keys import NamespaceKeys
from freehold.settings.load import load_settings
from freehold.wiring.services import Services, open_services

FIRST, LAST = 5, 10


def _history(versions: int) -> list[Migration]:
    """A table, then a column and an index on it, in turn."""
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


HISTORY = _history(LAST)
_ONE_BY_ONE = [one.batch for one in plan(HISTORY, chains(HISTORY), FIRST, LAST)]
_TOGETHER = [one.batch for one in plan(HISTORY, chains(HISTORY), FIRST, LAST, together=True)]
_users = itertools.count(1)


@asynccontextmanager
async def installation(**variables: str) -> AsyncIterator[Services]:
    """An installation of its own; files unless the variables say otherwise."""
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        registry = Path(folder) / "registry"
        registry.mkdir()
        given = {"DATA_DIR": f"{folder}/data", "SCHEMA_REGISTRY": str(registry), **variables}
        async with open_services(load_settings(given)) as services:
            yield services


async def fleet(services: Services, count: int) -> list[str]:
    """So many ready tenants at the first version, and the others published since. Gives their databases."""
    await services.registry.publish(HISTORY[:FIRST])
    rows = [new_tenant_row(f"user-{next(_users)}", services.provider.name, utc_now()) for _ in range(count)]
    async with services.central.write() as db:
        await db.execute(insert(tenant), rows)
    assert await services.provisioner.drain() == []
    await services.registry.publish(HISTORY)
    return [row["database_name"] for row in rows]


async def only(services: Services, names: Sequence[str]) -> None:
    """A rollout shall find these and no others."""
    async with services.central.write() as db:
        await db.execute(tenant.update().values(state="suspended"))
        for start in range(0, len(names), 500):
            some = tenant.c.database_name.in_(names[start : start + 500])
            await db.execute(tenant.update().where(some).values(state="ready"))


async def loop_on_sqld(sqld: Sqld, names: Sequence[str]) -> float:
    """Tenants a second of a plain script: connect, read the version, one request a migration, close."""
    keys = NamespaceKeys(sqld.key)
    reading = Batch((BatchStep(Stmt(sql=LAST_SQL)),))
    bodies = [_body([batch]) for batch in (reading, *_ONE_BY_ONE)]
    headers = {name: _headers(keys, name) for name in names}
    began = time.perf_counter()
    for name in names:
        async with aiohttp.ClientSession() as http:
            for body in bodies:
                await _post(http, sqld, headers[name], body)
    return len(names) / (time.perf_counter() - began)


async def bare_sqld(sqld: Sqld, names: Sequence[str], connections: int) -> float:
    """Tenants a second of the same statements as the rollout's, and nobody looks at the answers."""
    keys = NamespaceKeys(sqld.key)
    body = _body(_TOGETHER)
    headers = iter([_headers(keys, name) for name in names])
    async with aiohttp.ClientSession() as http:

        async def send() -> None:
            for each in headers:
                await _post(http, sqld, each, body)

        began = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(connections)))
        return len(names) / (time.perf_counter() - began)


async def loop_on_files(services: Services, names: Sequence[str]) -> float:
    """As on sqld, with `sqlite3`: one file after the other, a transaction for each migration."""
    return await asyncio.to_thread(_run_files, _paths(services, names), _ONE_BY_ONE, 1)


async def bare_files(services: Services, names: Sequence[str], threads: int) -> float:
    """Files a second of the same statements as the rollout's, with `sqlite3` and full sync."""
    return await asyncio.to_thread(_run_files, _paths(services, names), _TOGETHER, threads)


def _paths(services: Services, names: Sequence[str]) -> list[Path]:
    files = TenantFiles(services.settings.data_dir / "tenants")
    return [files.path_of(name) for name in names]


def _run_files(paths: Sequence[Path], batches: Sequence[Batch], threads: int) -> float:
    statements = [
        (step.stmt.sql or "", [decode(arg) for arg in step.stmt.args or ()])
        for batch in batches
        for step in batch.steps
        if not (step.stmt.sql or "").startswith(("ROLLBACK", "SELECT"))  # which are for what goes wrong
    ]

    def one(path: Path) -> None:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA synchronous = FULL")
        db.execute(LAST_SQL).fetchall()
        for sql, args in statements:
            db.execute(sql, args)
        db.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, paths))
    return len(paths) / (time.perf_counter() - began)


def _body(batches: Sequence[Batch]) -> bytes:
    return msgspec.json.encode(PipelineReq((*(BatchReq(batch) for batch in batches), CloseReq())))


def _headers(keys: NamespaceKeys, name: str) -> dict[str, str]:
    return {"Host": f"{name}.x", "Authorization": f"Bearer {keys.credentials(name, 'full').token}"}


async def _post(http: aiohttp.ClientSession, sqld: Sqld, headers: dict[str, str], body: bytes) -> None:
    async with http.post(f"{sqld.url}/v3/pipeline", data=body, headers=headers) as reply:
        text = await reply.read()
        if reply.status != 200 or b'"message"' in text:
            raise AssertionError(text.decode())
