"""Files, sqld and the Turso twin, each behind its gateway, with databases whose tokens have the profile `full`."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import httpx
from testbed.sqld import running_sqld
from testbed.twin import ORGANIZATION, Twin, running_twin, turso_provider

from tests.support.gateway_app import Served, served, served_by_sqld

PlaceName = Literal["files", "sqld", "turso"]
PLACES: tuple[PlaceName, ...] = ("files", "sqld", "turso")


class Database(NamedTuple):
    """What a client is given."""

    url: str
    token: str

    def run(self, *sqls: str) -> list[list[list[Any]]]:
        """The rows of statements that must succeed."""
        requests = [*({"type": "execute", "stmt": {"sql": sql}} for sql in sqls), {"type": "close"}]
        reply = httpx.post(
            f"{self.url}v3/pipeline",
            json={"requests": requests},
            headers={"authorization": f"Bearer {self.token}"},
            timeout=60,
        )
        results = reply.json()["results"][:-1]
        assert [each["type"] for each in results] == ["ok"] * len(sqls), reply.text
        return [[[cell.get("value") for cell in row] for row in each["response"]["result"]["rows"]] for each in results]


class Place(Protocol):
    """One of the three, running."""

    def database(self) -> Database:
        """A new one, empty."""

    def export(self, database: Database, to: Path) -> None:
        """Write the database to a file, as `freehold tenants export` does."""


@contextlib.contextmanager
def running_place(name: PlaceName, folder: Path) -> Iterator[Place]:
    """This one until the end."""
    match name:
        case "files":
            with _loop_in_thread() as loop, _entered(loop, served(folder)) as gateway:
                yield _Gateway(loop, gateway)
        case "sqld":
            with (
                running_sqld() as sqld,
                _loop_in_thread() as loop,
                _entered(loop, served_by_sqld(folder, sqld)) as gateway,
            ):
                yield _Gateway(loop, gateway)
        case "turso":
            with running_twin() as twin:
                yield _Turso(twin)


class _Gateway:
    def __init__(self, loop: asyncio.AbstractEventLoop, gateway: Served) -> None:
        self._loop = loop
        self._gateway = gateway
        self._numbers = itertools.count(1)

    def database(self) -> Database:
        caller = _done(self._loop, self._gateway.database(f"client-{next(self._numbers)}"))
        return Database(caller.url, caller.token)

    def export(self, database: Database, to: Path) -> None:
        name = database.url.rstrip("/").rpartition("/")[2]
        _done(self._loop, self._gateway.provider.export(name, to, f"{name}-scratch"))


class _Turso:
    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._numbers = itertools.count(1)

    def database(self) -> Database:
        name = f"client-{next(self._numbers)}"
        made = self._twin.create(name)
        return Database(f"http://{made['Hostname']}", self._twin.token(name))

    def export(self, database: Database, to: Path) -> None:
        label = database.url.rstrip("/").rpartition("/")[2]
        asyncio.run(self._export(label.removesuffix(f"-{ORGANIZATION}"), to))

    async def _export(self, name: str, to: Path) -> None:
        provider = turso_provider(self._twin)
        try:
            await provider.export(name, to, f"{name}-scratch")
        finally:
            await provider.aclose()


@contextlib.contextmanager
def _loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def _entered(loop: asyncio.AbstractEventLoop, context: AbstractAsyncContextManager[Served]) -> Iterator[Served]:
    """The context, in one task of the loop from its beginning to its end."""
    entered: asyncio.Future[Served] = loop.create_future()
    is_over = asyncio.Event()

    async def live() -> None:
        try:
            async with context as found:
                entered.set_result(found)
                await is_over.wait()
        except BaseException as error:
            if not entered.done():
                entered.set_exception(error)
            raise

    async def wait() -> Served:
        return await entered

    life = asyncio.run_coroutine_threadsafe(live(), loop)
    try:
        yield _done(loop, wait())
    finally:
        loop.call_soon_threadsafe(is_over.set)
        life.result(60)


def _done(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, loop).result(60)
