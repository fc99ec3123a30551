"""Attacks on accounts that are to be somebody's: made before their owner comes, kept by keys, made without number."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.hostile.attacks import Attack
from tests.hostile.tenant import Hostile
from tests.mailed import OutboxReader

# What the service lets one address make, the guest that each hostile person is included.
GUESTS_EACH = 4
_STRANGERS, _OWNERS = "a-strangers-choice-7", "the-owners-choice-8"
_PASSWORDS = (
    "password",
    "p@ssw0rd",
    "sunshine2026!",
    "qwertyuiop",
    "12345678",
    "iloveyouiloveyou",
    "freehold",
    "freehold2026",
)
_IN, _OUT = "still in", "out"


async def _post(
    me: Hostile, path: str, body: dict[str, Any], address: str, session: str = ""
) -> tuple[int, Any]:
    told = {"x-forwarded-for": address, **({"authorization": f"Bearer {session}"} if session else {})}
    status, text = await me.json(path, body, told)
    try:
        return status, json.loads(text)
    except ValueError:
        return status, None


def _somewhere(me: Hostile) -> str:
    """An address that nobody else has: who means harm has many."""
    return f"198.18.{me.random.randrange(256)}.{me.random.randrange(1, 255)}"


def _somebody(me: Hostile) -> str:
    return f"somebody-{me.random.getrandbits(60):x}@example.com"


async def _mailed(me: Hostile, email: str, what: Callable[[OutboxReader], str]) -> str:
    """What the newest letter to this address holds; empty if none came."""
    outbox = OutboxReader(me.outbox)
    for _ in range(20):
        try:
            return await asyncio.to_thread(what, outbox)
        except (IndexError, AssertionError):
            await asyncio.sleep(0.2)
    return ""


async def _by_code(me: Hostile, email: str, address: str) -> bool:
    await _post(me, "/api/auth/email-otp/send-verification-otp", {"email": email, "type": "sign-in"}, address)
    code = await _mailed(me, email, lambda outbox: outbox.code(email))
    status, _ = await _post(me, "/api/auth/sign-in/email-otp", {"email": email, "otp": code}, address)
    return status == 200


async def _by_link(me: Hostile, email: str, address: str) -> bool:
    await _post(me, "/api/auth/request-password-reset", {"email": email}, address)
    token = await _mailed(me, email, lambda outbox: outbox.token(email))
    status, _ = await _post(me, "/api/auth/reset-password", {"token": token, "newPassword": _OWNERS}, address)
    return status == 200


async def _new(me: Hostile, email: str, address: str) -> str:
    """The session of an account that is made; empty if it is not."""
    body = {"name": "x", "email": email, "password": _STRANGERS}
    status, answer = await _post(me, "/api/auth/sign-up/email", body, address)
    return str(answer["token"]) if status == 200 else ""


async def _key(me: Hostile, session: str, address: str) -> str:
    status, answer = await _post(me, "/api/auth/api-key/create", {"name": "kept"}, address, session)
    return str(answer["key"]) if status == 200 else ""


async def _opens(me: Hostile, key: str) -> bool:
    status, _ = await me.call("GET", "/databases/user", headers={"x-api-key": key})
    return status in {200, 202}


async def _is_session(me: Hostile, session: str) -> bool:
    told = {"authorization": f"Bearer {session}"}
    status, text = await me.call("GET", "/api/auth/get-session", headers=told)
    return status == 200 and text.strip() not in {b"", b"null"}


def _before_its_owner(
    proves: Callable[[Hostile, str, str], Awaitable[bool]],
) -> Callable[[Hostile], Awaitable[str]]:
    """An account with somebody's address and every way back in; then its owner comes."""

    async def go(me: Hostile) -> str:
        email, address = _somebody(me), _somewhere(me)
        session = await _new(me, email, address)
        key = await _key(me, session, address) if session else ""
        if not key:
            return "not made"
        if not await proves(me, email, _somewhere(me)):
            return "not proved"
        status, _ = await _post(
            me, "/api/auth/sign-in/email", {"email": email, "password": _STRANGERS}, address
        )
        is_in = status == 200 or await _is_session(me, session) or await _opens(me, key)
        return _IN if is_in else _OUT

    return go


async def _key_of_a_guest(me: Hostile) -> str:
    """Made by a guest, who then signs up."""
    address = _somewhere(me)
    status, answer = await _post(me, "/api/auth/sign-in/anonymous", {}, address)
    key = await _key(me, answer["token"], address) if status == 200 else ""
    if not key:
        return "not made"
    body = {"name": "x", "email": _somebody(me), "password": _STRANGERS}
    status, _ = await _post(me, "/api/auth/sign-up/email", body, address, answer["token"])
    if status != 200:
        return f"http {status}"
    return _IN if await _opens(me, key) else _OUT


async def _key_after_others_are_revoked(me: Hostile) -> str:
    """Made in a session like the thief's, whose owner then ends all other sessions."""
    email, address = _somebody(me), _somewhere(me)
    session = await _new(me, email, address)
    key = await _key(me, session, address) if session else ""
    if not key:
        return "not made"
    status, _ = await _post(me, "/api/auth/revoke-other-sessions", {}, address, session)
    if status != 200:
        return f"http {status}"
    return _IN if await _opens(me, key) else _OUT


async def _common_password(me: Hostile) -> str:
    body = {"name": "x", "email": _somebody(me), "password": me.random.choice(_PASSWORDS)}
    status, _ = await _post(me, "/api/auth/sign-up/email", body, _somewhere(me))
    return f"http {status}" if status else "cut"


async def _session_of_the_browser_before(me: Hostile) -> str:
    """A session that the browser had before its user signed in again."""
    email, address = _somebody(me), _somewhere(me)
    session = await _new(me, email, address)
    if not session:
        return "not made"
    told = {"x-forwarded-for": address, "origin": me.url}
    body = {"email": email, "password": _STRANGERS}
    async with me.http.post(f"{me.url}/api/auth/sign-in/email", json=body, headers=told) as first:
        cookies = "; ".join(f"{name}={each.value}" for name, each in first.cookies.items())
        before = (await first.json())["token"] if first.status == 200 else ""
    told["cookie"] = cookies
    async with me.http.post(f"{me.url}/api/auth/sign-in/email", json=body, headers=told) as second:
        if not before or second.status != 200:
            return f"http {second.status}"
    return _IN if await _is_session(me, before) else _OUT


async def _guests(me: Hostile) -> str:
    """As many guests as one address may make, and more; each would have a database."""
    status = 0
    for _ in range(GUESTS_EACH):
        status, answer = await _post(me, "/api/auth/sign-in/anonymous", {}, me.address)
        if status == 200:
            me.made += 1
            told = {"authorization": f"Bearer {answer['token']}"}
            await me.call("GET", "/databases/user", headers=told)
    if me.made >= GUESTS_EACH:
        return "without number"
    return f"http {status}" if status else "cut"


async def _central_database(me: Hostile) -> str:
    """The own token, for names that a central database might have."""
    headers = {"authorization": f"Bearer {me.token}", "content-type": "application/json"}
    body = json.dumps(
        {"requests": [{"type": "execute", "stmt": {"sql": "SELECT count(*) FROM user"}}]}
    ).encode()
    statuses = set()
    for name in ("central", "default", "freehold", "freehold-central", "main", "_metastore"):
        status, _ = await me.call("POST", f"/db/{name}/v3/pipeline", body, headers)
        statuses.add(status)
    return "http 200" if 200 in statuses else f"http {max(statuses)}"


_STAYS = frozenset({_IN})

ATTACKS = (
    Attack("a central database by name", _central_database, never=frozenset({"http 200"})),  # A5
    Attack("guests without number", _guests, never=frozenset({"without number"})),  # B10
    # C12, C13: what was made before its owner came, or is to outlive its session.
    Attack(
        "an account made before its owner came, who has a code", _before_its_owner(_by_code), never=_STAYS
    ),
    Attack(
        "an account made before its owner came, who has a link", _before_its_owner(_by_link), never=_STAYS
    ),
    Attack("a key that a guest made, who signed up", _key_of_a_guest, never=_STAYS),
    Attack("a key of a session that was revoked", _key_after_others_are_revoked, never=_STAYS),
    # C15
    Attack("passwords that everybody has", _common_password, never=frozenset({"http 200"})),
    Attack("a session from before the same browser signed in", _session_of_the_browser_before, never=_STAYS),
)
