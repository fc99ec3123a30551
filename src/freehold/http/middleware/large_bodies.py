"""Large bodies: their memory is counted while they are held, and refused ones are read to the end.

If a server responds and closes while bytes are still coming, the client's machine discards the response.
"""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field

from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    HTTPScope,
    Message,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)

from freehold.errors import Unavailable
from freehold.http.client_address import ClientAddresses
from freehold.http.headers import header

# Memory for large bodies of all connections together, from their first byte until their request is answered. Small
# bodies do not count, so sign-ins and small requests work even when it is used up. One client address gets only a part.

SMALL_BYTES = 65_536


class NoRoom(Unavailable):
    """Large request bodies, of all clients or of yours, exceed the memory for them."""

    code = "too_many_bytes"
    kind = "too many"
    remedy = "Try again after `Retry-After` seconds."


@dataclass(slots=True)
class BodyRoom:
    """`total_bytes` for everyone, `each_bytes` for one address."""

    total_bytes: int
    each_bytes: int
    used_bytes: int = 0
    by_address: Counter[str] = field(default_factory=Counter)

    @property
    def is_short(self) -> bool:
        """Whether more than half of it is used."""
        return 2 * self.used_bytes > self.total_bytes

    def enter(self, address: str, announced_bytes: int) -> "Place":
        """A place for one body. It takes nothing yet, but the announced size must fit. Raises `NoRoom`."""
        self._check(address, announced_bytes)
        return Place(self, address)

    def take(self, address: str, size: int) -> None:
        """Count more bytes of a body. Raises `NoRoom`; nothing is counted then."""
        self._check(address, size)
        self.used_bytes += size
        self.by_address[address] += size

    def give_back(self, address: str, size: int) -> None:
        """Release the bytes of a body."""
        self.used_bytes -= size
        self.by_address[address] -= size
        if not self.by_address[address]:
            del self.by_address[address]

    def _check(self, address: str, size: int) -> None:
        if self.by_address[address] + size > self.each_bytes:
            raise NoRoom("too much is being sent from this address at once; try again in a moment")
        if self.used_bytes + size > self.total_bytes:
            raise NoRoom("too much is being sent at once; try again in a moment")


@dataclass(slots=True)
class Place:
    """One body's share of the room."""

    room: BodyRoom
    address: str
    size: int = 0

    def grow(self, size: int) -> None:
        """Count more bytes. Raises `NoRoom`."""
        self.room.take(self.address, size)
        self.size += size

    def leave(self) -> None:
        """Release all of it."""
        if self.size:
            self.room.give_back(self.address, self.size)
            self.size = 0


_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
_LARGEST_BYTES = 10_000_000  # of any route; a body that announces more is refused unread
_LIMIT_BYTES = 64_000_000
_LIMIT_S = 2.0


class LargeBodies:
    """ASGI wrapper. The rest of a refused body is read, within limits of size and time, and discarded."""

    def __init__(self, app: ASGIApp, room: BodyRoom, addresses: ClientAddresses) -> None:
        self._app = app
        self._room = room
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or (size := _announced(scope)) <= SMALL_BYTES:
            await self._app(scope, receive, send)
            return
        address = self._addresses.accountable(scope)
        is_read = False
        place: Place | None = None
        # A body of unknown length may still be a small one.
        free_bytes = 0 if size > SMALL_BYTES + 1 else SMALL_BYTES

        async def receive_counted() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal is_read, place, free_bytes
            if place is None:
                place = self._room.enter(address, 0 if free_bytes else min(size, _LARGEST_BYTES))
            message = await receive()
            is_read = not message.get("more_body", False)
            part_bytes: int = len(message.get("body", b""))  # type: ignore[arg-type]
            place.grow(max(part_bytes - free_bytes, 0))
            free_bytes = max(free_bytes - part_bytes, 0)
            return message

        async def send_when_read(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400 and not is_read:
                _leave(place)
                if size <= _LIMIT_BYTES and header(scope, b"expect") is None:
                    await _read_out(receive)
            await send(message)

        try:
            await self._app(scope, receive_counted, send_when_read)
        finally:
            _leave(place)


def _announced(scope: HTTPScope) -> int:
    """The announced size of the body; 0 if there is none, and one more than small if unknown."""
    if scope["method"] in _WITHOUT_BODY:
        return 0
    size = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value[:20]) if value.isdigit() else 0
        if name == b"transfer-encoding":
            size = SMALL_BYTES + 1
    return size


def _leave(place: Place | None) -> None:
    if place is not None:
        place.leave()


async def _read_out(receive: Receive) -> None:
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LIMIT_S):
            while size < _LIMIT_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                size += len(message.get("body", b""))
