"""A provider behind its gateway, and nothing else, on a free loopback port."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar import Litestar
from testbed.servers import missing
from testbed.sqld import ADMIN_KEY, BINARY, Sqld

from freehold.http.databases.gateway import DatabasePaths, Gateway, gateway_routes
from freehold.http.databases.replicas import Replicas
from freehold.keys import load_or_create_key
from freehold.providers.local.folders import databases_dir_of, run_dir_of
from freehold.providers.local.processes.client import EngineProcesses
from freehold.providers.local.processes.config import EngineConfig
from freehold.providers.local.processes.running import StartedEngines
from freehold.providers.local.provider import LocalProvider
from freehold.providers.published import RegistryBatches, nothing_published
from freehold.providers.sqld.process.supervised import running_sqld
from freehold.providers.sqld.provider import SqldProvider
from freehold.providers.sqlite.limits import EngineLimits, limits_of
from tests.support.serving import listen, serving


@dataclass(slots=True)
class Served:
    """A running gateway and what tests need to speak to it."""

    url: str
    provider: Any  # the adapter under test: `LocalProvider` or `SqldProvider`
    key: Ed25519PrivateKey
    http: aiohttp.ClientSession

    async def database(self, name: str, level: Any = "full") -> "Caller":
        """A database that exists, with a token for it."""
        await self.provider.create(name)
        return await self.caller(name, level)

    async def caller(self, name: str, level: Any = "full") -> "Caller":
        token = await self.provider.mint_token(name, level, "test")
        return Caller(self, name, token.text)


@dataclass(slots=True)
class Caller:
    """Raw Hrana calls with one token on one database."""

    served: Served
    name: str
    token: str

    @property
    def url(self) -> str:
        return f"{self.served.url}/db/{self.name}/"

    async def post(self, endpoint: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and decoded body."""
        data = body if isinstance(body, bytes) else None
        async with self.served.http.post(
            self.url + endpoint,
            data=data,
            json=None if data is not None else body,
            headers={"authorization": f"Bearer {self.token}", **headers},
        ) as reply:
            if endpoint == "v3/cursor" and reply.status == 200:  # a document a line
                return 200, [json.loads(line) for line in (await reply.text()).splitlines()]
            return reply.status, await reply.json()

    async def pipeline(self, *requests: Any, baton: str | None = None, version: int = 3) -> Any:
        """The whole answer of a pipeline that must succeed as a call. A string stands for `execute`."""
        status, body = await self.post(
            f"v{version}/pipeline", {"baton": baton, "requests": [_request(each) for each in requests]}
        )
        assert status == 200, (status, body)
        return body

    async def run(self, sql: str, *args: Any) -> Any:
        """The result of one statement that must succeed; or the error, as a dict with `code`."""
        request = {"type": "execute", "stmt": {"sql": sql, "args": [value(arg) for arg in args]}}
        body = await self.pipeline(request, {"type": "close"})
        first = body["results"][0]
        return first["response"]["result"] if first["type"] == "ok" else first["error"]

    async def rows(self, sql: str, *args: Any) -> list[list[Any]]:
        """The plain values of a result."""
        result = await self.run(sql, *args)
        assert "rows" in result, result
        return [[plain(cell) for cell in row] for row in result["rows"]]


def codes_in(answer: Any) -> list[str]:
    """The codes of all errors in an answer, of statements and of the whole."""
    if isinstance(answer, dict):
        own = [answer["code"]] if isinstance(answer.get("message"), str) and "code" in answer else []
        return own + [code for value in answer.values() for code in codes_in(value)]
    return [code for value in answer for code in codes_in(value)] if isinstance(answer, list) else []


def _request(each: Any) -> Any:
    return {"type": "execute", "stmt": {"sql": each}} if isinstance(each, str) else each


def value(arg: Any) -> Any:
    """A Python value in Hrana's form."""
    match arg:
        case None:
            return {"type": "null"}
        case int():
            return {"type": "integer", "value": str(arg)}
        case float():
            return {"type": "float", "value": arg}
        case str():
            return {"type": "text", "value": arg}
    return arg


def plain(cell: Any) -> Any:
    """A value of Hrana as a Python value."""
    match cell["type"]:
        case "null":
            return None
        case "integer":
            return int(cell["value"])
        case "blob":
            return cell["base64"]
    return cell["value"]


@contextlib.asynccontextmanager
async def served(folder: Path, **options: Any) -> AsyncIterator[Served]:
    """The gateway on this event loop, over databases in `folder`.

    Tokens have the profile that they are made with, unless the options say otherwise.
    """
    options.setdefault("most", "full")
    async with _served(folder, lambda url, key: LocalProvider(folder, url, key, **options)) as running:
        yield running


@contextlib.asynccontextmanager
async def served_by_engines(folder: Path, engines: int = 2, **options: Any) -> AsyncIterator[Served]:
    """The same with engine processes, as a service runs them."""
    options.setdefault("most", "full")
    run_dir = run_dir_of(folder)
    limits = limits_of(
        options.get("query_timeout_s", 5.0),
        options.get("transaction_timeout_s", 30.0),
        options.get("max_size_bytes", 512_000_000),
    )
    started = StartedEngines(
        EngineConfig(
            run_dir=str(run_dir),
            databases_dir=str(databases_dir_of(folder)),
            engines=engines,
            limits=limits,
            engine_limits=options.pop("engine_limits", EngineLimits()),
            log_format="json",
        )
    )
    assert started.start()
    registry = RegistryBatches(options.get("published", nothing_published))

    async def find() -> int:
        return engines

    def make(url: str, key: Ed25519PrivateKey) -> LocalProvider:
        return LocalProvider(folder, url, key, engine=EngineProcesses(run_dir, find, registry), **options)

    try:
        async with _served(folder, make) as running:
            yield running
    finally:
        started.close()


@contextlib.asynccontextmanager
async def served_by_sqld(
    folder: Path, sqld: Sqld, *, by_way_of: str | None = None, **options: Any
) -> AsyncIterator[Served]:
    """The gateway on this event loop, in front of a running sqld, or of what stands between the two."""
    options.setdefault("most", "full")
    sqld_url = by_way_of or sqld.url
    async with _served(
        folder, lambda url, key: SqldProvider(sqld_url, sqld.admin_url, ADMIN_KEY, key, url, **options)
    ) as running:
        yield running


@contextlib.asynccontextmanager
async def served_by_supervised_sqld(folder: Path, memory_mb: int = 1024, **options: Any) -> AsyncIterator[Served]:
    """The gateway in front of a sqld under its supervisor, as `freehold dev sqld` runs them."""
    if not BINARY.exists():
        missing("sqld is not installed: run `make test` once")
    options.setdefault("most", "full")
    key = load_or_create_key(folder / "key.pem")
    async with running_sqld(BINARY, folder / "sqld", key, memory_mb=memory_mb) as place:

        def make(url: str, key: Ed25519PrivateKey) -> SqldProvider:
            return SqldProvider(
                place.url, place.admin_url, place.admin_key, key, url, supervisor_url=place.supervisor_url, **options
            )

        async with _served(folder, make) as running:
            yield running


@contextlib.asynccontextmanager
async def _served(
    folder: Path, make: Callable[[str, Ed25519PrivateKey], LocalProvider | SqldProvider]
) -> AsyncIterator[Served]:
    listener, url = listen()
    key = load_or_create_key(folder / "key.pem")
    provider = make(url, key)
    replicas = None if provider.replicas is None else Replicas(provider.replicas, provider.verifier)
    gateway = Gateway(provider.server, provider.verifier, replicas=replicas)
    inner = Litestar([gateway_routes(gateway)], openapi_config=None, logging_config=None)
    app = inner if replicas is None else DatabasePaths(inner, gateway)
    try:
        async with serving(app, listener), aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as http:
            yield Served(url, provider, key, http)
    finally:
        await provider.aclose()


async def _main(folder: Path, name: str) -> None:
    async with served(folder) as running:
        caller = await running.database(name)
        print(caller.url, caller.token, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2]))
