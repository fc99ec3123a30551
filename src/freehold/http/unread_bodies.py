"""Reads out what is left of a refused request's body, so that the client gets to see why it was refused.

A server that answers and closes while bytes are still coming makes the client's machine throw the answer away.
"""

import asyncio
import contextlib

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

from freehold.http.headers import header

_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
_LEAST_BYTES = 65_536  # the server reads as much ahead by itself
_LIMIT_BYTES = 64_000_000
_LIMIT_S = 2.0


class UnreadBodies:
    """ASGI wrapper. What is read out is thrown away at once; so much and so long, and no more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] in _WITHOUT_BODY or not _is_worth_it(scope):
            await self._app(scope, receive, send)
            return
        is_read = False

        async def receive_and_note() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def send_when_read(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400 and not is_read:
                await _read_out(receive)
            await send(message)

        await self._app(scope, receive_and_note, send_when_read)


def _is_worth_it(scope: HTTPScope) -> bool:
    """Not for a body that is too large even for this, nor for one that is sent only when we ask for it."""
    if header(scope, b"expect") is not None:
        return False
    length = header(scope, b"content-length")
    if length is None:
        return header(scope, b"transfer-encoding") is not None
    return length.isdigit() and _LEAST_BYTES < int(length[:20]) <= _LIMIT_BYTES


async def _read_out(receive: Receive) -> None:
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LIMIT_S):
            while size < _LIMIT_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                size += len(message.get("body", b""))
