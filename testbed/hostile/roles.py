"""People whom a hostile person plays, each from an address of their own; and whether what they kept still works."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from testbed.hostile.tenant import Hostile
from testbed.mailed import OutboxReader

STRANGERS, OWNERS = "a-strangers-choice-7", "the-owners-choice-8"
IN, OUT = "still in", "out"
STAYS = frozenset({IN})
ENDS = frozenset({OUT})


async def post(me: Hostile, path: str, body: dict[str, Any], address: str, session: str = "") -> tuple[int, Any]:
    told = {"x-forwarded-for": address, **({"authorization": f"Bearer {session}"} if session else {})}
    status, text = await me.json(path, body, told)
    try:
        return status, json.loads(text)
    except ValueError:
        return status, None


def somewhere(me: Hostile) -> str:
    """An address that nobody else has: who means harm has many."""
    return f"198.18.{me.random.randrange(256)}.{me.random.randrange(1, 255)}"


def somebody(me: Hostile) -> str:
    return f"somebody-{me.random.getrandbits(60):x}@example.com"


async def mailed(me: Hostile, what: Callable[[OutboxReader], str]) -> str:
    """What is looked for in the letters; empty if it does not come."""
    outbox = OutboxReader(me.outbox)
    for _ in range(20):
        try:
            return await asyncio.to_thread(what, outbox)
        except (IndexError, AssertionError):
            await asyncio.sleep(0.2)
    return ""


async def new_account(me: Hostile, email: str, address: str) -> str:
    """The session of an account that is made; empty if it is not."""
    body = {"name": "x", "email": email, "password": STRANGERS}
    status, answer = await post(me, "/api/auth/sign-up/email", body, address)
    return str(answer["token"]) if status == 200 else ""


async def key_of(me: Hostile, session: str, address: str) -> str:
    status, answer = await post(me, "/api/auth/api-key/create", {"name": "kept"}, address, session)
    return str(answer["key"]) if status == 200 else ""


async def opens(me: Hostile, key: str) -> bool:
    status, _ = await me.call("GET", "/databases/user", headers={"x-api-key": key})
    return status in {200, 202}


async def is_session(me: Hostile, session: str) -> bool:
    return await whose(me, session) is not None


async def whose(me: Hostile, session: str) -> str | None:
    """The e-mail address of the user; None if it is no session."""
    told = {"authorization": f"Bearer {session}"}
    status, text = await me.call("GET", "/api/auth/get-session", headers=told)
    if status != 200 or text.strip() in {b"", b"null"}:
        return None
    return str(json.loads(text)["user"]["email"])
