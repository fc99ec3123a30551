"""The Hrana driver beside raw aiohttp that sends the same bytes and reads the answer without looking at it."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDict
from testbed.sqld import Sqld
from yarl import URL

from bench.report import Finding, compare, note
from freehold.libsql.client import Client, create_client

_ROUNDS = 9
_SECONDS = 0.7
_AT_LEAST = 0.85

_CASES: dict[str, tuple[str, list[object]]] = {
    "SELECT 1": ("SELECT 1", []),
    "one row by key": ("SELECT * FROM word WHERE id = ?", [77]),
    "100 rows": ("SELECT * FROM word LIMIT 100", []),
    "insert": ("INSERT INTO word (term, meaning, score) VALUES (?, ?, ?)", ["kitab", "book", 0.5]),
}


async def run() -> AsyncIterator[Finding]:
    """Start a server and give a finding for each case, on 1 and on 16 connections."""
    with tempfile.TemporaryDirectory() as folder:
        server = Sqld(Path(folder)).start()
        try:
            name = server.create("bench")
            url, token = f"{server.url}/?namespace={name}", server.token(name)
            async with (
                create_client(url, auth_token=token) as client,
                aiohttp.ClientSession(skip_auto_headers=("Accept-Encoding", "Accept", "User-Agent")) as raw,
            ):
                await _fill(client)
                for case, (sql, args) in _CASES.items():
                    for connections in (1, 16):
                        note(f"measuring driver: {case}, {connections} connections")
                        yield await _compare(client, raw, case, sql, args, connections)
        finally:
            server.stop()


async def _compare(
    client: Client, raw: aiohttp.ClientSession, case: str, sql: str, args: list[object], connections: int
) -> Finding:
    seen = await _captured(client, sql, args)

    async def floor() -> None:
        async with raw.post(seen[0], data=seen[1], headers=seen[2]) as reply:
            await reply.read()

    async def driver() -> None:
        await client.execute(sql, args)  # type: ignore[arg-type]

    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(_ROUNDS):
        theirs.append(await _rate(floor, connections))
        ours.append(await _rate(driver, connections))
    # How long a write takes is the server's disk's to say.
    at_least = None if sql.startswith("INSERT") else _AT_LEAST
    return compare(f"driver, {case}, x{connections}", "/s", ours, theirs, at_least=at_least)


async def _captured(client: Client, sql: str, args: list[object]) -> tuple[URL, bytes, CIMultiDict[str]]:
    """What the driver sends for a statement: URL, body and headers."""
    seen: list[tuple[URL, bytes, CIMultiDict[str]]] = []
    post = aiohttp.ClientSession.post

    def spy(self: aiohttp.ClientSession, url: URL, **options: Any) -> object:
        seen.append((url, options["data"], options["headers"]))
        return post(self, url, **options)

    aiohttp.ClientSession.post = spy  # type: ignore[method-assign,assignment]
    try:
        await client.execute(sql, args)  # type: ignore[arg-type]
    finally:
        aiohttp.ClientSession.post = post  # type: ignore[method-assign]
    return seen[0]


async def _rate(call: Callable[[], Awaitable[None]], connections: int) -> float:
    done = 0
    started = time.perf_counter()
    until = started + _SECONDS

    async def loop() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await call()
            done += 1

    await asyncio.gather(*(loop() for _ in range(connections)))
    return done / (time.perf_counter() - started)


async def _fill(client: Client) -> None:
    await client.execute("CREATE TABLE word (id INTEGER PRIMARY KEY, term TEXT, meaning TEXT, score REAL)")
    await client.batch(
        [
            ("INSERT INTO word (term, meaning, score) VALUES (?, ?, ?)", (f"term {n}", f"meaning {n}", n / 7))
            for n in range(500)
        ]
    )
