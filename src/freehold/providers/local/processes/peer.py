"""The engine's side of a connection from a process that serves HTTP, or from a command."""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol, cast

import msgspec

from freehold.errors import FreeholdError, ProviderUnavailable, Unavailable
from freehold.libsql.protocol import Batch
from freehold.log import get_logger
from freehold.providers.local.engine import Engine
from freehold.providers.local.processes.frames import (
    Batches,
    BrokenFrame,
    Frames,
    Kind,
    decode_batches,
    decode_call,
    decode_flag,
    decode_name,
    encode,
    failure_body,
    failure_in,
    frame,
    reply_body,
)
from freehold.providers.serving import Call, Disconnect

log = get_logger()


class Serving(Protocol):
    """What all connections to an engine share."""

    engine: Engine
    peers: "set[Peer]"

    def hello(self) -> bytes:
        """The first frame of a connection."""

    def counted(self, database_name: str) -> AbstractContextManager[None]:
        """The process does not leave inside this context."""
        ...

    async def admitted(self, database_name: str) -> None:
        """Return once a call for this database may run."""
        ...


class Peer(asyncio.Protocol):
    """One connection from a process that serves HTTP, or from a command."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._engine = serving.engine
        self._frames = Frames()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, Disconnect] = {}
        self._closed: dict[int, asyncio.Event] = {}
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.has_left = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._serving.peers.add(self)
        self.send(self._serving.hello())

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the interface's
        self._transport = None
        self._serving.peers.discard(self)
        for disconnect in list(self._calls.values()):
            disconnect.lose()
        for is_open in self._closed.values():
            is_open.set()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(Unavailable("the registry cannot be looked at now; try again later"))

    def data_received(self, data: bytes) -> None:
        try:
            for number, kind, body in self._frames.feed(data):
                self._take(number, kind, body)
        except (BrokenFrame, msgspec.DecodeError) as error:
            log.warning("engine.broken_frame", reason=str(error))
            if self._transport is not None:
                self._transport.abort()

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def includes(self, batch: Batch) -> bool:
        """Ask the calling process, since engines do not have the registry. Implements `BatchRegistry`."""
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        asked: asyncio.Future[bool] = self._loop.create_future()
        self._asked[number] = asked
        self.send(frame(number, Kind.ASK, encode(batch)))
        try:
            return await asked
        finally:
            self._asked.pop(number, None)

    def _take(self, number: int, kind: int, body: bytes) -> None:
        match kind:
            case Kind.CALL:
                call = decode_call(body)
                self._calls[number] = Disconnect()  # now, since `LOST` may come with the same data
                self._start(self._call(number, call, self._counted(call.grant.database_name)))
            case Kind.LOST if number in self._calls:
                self._calls[number].lose()
            case Kind.BATCHES:
                asked = decode_batches(body)
                self._start(self._batches(number, asked, self._counted(asked.database_name)))
            case Kind.CLOSE:
                self._closed[number] = asyncio.Event()
                self._start(self._close(number, decode_name(body)))
            case Kind.OPEN if number in self._closed:
                self._closed[number].set()
            case Kind.CHECK:
                self._start(self._check(number))
            case Kind.IS_OF_REGISTRY if number in self._asked:
                self._asked.pop(number).set_result(decode_flag(body))
            case Kind.FAILURE if number in self._asked:
                self._asked.pop(number).set_exception(failure_in(body))
            case Kind.BYE:
                self.has_left = True
            case Kind.LOST | Kind.OPEN | Kind.IS_OF_REGISTRY | Kind.FAILURE:
                pass  # the call is already over
            case _:
                raise BrokenFrame(f"a frame of kind {kind}")

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _counted(self, database_name: str) -> ExitStack:
        """Count a call now, before its task begins, until the context that this returns is left."""
        counted = ExitStack()
        counted.enter_context(self._serving.counted(database_name))
        return counted

    async def _call(self, number: int, call: Call, counted: ExitStack) -> None:
        disconnect = self._calls[number]
        with counted:
            try:
                await self._serving.admitted(call.grant.database_name)
                reply = await self._engine.answer(call, disconnect, self)
                answer = frame(number, Kind.REPLY, reply_body(reply))
            except Exception as error:
                answer = self._failed(number, error)
            finally:
                del self._calls[number]
            self.send(answer)

    async def _batches(self, number: int, asked: Batches, counted: ExitStack) -> None:
        with counted:
            try:
                await self._serving.admitted(asked.database_name)
                results = await self._engine.run_batches(asked.database_name, asked.batches, asked.limits)
                answer = frame(number, Kind.RESULTS, encode(results))
            except Exception as error:
                answer = self._failed(number, error)
            self.send(answer)

    async def _close(self, number: int, database_name: str) -> None:
        async with self._engine.closed(database_name):
            self.send(frame(number, Kind.DONE))
            await self._closed[number].wait()
        del self._closed[number]

    async def _check(self, number: int) -> None:
        try:
            await self._engine.check_moving()
            answer = frame(number, Kind.DONE)
        except FreeholdError as error:
            answer = self._failed(number, error)
        self.send(answer)

    def _failed(self, number: int, error: Exception) -> bytes:
        if not isinstance(error, FreeholdError):
            log.exception("engine.failed", exc_info=error)
            error = ProviderUnavailable("the database's engine failed")
        return frame(number, Kind.FAILURE, failure_body(error))
