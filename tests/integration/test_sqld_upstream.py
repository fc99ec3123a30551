"""An answer of sqld that is given up: nobody gets anything of another's, and whoever waits for its end is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from freehold.providers.sqld.client.upstream import Answer, Upstream, head_of

_PART = b"x" * 100_000


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Of a server that answers `large` in two parts, and to everything else what it was sent, in a moment."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(size)
                text = _PART * 2 if body == b"large" else body
                await asyncio.sleep(0.05)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text))
                writer.write(text[: len(_PART)])
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.write(text[len(_PART) :])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = Upstream(f"http://127.0.0.1:{port}")
    yield found
    found.close()
    server.close()


async def ask(upstream: Upstream, body: bytes) -> Answer:
    return await upstream.post(head_of("/", [("Host", "sqld")]), body)


@pytest.mark.timeout(20)
async def test_whoever_reads_on_after_the_end_gets_nothing_of_the_next_answer(upstream: Upstream) -> None:
    answer = await ask(upstream, b"large")
    async with aclosing(answer.chunks()) as parts:
        got = await anext(parts)
        async with asyncio.timeout(5):
            while not answer.is_complete:
                await asyncio.sleep(0.01)
        answer.close()  # its turn is over, though its client has not taken all of it yet
        others = asyncio.create_task(ask(upstream, b"of somebody else"))
        await asyncio.sleep(0.02)
        async for part in parts:
            got += part
        assert set(got) == set(b"x")
        async with asyncio.timeout(5):
            assert await (await others).read() == b"of somebody else"


async def test_whoever_asks_to_be_told_of_an_end_that_was_is_told(upstream: Upstream) -> None:
    answer = await ask(upstream, b"large")
    told: list[bool] = []
    answer.close()  # the client went away in this moment
    answer.when_done(lambda: told.append(answer.is_over))
    assert told == [False]  # the server may be at it still
    answer = await ask(upstream, b"large")
    while not answer.is_complete:
        await asyncio.sleep(0.01)
    answer.close()
    answer.when_done(lambda: told.append(answer.is_over))
    assert told == [False, True]


async def test_the_connection_of_an_answer_that_was_read_is_used_again(upstream: Upstream) -> None:
    for _ in range(3):
        assert await (await ask(upstream, b"large")).read() == _PART * 2
        assert len(upstream._open) == 1
