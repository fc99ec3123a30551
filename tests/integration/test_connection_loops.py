"""The limits of a connection on both event loops that the service may run on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
import uvloop

from freehold.http.client_address import network_of
from freehold.http.middleware.connection import connections_of
from freehold.http.middleware.connection_limits import ConnectionLimits, Connections
from tests.support.serving import listen

LIMITS = ConnectionLimits(head_s=1, body_s=1, connections=20, connections_each=10)


async def _app(_scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def _serving(counted: Connections) -> AsyncIterator[int]:
    listener, _ = listen()
    kind = connections_of(counted, network_of)
    config = uvicorn.Config(_app, http=kind, ws="none", log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def _asked(port: int, *parts: bytes) -> bytes:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            for number, part in enumerate(parts):
                if number:
                    await asyncio.sleep(0.02)
                writer.write(part)
                await writer.drain()
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65_536):
                received += part
        writer.close()
        return received


async def _attack() -> None:
    counted = Connections(LIMITS)
    async with _serving(counted) as port:
        line = b"GET / HTTP/1.1\r\nHost: x\r\n"
        ending = b"Connection: close\r\n\r\n"
        assert b" 200 " in await _asked(port, line + b"X: " + b"a" * 60_000 + b"\r\n" + ending)
        assert b" 431 " in await _asked(port, line + b"X: " + b"a" * 66_000 + b"\r\n" + ending)
        assert b" 431 " in await _asked(port, line + b"a: b\r\n" * 101 + ending)
        behind = line + b"\r\n" + line + b"X: " + b"a" * 40_000
        assert b" 431 " in await _asked(port, behind, *[b"a" * 10_000] * 3, b"\r\n" + ending)
        assert b" 431 " not in await _asked(port, behind, *[b"a" * 5_000] * 3, b"\r\n" + ending)
        whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70_000
        assert b" 431 " in await _asked(port, whole + line + b"X: " + b"a" * 70_000)
        assert b" 408 " in await _asked(port, line + b"X: a")
        body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
        assert b" 408 " in await _asked(port, body)
        assert b" 200 " in await _asked(port, body[:-3].replace(b"Host", b"Connection: close\r\nHost") + b"a" * 10)
        assert b" 400 " in await _asked(port, b"\0\0\0\r\n\r\n")
        asked = [_asked(port, line) for _ in range(12)]
        answers = await asyncio.gather(*asked)
        assert sum(b" 503 " in answer for answer in answers) == 2
        async with asyncio.timeout(20):
            while len(counted):
                await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_connection_is_bounded_on_either_loop(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_attack())
