"""People who use the service as it is meant, while others do not; each thing that they do is noted."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from testbed.mailed import OutboxReader

PASSWORD = "correct-horse-1"
# Whoever waits longer has been kept out; with four times as much to do as there are cores, signing in took 15 s. A
# 503 that says when to come back is asked again until then, as apps do; the report tells whether it was to be.
PATIENCE_S = 30.0

KINDS = frozenset(
    {"come back", "write and read", "sign in", "sign in by code", "sign up", "get-session", "pull", "ready"}
)
# What needs a tenant's database; all else needs the central one.
NEED_TENANTS = frozenset({"write and read", "sign up", "ready"})


@dataclass(frozen=True)
class Done:
    """One thing that somebody did: when it began, how long it took, and why it did not work if so."""

    what: str
    at: float
    seconds: float
    fault: str = ""


class Unserved(Exception):
    """An answer that a bystander must not get."""


@dataclass
class Bystanders:
    """Uses the service at `url` until cancelled, from addresses of their own."""

    url: str
    outbox: OutboxReader
    http: aiohttp.ClientSession
    done: list[Done] = field(default_factory=list)
    asked_again: list[tuple[float, str]] = field(default_factory=list)  # when, and why
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def run(self, people: list[dict[str, Any]]) -> None:
        """All of them at once, for ever. The last of them signs in by code: that ends what was there before."""
        loops = [self._reads_and_writes(person) for person in people[:-1]]
        loops += [self._signs_in(people[0]), self._signs_in_by_code(people[-1]), self._signs_up()]
        loops += [self._asks_who_it_is(people[0]), self._pulls(), self._looks_whether_it_is_ready()]
        async with asyncio.TaskGroup() as group:
            for each in loops:
                group.create_task(each)

    async def sign_up(self, name: str) -> dict[str, Any]:
        """Somebody new, with a database."""
        email = f"{name}@example.com"
        address = self._place()
        body = {"name": name, "email": email, "password": PASSWORD}
        answer = await self.call("POST", "/api/auth/sign-up/email", address, body)
        person = {"email": email, "address": address, "session": answer["token"], "rows": 0}
        return {**person, **await self.database(answer["token"], address)}

    async def come_back(self, guest: dict[str, Any]) -> None:
        """A guest from long ago, who uses their database for ever."""
        await self._again_and_again("come back", 0.2, lambda: self.write_and_read(guest), guest)

    def _place(self) -> str:
        return f"198.51.100.{next(self._numbers) % 250}"

    async def guest(self, address: str, profile: str) -> dict[str, Any]:
        """A guest with a database, and a token of this profile at the most."""
        answer = await self.call("POST", "/api/auth/sign-in/anonymous", address, {})
        mine = await self.database(answer["token"], address, profile)
        guest = {"session": answer["token"], "address": address, **mine}
        await self._sql(guest, "SELECT count(*) FROM decks")  # it is open from here on
        return guest

    async def database(self, session: str, address: str, profile: str = "rows") -> dict[str, Any]:
        """Where it is, once it is there."""
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = await self.call("GET", f"/databases/user?access_level={profile}", address, None, session)
            if "access_token" in answer:
                return {"database_url": answer["url"], "token": answer["access_token"]}
            if time.monotonic() > until:
                raise Unserved(f"no database: {answer}")
            await asyncio.sleep(0.1)

    async def write_and_read(self, person: dict[str, Any]) -> None:
        """One more row, and as many as were acknowledged."""
        person["rows"] += 1
        sql = f"INSERT INTO decks VALUES ('{person['rows']}', 'deck', '{{}}', 0, 1, 1)"
        answer = await self._sql(person, sql, "SELECT count(*) FROM decks")
        counted = int(answer[1]["response"]["result"]["rows"][0][0]["value"])
        if counted != person["rows"]:
            raise Unserved(f"{counted} rows, and {person['rows']} were written")

    async def _reads_and_writes(self, person: dict[str, Any]) -> None:
        await self._again_and_again("write and read", 0.1, lambda: self.write_and_read(person), person)

    async def _signs_in(self, person: dict[str, Any]) -> None:
        body = {"email": person["email"], "password": PASSWORD}

        async def go() -> None:
            # Another place each time: from one there may be three in ten seconds.
            await self.call("POST", "/api/auth/sign-in/email", self._place(), body)

        await self._again_and_again("sign in", 1.0, go)

    async def _signs_in_by_code(self, person: dict[str, Any]) -> None:
        email, address = person["email"], person["address"]

        async def go() -> None:
            asked = {"email": email, "type": "sign-in"}
            await self.call("POST", "/api/auth/email-otp/send-verification-otp", address, asked)
            code = await asyncio.to_thread(self.outbox.code, email)
            await self.call("POST", "/api/auth/sign-in/email-otp", address, {"email": email, "otp": code})

        await self._again_and_again("sign in by code", 12.0, go)

    async def _signs_up(self) -> None:
        async def go() -> None:
            person = await self.sign_up(f"bystander-{time.monotonic_ns()}")
            await self.write_and_read(person)

        await self._again_and_again("sign up", 2.0, go)

    async def _asks_who_it_is(self, person: dict[str, Any]) -> None:
        async def go() -> None:
            answer = await self.call("GET", "/api/auth/get-session", person["address"], None, person["session"])
            if answer["user"]["email"] != person["email"]:
                raise Unserved(f"a session of {answer['user']}")

        await self._again_and_again("get-session", 0.1, go)

    async def _pulls(self) -> None:
        async def go() -> None:
            await self.call("GET", "/migrations?after=0", "198.51.100.251", None)

        await self._again_and_again("pull", 0.2, go)

    async def _looks_whether_it_is_ready(self) -> None:
        async def go() -> None:
            await self.call("GET", "/ready", "198.51.100.252", None)

        await self._again_and_again("ready", 0.25, go)

    async def _again_and_again(
        self, what: str, pause_s: float, go: Callable[[], Awaitable[None]], person: dict[str, Any] | None = None
    ) -> None:
        while True:
            at = time.monotonic()
            fault = ""
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await go()
            except TimeoutError:
                fault = f"no answer within {PATIENCE_S:g} s"
            except (Unserved, aiohttp.ClientError, OSError) as error:
                fault = f"{type(error).__name__}: {error}"
            self.done.append(Done(what, at, time.monotonic() - at, fault))
            if fault and person is not None:
                await self._recount(person)
            await asyncio.sleep(pause_s)

    async def _recount(self, person: dict[str, Any]) -> None:
        """How many rows there are, after one whose answer did not come."""
        for _ in range(100):
            try:
                answer = await self._sql(person, "SELECT count(*) FROM decks")
            except (Unserved, aiohttp.ClientError, OSError):
                await asyncio.sleep(0.2)
                continue
            counted = int(answer[0]["response"]["result"]["rows"][0][0]["value"])
            if counted < person["rows"] - 1:
                self.done.append(Done("keep rows", time.monotonic(), 0, f"{person['rows'] - 1 - counted} lost"))
            person["rows"] = counted
            return

    async def _sql(self, person: dict[str, Any], *statements: str) -> list[Any]:
        body = {"requests": [{"type": "execute", "stmt": {"sql": sql}} for sql in statements]}
        headers = {"x-forwarded-for": person["address"], "authorization": f"Bearer {person['token']}"}
        url = f"{person['database_url']}v3/pipeline"
        _, text = await self._answer("POST", url, {**body, "baton": None}, headers)
        found: list[Any] = json.loads(text)["results"]
        for each in found:
            if each["type"] != "ok":
                raise Unserved(text[:300])
        return found

    async def call(self, method: str, path: str, address: str, body: dict[str, Any] | None, session: str = "") -> Any:
        headers = {"x-forwarded-for": address}
        if session:
            headers["authorization"] = f"Bearer {session}"
        _, text = await self._answer(method, f"{self.url}{path}", body, headers)
        return json.loads(text) if text else None

    async def _answer(
        self, method: str, url: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        """Status and body of an answer that is none to come back later; `/ready` says what it says."""
        until = time.monotonic() + PATIENCE_S
        while True:
            async with self.http.request(method, url, json=body, headers=headers) as reply:
                text = await reply.text()
            if reply.status in {200, 202}:
                return reply.status, text
            pause = reply.headers.get("retry-after")
            is_told = reply.status == 503 and pause is not None and not url.endswith("/ready")
            if not is_told or pause is None or time.monotonic() + float(pause) > until:
                raise Unserved(f"{reply.status} {text[:200]}")
            self.asked_again.append((time.monotonic(), text))
            await asyncio.sleep(float(pause))


def outbox_of(data_dir: Path) -> OutboxReader:
    """The letters of a service that sends none."""
    return OutboxReader(data_dir / "outbox.jsonl")
