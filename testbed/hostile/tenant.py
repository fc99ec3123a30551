"""Somebody who means harm, with a guest's session, a database and a token for it."""

import asyncio
import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

# Nobody who means harm waits longer: they go on with the next thing.
PATIENCE_S = 12.0


@dataclass(frozen=True)
class Answer:
    """What came back: the status, 0 if the connection ended, and for each request `ok` or an error's code."""

    status: int
    outcomes: tuple[str, ...] = ()
    baton: str | None = None

    @property
    def label(self) -> str:
        """In a word: the last outcome, or the status."""
        if self.status == 200 and self.outcomes:
            return self.outcomes[-1]
        return f"http {self.status}" if self.status else "cut"


@dataclass(frozen=True)
class StrictTarget:
    """Where the second service is, and what is there from long ago: see `testbed.hostile.strict`."""

    url: str
    outbox: Path
    too_old: list[dict[str, str]]
    gone: list[dict[str, str]]


@dataclass
class Hostile:
    """Has an address of its own, told by a proxy before the service. `owner` is somebody else's e-mail address.

    `outbox` has the letters to everybody: those whom a hostile person plays read theirs, and `made` counts guests.
    `stolen` is a bystander's session; `strict` is the second service, with what this one has got hold of there.
    """

    url: str
    session: str
    database_url: str
    token: str
    address: str
    owner: str
    http: aiohttp.ClientSession
    random: random.Random
    outbox: Path
    stolen: dict[str, str]
    strict: StrictTarget | None = None
    made: int = 0
    prepared: set[str] = field(default_factory=set)

    @property
    def place(self) -> tuple[str, int]:
        """Host and port, for whoever speaks bytes."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def at_strict(self) -> "Hostile":
        """The same person at the second service."""
        assert self.strict is not None
        return replace(self, url=self.strict.url, outbox=self.strict.outbox)

    @property
    def path(self) -> str:
        """That of the database, with a slash at the end."""
        return urlsplit(self.database_url).path

    async def once(self, what: str, *sql: str) -> None:
        """Prepare something that an attack needs, the first time."""
        if what not in self.prepared:
            self.prepared.add(what)
            await self.sql(*sql)

    async def sql(self, *statements: str, baton: str | None = None, close: bool = True) -> Answer:
        """Run statements in the database, in one pipeline."""
        requests: list[dict[str, Any]] = [{"type": "execute", "stmt": {"sql": each}} for each in statements]
        return await self.pipeline(requests, baton=baton, close=close)

    async def pipeline(self, requests: list[dict[str, Any]], *, baton: str | None = None, close: bool = True) -> Answer:
        body = {"baton": baton, "requests": [*requests, *([{"type": "close"}] if close else [])]}
        answer = await self.post("v3/pipeline", json.dumps(body).encode())
        return Answer(answer.status, answer.outcomes[: len(requests)], answer.baton)

    async def post(self, endpoint: str, body: bytes) -> Answer:
        """Send these bytes to the database."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        status, text = await self.call("POST", f"{self.path}{endpoint}", body, headers)
        try:
            answer = json.loads(text)
            outcomes = tuple(
                "ok" if each["type"] == "ok" else str(each["error"].get("code")) for each in answer.get("results", ())
            )
            return Answer(status, outcomes, answer.get("baton"))
        except (ValueError, AttributeError, KeyError, TypeError):
            return Answer(status)

    async def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body; 0 if the connection ended or it took too long."""
        sent = {"x-forwarded-for": self.address, **(headers or {})}
        try:
            async with asyncio.timeout(PATIENCE_S):
                async with self.http.request(method, f"{self.url}{path}", data=body, headers=sent) as reply:
                    return reply.status, await reply.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, b""

    async def json(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Post this."""
        sent = {"content-type": "application/json", **(headers or {})}
        return await self.call("POST", path, json.dumps(body).encode(), sent)
