"""Connections to engine processes: to the one that serves on a seat, and to those that are leaving it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from freehold.errors import ProviderUnavailable
from freehold.providers.failures import OutcomeUnknown
from freehold.providers.local.processes.addresses import SocketFolder
from freehold.providers.local.processes.frames import (
    BrokenFrame,
    Frames,
    GoAway,
    Kind,
    Penalties,
    decode_goaway,
    decode_penalties,
    decode_results,
    encode,
    failure_in,
    frame,
    reply_in,
)
from freehold.providers.serving import Call, Disconnect, Reply

_TRY_EVERY_S = 0.01


class Owner(Protocol):
    """What a link needs from the owner of all links."""

    def note(self, penalties: Penalties) -> None:
        """Serve these databases on the penalty engine from now on."""

    def look_up(self, link: "Link", number: int, body: bytes) -> None:
        """Answer an engine's question whether a batch is the registry's."""


class Seat:
    """The place of an engine: the link to the process that serves, and to those that are leaving."""

    def __init__(self, path: Path, folder: SocketFolder, owner: Owner) -> None:
        self._path = path
        self._folder = folder
        self._owner = owner
        self._connecting = asyncio.Lock()
        self.link: Link | None = None
        self.leaving: list[Link] = []

    async def connect(self, within_s: float) -> "Link":
        """Return the link, waiting for an engine to listen.

        Raises:
            ProviderUnavailable: none has within this time.
        """
        until = time.monotonic() + within_s
        async with self._connecting:
            while self.link is None:
                link = None
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(until - time.monotonic()):
                        _, link = await asyncio.get_running_loop().create_unix_connection(
                            lambda: Link(self, self._owner), self._folder.address(self._path)
                        )
                        # An engine that is about to end still accepts connections, but does not greet.
                        if await link.greeted:
                            self.link = link
                            break
                if link is not None:
                    link.hang_up()
                if time.monotonic() > until:
                    raise ProviderUnavailable("the engine of this database does not answer")
                await asyncio.sleep(_TRY_EVERY_S)
            return self.link

    def lost(self, link: "Link") -> None:
        if link is self.link:
            self.link = None
        elif link in self.leaving:
            self.leaving.remove(link)

    def leaves(self, link: "Link") -> None:
        """Note that another engine has replaced this link's."""
        if link is self.link:
            self.link = None
            self.leaving.append(link)


class Link(asyncio.Protocol):
    """A connection to one engine process."""

    def __init__(self, seat: Seat, owner: Owner) -> None:
        self._seat = seat
        self._owner = owner
        self._frames = Frames()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._number = 0
        # The second value: may something have changed if no answer comes?
        self._waiting: dict[int, tuple[asyncio.Future[Any], bool]] = {}
        self.greeted: asyncio.Future[bool] = self._loop.create_future()  # whether the engine has
        self.kept: frozenset[str] = frozenset()

    async def call(self, call: Call, disconnect: Disconnect) -> Reply:
        """Run a call on the engine."""
        changes = call.grant.access_level != "read_only"
        number, answer = self._start(Kind.CALL, encode(call), changes=changes)
        disconnect.when_lost(lambda: self._lose(number))
        try:
            reply: Reply = await answer
            return reply
        except asyncio.CancelledError:
            self._lose(number)
            raise

    async def ask(self, kind: Kind, body: bytes = b"", *, changes: bool = False) -> Any:
        """Ask the engine, and return its answer.

        Raises:
            OutcomeUnknown, ProviderUnavailable: it has ended.
            FreeholdError: the engine's own.
        """
        return await self._start(kind, body, changes=changes)[1]

    @contextlib.asynccontextmanager
    async def closed(self, database_name: str) -> AsyncIterator[None]:
        """Inside this context the engine keeps the database closed, or has ended."""
        number = 0
        with contextlib.suppress(ProviderUnavailable):
            number, done = self._start(Kind.CLOSE, encode(database_name), changes=False)
            await done
        try:
            yield
        finally:
            self.send(frame(number, Kind.OPEN))

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # As asyncio calls it -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the interface's
        self._transport = None
        self._seat.lost(self)
        if not self.greeted.done():
            self.greeted.set_result(False)
        waiting, self._waiting = self._waiting, {}
        for answer, changes in waiting.values():
            if not answer.done():
                answer.set_exception(OutcomeUnknown() if changes else _gone())

    def data_received(self, data: bytes) -> None:
        try:
            for number, kind, body in self._frames.feed(data):
                self._take(number, kind, body)
        except (BrokenFrame, msgspec.DecodeError):
            if self._transport is not None:
                self._transport.abort()

    def _take(self, number: int, kind: int, body: bytes) -> None:
        if kind == Kind.REPLY:
            self._answer(number, reply_in(body))
        elif kind == Kind.FAILURE:
            if (asked := self._waiting.pop(number, None)) is not None and not asked[0].done():
                asked[0].set_exception(failure_in(body))
        elif kind == Kind.RESULTS:
            self._answer(number, decode_results(body))
        elif kind == Kind.DONE:
            self._answer(number, None)
        elif kind == Kind.ASK:
            self._owner.look_up(self, number, body)
        elif kind == Kind.HELLO:
            self._owner.note(decode_penalties(body))
            if not self.greeted.done():
                self.greeted.set_result(True)
        elif kind == Kind.GOAWAY:
            self._leave(decode_goaway(body))
        else:
            raise BrokenFrame(f"a frame of kind {kind}")

    def _leave(self, goaway: GoAway) -> None:
        self._owner.note(goaway.penalties)
        self.kept = frozenset(goaway.kept)
        self._seat.leaves(self)
        self.send(frame(0, Kind.BYE))  # from now on, only calls for the databases that it keeps

    def _start(self, kind: Kind, body: bytes, *, changes: bool) -> tuple[int, "asyncio.Future[Any]"]:
        if self._transport is None:
            raise _gone()
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = (answer, changes)
        self._transport.write(frame(number, kind, body))
        return number, answer

    def _answer(self, number: int, found: Any) -> None:
        if (asked := self._waiting.pop(number, None)) is not None and not asked[0].done():
            asked[0].set_result(found)

    def _lose(self, number: int) -> None:
        """Tell the engine that the client has gone; an answer still comes."""
        if number in self._waiting:
            self.send(frame(number, Kind.LOST))


def _gone() -> ProviderUnavailable:
    return ProviderUnavailable("the database's engine has ended; try again")
