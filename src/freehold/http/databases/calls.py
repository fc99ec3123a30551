"""What all calls to databases share: limited bodies, streams, clients that disconnect, tokens that are revoked."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from litestar.types import Receive, Send

from freehold.errors import TooLarge, Unavailable
from freehold.log import get_logger
from freehold.providers.failures import Gone
from freehold.providers.grants import Grant
from freehold.providers.serving import Disconnect
from freehold.providers.tokens import BadToken

log = get_logger()

_WATCH_AFTER_S = 0.1
_STALL_S = 30.0


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more bytes; no more than `max_bytes` are buffered.
        Gone: the client disconnected.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        assert message["type"] == "http.request"
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise too_large(max_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"a request may have {max_bytes} bytes; send less at a time")


async def send_stream(send: Send, content_type: bytes, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
    """Send a response as it is made. If that breaks off, so does the connection: the client must not take it for whole.

    A client that reads nothing for half a minute is dropped, as it holds what others need.
    """
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
        if first:
            await send({"type": "http.response.body", "body": first, "more_body": True})
        async for part in rest:
            async with asyncio.timeout(_STALL_S):
                await send({"type": "http.response.body", "body": part, "more_body": True})
    except TimeoutError:
        log.info("gateway.reader_stalled")
        return
    except Unavailable as error:
        log.warning("gateway.broken_off", code=error.code, reason=str(error))
        return  # without an end: the server closes the connection
    finally:
        await rest.aclose()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Watched:
    """Watches whether the client disconnects while its response is made and sent. Quick calls are never watched."""

    __slots__ = ("_disconnect", "_receive", "_task", "_timer")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._disconnect = Disconnect()
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> Disconnect:
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._start)
        return self._disconnect

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnect.lose()


# Further checks on a valid database token: is its session alive, and was it issued since the last rotation?

SESSION_ENDED = "the session that this token was issued for has ended; sign in again"
ROTATED = "this token was revoked by its operator; ask for a new one"


@dataclass(frozen=True, slots=True)
class TokenChecks:
    """`is_live` returns whether a token's subject still exists, `generation` the current one of a database."""

    is_live: Callable[[str], Awaitable[bool]]
    generation: Callable[[str], Awaitable[int]]

    async def check(self, grant: Grant) -> None:
        """Check that the token may be used.

        Raises:
            BadToken: it may not, or no longer.
            CentralUnavailable: the central database does not answer.
        """
        if not await self.is_live(grant.subject):
            raise BadToken(SESSION_ENDED)
        if grant.generation < await self.generation(grant.database_name):
            raise BadToken(ROTATED)
