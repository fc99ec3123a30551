"""The client side of the engine processes, with the interface of an `Engine`."""

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from freehold.errors import FreeholdError, ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.providers.local.processes.addresses import PENALTY, SocketFolder, socket_of
from freehold.providers.local.processes.frames import (
    Batches,
    Kind,
    Penalties,
    decode_batch,
    encode,
    failure_body,
    frame,
)
from freehold.providers.local.processes.link import Link, Seat
from freehold.providers.published import BatchRegistry
from freehold.providers.serving import Call, Disconnect, Reply
from freehold.providers.sqlite.limits import Limits

_CONNECT_S = 5.0
_PENALTY_CONNECT_S = 1.0

Find = Callable[[], Awaitable[int]]


class EngineProcesses:
    """Implements `LocalEngine`. `find` returns how many engines run, and may start them; the first call awaits it.

    A database is always served by the same engine, except for those under penalty, which share a separate one.
    """

    def __init__(self, run_dir: Path, find: Find, registry: BatchRegistry) -> None:
        self._run_dir = run_dir
        self._folder = SocketFolder(run_dir)
        self._find = find
        self._registry = registry
        self._seats: list[Seat] = []
        self._penalty = Seat(socket_of(run_dir, PENALTY), self._folder, self)
        self._penalties: dict[str, float] = {}
        self._finding = asyncio.Lock()
        self._looking_up: set[asyncio.Task[None]] = set()

    async def answer(self, call: Call, disconnect: Disconnect) -> Reply:
        """Run one Hrana call; see `DatabaseServer`.

        Raises:
            OutcomeUnknown: its engine ended meanwhile.
        """
        name = call.grant.database_name
        link = self._ready(name) or await self._connected(name)
        return await link.call(call, disconnect)

    async def run_batches(self, database_name: str, batches: Sequence[Batch], limits: Limits) -> list[BatchResult]:
        """Run batches of our own code; see `LocalEngine`."""
        link = self._ready(database_name) or await self._connected(database_name)
        body = encode(Batches(database_name, tuple(batches), limits))
        results: list[BatchResult] = await link.ask(Kind.BATCHES, body, changes=True)
        return results

    @contextlib.asynccontextmanager
    async def closed(self, database_name: str) -> AsyncIterator[None]:
        """Inside this context no engine has the database open; requests end with `NotFound`."""
        await self._connected(database_name)
        seats = (self._seat_of(database_name), self._penalty)
        links = [link for seat in seats for link in (seat.link, *seat.leaving) if link is not None]
        async with contextlib.AsyncExitStack() as stack:
            for link in links:
                await stack.enter_async_context(link.closed(database_name))
            yield

    async def check_moving(self) -> None:
        """Check that every engine answers and makes progress.

        Raises:
            ProviderUnavailable: one does not answer, or statements that do not end hold all its places.
        """
        for seat in self._seats:
            link = seat.link or await seat.connect(_CONNECT_S)
            await link.ask(Kind.CHECK)

    async def close(self) -> None:
        """Close the connections; the engines keep running."""
        for seat in (*self._seats, self._penalty):
            for link in (seat.link, *seat.leaving):
                if link is not None:
                    link.hang_up()
        self._folder.close()

    # For the links -------------------------------------------------------------------------------------

    def note(self, penalties: Penalties) -> None:
        """Serve these databases on the penalty engine from now on."""
        now = time.monotonic()
        self._penalties.update({name: now + seconds for name, seconds in penalties.seconds.items()})

    def look_up(self, link: Link, number: int, body: bytes) -> None:
        """See `Owner`."""
        task = asyncio.get_running_loop().create_task(self._look_up(link, number, body))
        self._looking_up.add(task)
        task.add_done_callback(self._looking_up.discard)

    async def _look_up(self, link: Link, number: int, body: bytes) -> None:
        try:
            answer = frame(number, Kind.IS_OF_REGISTRY, encode(await self._registry.includes(decode_batch(body))))
        except RecursionError:  # no batch of the registry is nested that deep
            answer = frame(number, Kind.IS_OF_REGISTRY, encode(False))
        except FreeholdError as error:
            answer = frame(number, Kind.FAILURE, failure_body(error))
        link.send(answer)

    # Which engine --------------------------------------------------------------------------------------

    def _seat_of(self, database_name: str) -> Seat:
        return self._seats[zlib.crc32(database_name.encode()) % len(self._seats)]

    def _is_apart(self, database_name: str) -> bool:
        until = self._penalties.get(database_name)
        if until is None:
            return False
        if until > time.monotonic():
            return True
        del self._penalties[database_name]
        return False

    def _ready(self, database_name: str) -> Link | None:
        """The link for this database, if it is up."""
        if not self._seats:
            return None
        if self._penalties and self._is_apart(database_name):
            return self._penalty.link
        seat = self._seat_of(database_name)
        for link in seat.leaving:
            if database_name in link.kept:
                return link
        return seat.link

    async def _connected(self, database_name: str) -> Link:
        if not self._seats:
            async with self._finding:
                if not self._seats:
                    count = await self._find()
                    self._seats = [Seat(socket_of(self._run_dir, each), self._folder, self) for each in range(count)]
        if (link := self._ready(database_name)) is not None:
            return link
        if self._is_apart(database_name):
            try:
                return await self._penalty.connect(_PENALTY_CONNECT_S)
            except ProviderUnavailable:  # all engines have been restarted since
                self._penalties.pop(database_name, None)
        return await self._seat_of(database_name).connect(_CONNECT_S)
