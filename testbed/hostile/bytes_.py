"""Attacks by bytes: heads and bodies that never end, and requests that are none."""

import asyncio
import contextlib

from testbed.hostile.attacks import Attack
from testbed.hostile.tenant import PATIENCE_S, Hostile


async def _stream(me: Hostile, head: bytes, chunk: bytes, times: int, pause_s: float = 0.0) -> str:
    """Send the head and then chunks; says what the server did of it."""
    writer = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(*me.place)
            writer.write(head)
            answering = asyncio.create_task(reader.readline())
            try:
                for _ in range(times):
                    if answering.done():
                        break
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
                line = await answering
            finally:
                answering.cancel()
            return f"http {line.split()[1].decode()}" if line else "cut"
    except TimeoutError:
        return "held"
    except (OSError, IndexError):
        return "cut"
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.transport.abort()


def _request(me: Hostile, method: str, path: str, *lines: str) -> bytes:
    told = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Forwarded-For: {me.address}", *lines]
    return ("\r\n".join(told) + "\r\n").encode()


async def _one_long_header(me: Hostile) -> str:
    return await _stream(me, _request(me, "GET", "/ready") + b"X-Long: ", b"a" * 1_000_000, 40)


async def _many_headers(me: Hostile) -> str:
    return await _stream(me, _request(me, "GET", "/ready"), b"a: b\r\n" * 20_000, 20)


async def _long_target(me: Hostile) -> str:
    return await _stream(me, b"GET /ready?", b"a" * 500_000, 20)


async def _slow_head(me: Hostile) -> str:
    return await _stream(me, _request(me, "GET", "/ready"), b"X", 100, 0.1)


async def _slow_body(me: Hostile) -> str:
    """A body of which the end never comes, after as much as the server is ready to keep."""
    head = _request(
        me,
        "POST",
        f"{me.path}v3/pipeline",
        f"Authorization: Bearer {me.token}",
        "Content-Type: application/json",
        "Content-Length: 9900000",
        "",
    )
    answers = await asyncio.gather(*(_stream(me, head, b" " * 1_000_000, 9) for _ in range(4)))
    return answers[-1]


async def _endless_chunks(me: Hostile) -> str:
    head = _request(
        me, "POST", "/api/auth/sign-in/email", "Content-Type: application/json", "Transfer-Encoding: chunked", ""
    )
    return await _stream(me, head, b"10000\r\n" + b" " * 0x10000 + b"\r\n", 200)


async def _no_http(me: Hostile) -> str:
    return await _stream(me, me.random.randbytes(2_000) + b"\r\n\r\n", b"\x00" * 1_000, 5)


async def _idle_connections(me: Hostile) -> str:
    answers = await asyncio.gather(*(_stream(me, b"", b"", 0) for _ in range(20)))
    return answers[-1]


_SERVED = frozenset({"http 200"})

ATTACKS = (
    Attack("one header without end", _one_long_header, never=_SERVED),
    Attack("headers without number", _many_headers, never=_SERVED),
    Attack("a target without end", _long_target, never=_SERVED),
    Attack("a head that comes slowly", _slow_head),
    Attack("bodies that never end", _slow_body),
    Attack("chunks without end", _endless_chunks, never=_SERVED),
    Attack("no HTTP at all", _no_http, never=_SERVED),
    Attack("connections that say nothing", _idle_connections),
)
