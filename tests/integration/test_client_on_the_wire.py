"""Whoever sits between an app and its service: over real sockets, they waste neither its memory nor its time."""

import asyncio
import gzip
import json
import os
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

import aiohttp
import httpx
import msgspec
import pytest

from freehold.client import FreeholdClient, Unavailable, calls
from freehold.client.calls import Calls
from freehold.client.keys import followed_key
from freehold.errors import InvalidInput, NotFound
from freehold.libsql.client import LibsqlError, create_client
from freehold.libsql.http import HranaTarget
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.migrate.signature import RegistryTampered
from freehold.wire import KeyWord, PublicKey
from tests.integration.registry_parts import SIGNER

_MB = 1_048_576
Writer = asyncio.StreamWriter
Says = Callable[[Writer], Awaitable[None]]


@asynccontextmanager
async def somebody(says: Says) -> AsyncIterator[str]:
    """Somebody on a loopback port who reads a request's head and then says what they like."""
    open_now: set[asyncio.Task[Any]] = set()

    async def answer(reader: asyncio.StreamReader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await says(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            open_now.discard(task)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


def saying(body: bytes | Callable[[], bytes], *headers: str, status: str = "200 OK") -> Says:
    """This answer, whole; a body that takes long to make is made when it is asked for."""

    async def says(writer: Writer) -> None:
        sent = body if isinstance(body, bytes) else body()
        lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(sent)}", *headers, "", "")
        writer.write("\r\n".join(lines).encode() + sent)
        await writer.drain()

    return says


async def without_end(writer: Writer) -> None:
    """A body that never ends, as quickly as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    while True:
        writer.write(piece)
        await writer.drain()


@cache
def packed(times: int) -> bytes:
    """200 MB of spaces, packed so many times over."""
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join(packer.compress(b" " * _MB) for _ in range(200)) + packer.flush()
    for _ in range(times - 1):
        body = gzip.compress(body, 9)
    return body


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (without_end, "more than the [0-9]+ bytes"),
        (saying(partial(packed, 1), "Content-Encoding: gzip"), "more than the [0-9]+ bytes"),
        (saying(partial(packed, 2), "Content-Encoding: gzip, gzip"), "not answer as a Freehold service"),
        (saying(b"{}", "Content-Encoding: br"), "not answer as a Freehold service"),
        (saying(gzip.compress(b"{}")[:-9], "Content-Encoding: gzip"), "not answer as a Freehold service"),
        (saying(b"{}", "Content-Encoding: gzip"), "not answer as a Freehold service"),
    ],
    ids=["without end", "bomb", "bomb in a bomb", "other packing", "cut", "not packed"],
)
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
async def test_an_answer_takes_no_more_memory_than_an_answer_may(
    says: Says, words: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.client.client._MOST_PAGE_BYTES", 4 * _MB)

    async def with_status(writer: Writer) -> None:
        write = writer.write
        monkeypatch.setattr(writer, "write", lambda data: write(data.replace(b"200 OK", status.encode())))
        await says(writer)

    async with somebody(with_status) as url, FreeholdClient(url, session_token="any") as client:
        for call in (client.pull, client.credentials, client.sign_out):
            client.session_token = "any"
            tracemalloc.start()
            try:
                with pytest.raises(Unavailable, match=words):
                    await asyncio.wait_for(call(), 60)
                assert tracemalloc.get_traced_memory()[1] < 40 * _MB
            finally:
                tracemalloc.stop()


async def drop_by_drop(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def patience_asked_for(writer: Writer) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def a_head_without_end(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("says", [drop_by_drop, patience_asked_for, a_head_without_end])
async def test_an_answer_takes_no_longer_than_an_answer_may(says: Says) -> None:
    async with somebody(says) as url, httpx.AsyncClient(timeout=10) as http:
        with pytest.raises(Unavailable, match=r"did not answer whole within 0\.5 s; try again later"):
            await asyncio.wait_for(Calls(http, url, most_s=0.5).send("GET", "/migrations"), 30)
    assert 10 < calls._MOST_S < 300  # and without being told


@pytest.mark.parametrize("body", [b'{"x":' + b"[" * 300_000, b"[" * 300_000, b'{"release":{"text":' * 50_000])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "503 Unavailable"])
async def test_an_answer_that_is_nested_without_end_is_none(body: bytes, status: str) -> None:
    async with somebody(saying(body, status=status)) as url:
        kind = InvalidInput if status.startswith("400") else Unavailable
        async with FreeholdClient(url, session_token="any") as client:
            for call in (client.pull, client.credentials, client.migrate):
                with pytest.raises(kind):
                    await call()
        async with aiohttp.ClientSession() as session:
            with pytest.raises(kind):
                await HranaTarget(session, url, "any").run([Batch((BatchStep(Stmt(sql="SELECT 1")),))])
        async with create_client(url, auth_token="any") as db:
            with pytest.raises(LibsqlError):
                await db.execute("SELECT 1")


@pytest.mark.parametrize(
    "says", [without_end, saying(partial(packed, 1), "Content-Encoding: gzip")], ids=["without end", "bomb"]
)
async def test_a_databases_answer_has_an_end_too(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.libsql.endpoint._MOST_BYTES", 4 * _MB)
    async with somebody(says) as url, create_client(url, auth_token="any") as db:
        tracemalloc.start()
        try:
            with pytest.raises(LibsqlError, match="more than 4194304 bytes"):
                await asyncio.wait_for(db.execute("SELECT 1"), 60)
            assert tracemalloc.get_traced_memory()[1] < 40 * _MB
        finally:
            tracemalloc.stop()


async def test_a_long_message_is_shown_in_part() -> None:
    body = json.dumps({"code": "not_found", "detail": "x" * 500_000}).encode()
    async with somebody(saying(body, status="404 Not Found")) as url, FreeholdClient(url) as client:
        with pytest.raises(NotFound) as told:
            await client.pull()
    assert len(str(told.value)) <= 2_000


async def test_more_withheld_migrations_than_there_can_be_are_refused_at_once() -> None:
    page = {
        "version": 500_000, "chain": "", "counter": 1, "expires_at_s": 9_999_999_999, "signature": "x",
        "key_id": SIGNER.key_id, "migrations": [], "withheld": ["ab" * 32] * 500_000,
    }  # fmt: skip
    trusted = {SIGNER.key_id: SIGNER.public_key}
    says = saying(msgspec.json.encode(page))
    async with somebody(says) as url, FreeholdClient(url, trusted_keys=trusted) as client:
        with pytest.raises(RegistryTampered, match="than a registry can have"):
            await client.pull()


def test_each_announced_key_costs_one_look_however_many_there_are() -> None:
    forged = [
        PublicKey(
            key_id=f"k{number}",
            algorithm="ed25519",
            public_key="A" * 43,
            endorsed=KeyWord(by_key_id=SIGNER.key_id, signature="A" * 86),
        )
        for number in range(3_000)
    ]
    began_s = time.process_time()
    with pytest.raises(RegistryTampered, match="not trusted"):
        followed_key("k1", forged, {SIGNER.key_id: SIGNER.public_key})
    # 3,000 looks take less than a second, 9,000,000 a quarter of an hour.
    assert time.process_time() - began_s < 60


async def test_what_comes_packed_as_was_asked_for_is_unpacked() -> None:
    content = json.dumps({"id": os.urandom(8).hex(), "x": " " * 5_000}).encode()
    says = saying(gzip.compress(content), "Content-Encoding: gzip")
    async with somebody(says) as url, httpx.AsyncClient() as http:
        assert (await Calls(http, url).send("GET", "/")).content == content
