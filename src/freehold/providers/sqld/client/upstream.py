"""A lean HTTP/1.1 client for one server: pooled connections, streamed answers, nothing else.

Most of the gateway's own time is spent in its HTTP client. This one takes a fifth of a full client's time for the same
request, because it only speaks to one server and sends complete bodies.
"""

import asyncio
import math
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import cast
from urllib.parse import urlsplit

import httptools

from freehold.errors import ProviderUnavailable
from freehold.providers.failures import Overloaded

_IDLE_KEPT = 64
_IDLE_S = 30.0  # shorter than any server's, so that a request seldom gets a connection that has just been closed
_HIGH_WATER_BYTES = 1_000_000
_LOW_WATER_BYTES = 200_000
_CONNECT_S = 5.0


def head_of(path: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """The head of a request for `Upstream.post`. Names and values must be our own: they are sent as they are."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), ""]
    return "\r\n".join(lines).encode("latin-1")


class BrokenOff(ProviderUnavailable):
    """The server closed the connection before it had answered: it may have ended over this very request."""


class Answer:
    """The head of an answer; its body is read once, by `read` or by `chunks`, or abandoned by `close`."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection
        self.status = connection.status
        self.headers = connection.headers

    @property
    def is_complete(self) -> bool:
        """Whether the whole answer has arrived, as small ones mostly do together with their head."""
        return self._connection.is_complete

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes: it is complete, or the server broke it off. False if it was abandoned before."""
        connection = self._connection
        return connection.is_complete or not (connection.is_usable or connection.is_given_up)

    def peek(self) -> bytes:
        """The part of the body that has arrived and was not taken yet; it is not taken."""
        return self._connection.peek()

    async def read(self) -> bytes:
        """The whole body."""
        connection = self._connection
        parts = [connection.take()] if connection.is_complete else [part async for part in self.chunks()]
        connection.give_back()
        return b"".join(parts)

    async def chunks(
        self, patience_s: float | None = None, patience_each_s: float = math.inf
    ) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. `patience_s` limits the total wait for the server, `patience_each_s` that for a part.

        Time that the reader takes does not count.

        Raises:
            ProviderUnavailable: the connection broke, or a limit is exceeded.
        """
        left_s = patience_s
        parts = self._connection.chunks()
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                try:
                    async with asyncio.timeout(None if left_s is None else min(left_s, patience_each_s)):
                        part = await anext(parts)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise ProviderUnavailable("the rest of sqld's answer took too long") from error
                if left_s is not None:
                    left_s -= loop.time() - began
                yield part
        finally:
            self._connection.give_back()

    def when_done(self, act: Callable[[], object]) -> None:
        """Call `act` once the body has been read or abandoned; at once if it already has."""
        if self._connection.is_busy:
            self._connection.when_done = act
        else:
            act()

    def close(self) -> None:
        """Abandon the answer. A server that still works on it sees the connection close.

        The connection is not reused: someone who still reads from this answer would get another's.
        """
        self._connection.give_up()


class Upstream:
    """Posts to one server. `limit` bounds the connections open at a time: more requests are refused, not queued."""

    def __init__(self, url: str, *, limit: int = 120) -> None:
        parts = urlsplit(url)
        is_secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if is_secure else 80)
        self._ssl = ssl.create_default_context() if is_secure else None
        self._limit = limit
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._is_closed = False

    async def post(self, head: bytes, body: bytes) -> Answer:
        """Send a request with a head of `head_of`; returns the head of the answer. Cancelling closes the connection.

        It is under way until the answer's body has been read or abandoned.

        Raises:
            Overloaded: too many requests are under way.
            ProviderUnavailable: no answer; whether the request was carried out is unknown.
        """
        return await self._send(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))

    async def get(self, path: str) -> Answer:
        """Like `post`, for a page that needs no credentials."""
        return await self._send(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode("latin-1"))

    def close(self) -> None:
        """Close all connections, including those in use."""
        self._is_closed = True
        for connection in list(self._open):
            connection.abort()

    async def _send(self, request: bytes) -> Answer:
        connection = self._reuse() or await self._connect()
        try:
            await connection.send(request)
        except BaseException:
            connection.give_back()
            raise
        return Answer(connection)

    def _reuse(self) -> "_Connection | None":
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()  # the one used last is the least likely to have been closed
            if connection.is_usable and now - connection.idle_since < _IDLE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "_Connection":
        if self._is_closed:
            raise ProviderUnavailable("the service is stopping")
        if len(self._open) >= self._limit:
            raise Overloaded
        connection = _Connection(self._back, self._open.discard)
        self._open.add(connection)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, self._host, self._port, ssl=self._ssl
                )
        except (OSError, TimeoutError) as error:
            self._open.discard(connection)
            raise ProviderUnavailable(f"sqld does not answer ({type(error).__name__})") from error
        except BaseException:
            self._open.discard(connection)
            raise
        return connection

    def _back(self, connection: "_Connection") -> None:
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if len(self._idle) > _IDLE_KEPT:
            self._idle.popleft().abort()


class _Connection(asyncio.Protocol):
    """One connection, one request at a time. `httptools` calls the methods named `on_…`."""

    def __init__(self, back: "Callable[[_Connection], None]", lost: "Callable[[_Connection], None]") -> None:
        self._back = back
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._reset()
        self.is_usable = False
        self.idle_since = 0.0

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.is_complete = self.is_given_up = False
        self._parts: list[bytes] = []
        self._held = 0
        self._is_paused = False
        self.is_busy = False
        self._has_head = False
        self._keeps_alive = False
        self._waiter: asyncio.Future[None] | None = None
        self._fault: str | None = None
        self.when_done: Callable[[], object] | None = None

    async def send(self, request: bytes) -> None:
        """Send and wait for the head of the answer. `when_done`, if set afterwards, is called when it is given back."""
        self._reset()
        self.is_busy = True
        self._parser = httptools.HttpResponseParser(self)
        assert self._transport is not None
        self._transport.write(request)
        while not self._has_head:
            await self._wait()

    def take(self) -> bytes:
        """Take the part of the body that has arrived and was not taken yet."""
        parts, self._parts = self._parts, []
        self._held = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def peek(self) -> bytes:
        """The same part, without taking it."""
        self._parts = [b"".join(self._parts)]
        return self._parts[0]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives."""
        while True:
            if self._parts:
                yield self.take()
            elif self.is_complete:
                return
            else:
                await self._wait()

    def give_up(self) -> None:
        """Abandon the answer: close the connection."""
        if self._end():
            self.is_given_up = self.is_usable
            self.abort()

    def _end(self) -> bool:
        """End the answer; False if it had already ended."""
        if not self.is_busy:
            return False
        self.is_busy = False
        if self.when_done is not None:
            self.when_done()
        return True

    def give_back(self) -> None:
        """Finish the answer: keep the connection if it is clean, otherwise close it."""
        if not self._end():
            return
        if self.is_complete and self.is_usable and self._keeps_alive:
            self._parts = []
            self._back(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close now."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort()
        self._lost(self)

    async def _wait(self) -> None:
        if self._fault is not None:
            raise ProviderUnavailable(self._fault)
        if not self.is_usable:
            raise BrokenOff("sqld closed the connection before it answered")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self.is_usable = True

    def data_received(self, data: bytes) -> None:
        if not self.is_busy or self.is_complete:
            self.abort()  # an answer without a request: it must never be taken for the next one
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fault = "sqld's answer is not HTTP"
            self.is_usable = False
        self._wake()

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_usable = False
        self._lost(self)
        self._wake()

    # httptools calls these

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200
        self._keeps_alive = self._parser.should_keep_alive()  # the parser knows only now

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._held += len(part)
        if self._held > _HIGH_WATER_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self.is_complete = self._has_head
