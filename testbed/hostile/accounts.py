"""Attacks on accounts that are to be somebody's: made before their owner comes, kept by keys, made without number."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from testbed.hostile.attacks import Attack
from testbed.hostile.roles import (
    ENDS,
    IN,
    OUT,
    OWNERS,
    STAYS,
    STRANGERS,
    is_session,
    key_of,
    mailed,
    new_account,
    opens,
    post,
    somebody,
    somewhere,
    whose,
)
from testbed.hostile.tenant import Hostile
from testbed.mailed import OutboxReader

# What the service lets one address make, the guest that each hostile person is included.
GUESTS_EACH = 4
_SIGN_UP, _SIGN_IN = "/api/auth/sign-up/email", "/api/auth/sign-in/email"
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


async def _by_code(me: Hostile, email: str, address: str) -> bool:
    await post(me, "/api/auth/email-otp/send-verification-otp", {"email": email, "type": "sign-in"}, address)
    code = await mailed(me, lambda outbox: outbox.code(email))
    status, _ = await post(me, "/api/auth/sign-in/email-otp", {"email": email, "otp": code}, address)
    return status == 200


async def _by_link(me: Hostile, email: str, address: str) -> bool:
    await post(me, "/api/auth/request-password-reset", {"email": email}, address)
    token = await mailed(me, lambda outbox: outbox.token(email))
    status, _ = await post(me, "/api/auth/reset-password", {"token": token, "newPassword": OWNERS}, address)
    return status == 200


async def _signed_up_by_its_owner(me: Hostile) -> str:
    """A stranger signs up with somebody's address before its owner does, and once more at the moment in which the
    owner follows the link of their own sign-up; is a guest all the while, and tries to sign in before."""
    there = me.at_strict
    email, home = somebody(there), somewhere(there)
    status, guest = await post(there, "/api/auth/sign-in/anonymous", {}, somewhere(there))
    if status != 200:
        return "not made"
    kept = [str(guest["token"])]

    async def stranger(path: str) -> int:
        body = {"name": "x", "email": email, "password": STRANGERS}
        status, answer = await post(there, path, body, somewhere(there), kept[0])
        if status == 200 and answer["token"]:
            kept.append(str(answer["token"]))
        return status

    if await stranger(_SIGN_UP) != 200:
        return "not made"
    letters = len(OutboxReader(there.outbox).mails(email))

    def newest(outbox: OutboxReader) -> str:
        assert outbox.mails(email)[letters:]
        return outbox.token(email)

    status, _ = await post(there, _SIGN_UP, {"name": "x", "email": email, "password": OWNERS}, home)
    if status != 200:
        return "not made"
    token = await mailed(there, newest)
    await stranger(_SIGN_IN)
    (status, _), _ = await asyncio.gather(
        there.call("GET", f"/api/auth/verify-email?token={token}", headers={"x-forwarded-for": home}),
        stranger(_SIGN_UP),
    )
    if status != 200:
        return f"not proved: http {status}"
    status = await stranger(_SIGN_IN)
    if status == 200 or email in [await whose(there, each) for each in kept]:
        return IN
    its_owners, _ = await post(there, _SIGN_IN, {"email": email, "password": OWNERS}, home)
    if its_owners in {401, 403}:
        return "its owner is out"
    # Of answers that are none, nothing follows.
    return OUT if status == 401 and its_owners == 200 else f"http {status}, http {its_owners}"


def _before_its_owner(proves: Callable[[Hostile, str, str], Awaitable[bool]]) -> Callable[[Hostile], Awaitable[str]]:
    """An account with somebody's address and every way back in; then its owner comes."""

    async def go(me: Hostile) -> str:
        email, address = somebody(me), somewhere(me)
        session = await new_account(me, email, address)
        key = await key_of(me, session, address) if session else ""
        if not key:
            return "not made"
        if not await proves(me, email, somewhere(me)):
            return "not proved"
        status, _ = await post(me, _SIGN_IN, {"email": email, "password": STRANGERS}, address)
        is_in = status == 200 or await is_session(me, session) or await opens(me, key)
        return IN if is_in else OUT

    return go


async def _key_of_a_guest(me: Hostile) -> str:
    """Made by a guest, who then signs up."""
    address = somewhere(me)
    status, answer = await post(me, "/api/auth/sign-in/anonymous", {}, address)
    key = await key_of(me, answer["token"], address) if status == 200 else ""
    if not key:
        return "not made"
    body = {"name": "x", "email": somebody(me), "password": STRANGERS}
    status, _ = await post(me, _SIGN_UP, body, address, answer["token"])
    if status != 200:
        return f"http {status}"
    return IN if await opens(me, key) else OUT


async def _key_after_others_are_revoked(me: Hostile) -> str:
    """Made in a session like the thief's, whose owner then ends all other sessions."""
    email, address = somebody(me), somewhere(me)
    session = await new_account(me, email, address)
    key = await key_of(me, session, address) if session else ""
    if not key:
        return "not made"
    status, _ = await post(me, "/api/auth/revoke-other-sessions", {}, address, session)
    if status != 200:
        return f"http {status}"
    return IN if await opens(me, key) else OUT


async def _common_password(me: Hostile) -> str:
    body = {"name": "x", "email": somebody(me), "password": me.random.choice(_PASSWORDS)}
    status, _ = await post(me, _SIGN_UP, body, somewhere(me))
    return f"http {status}" if status else "cut"


async def _session_of_the_browser_before(me: Hostile) -> str:
    """A session that the browser had before its user signed in again."""
    email, address = somebody(me), somewhere(me)
    session = await new_account(me, email, address)
    if not session:
        return "not made"
    told = {"x-forwarded-for": address, "origin": me.url}
    body = {"email": email, "password": STRANGERS}
    async with me.http.post(f"{me.url}/api/auth/sign-in/email", json=body, headers=told) as first:
        cookies = "; ".join(f"{name}={each.value}" for name, each in first.cookies.items())
        before = (await first.json())["token"] if first.status == 200 else ""
    told["cookie"] = cookies
    async with me.http.post(f"{me.url}/api/auth/sign-in/email", json=body, headers=told) as second:
        if not before or second.status != 200:
            return f"http {second.status}"
    return IN if await is_session(me, before) else OUT


async def _guests(me: Hostile) -> str:
    """As many guests as one address may make, and more; each would have a database."""
    status = 0
    for _ in range(GUESTS_EACH):
        status, answer = await post(me, "/api/auth/sign-in/anonymous", {}, me.address)
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
    body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": "SELECT count(*) FROM user"}}]}).encode()
    statuses = set()
    for name in ("central", "default", "freehold", "freehold-central", "main", "_metastore"):
        status, _ = await me.call("POST", f"/db/{name}/v3/pipeline", body, headers)
        statuses.add(status)
    return "http 200" if 200 in statuses else f"http {max(statuses)}"


ATTACKS = (
    Attack("a central database by name", _central_database, never=frozenset({"http 200"})),  # A5
    Attack("guests without number", _guests, never=frozenset({"without number"})),  # B10
    # C12, C13: what was made before its owner came, or is to outlive its session.
    Attack("an account made before its owner came, who has a code", _before_its_owner(_by_code), never=STAYS),
    Attack("an account made before its owner came, who has a link", _before_its_owner(_by_link), never=STAYS),
    Attack(
        "an address that a stranger signed up first, whose owner follows a link",
        _signed_up_by_its_owner,
        never=STAYS | {"its owner is out"},
        shows=ENDS,
        at_strict=True,
    ),
    Attack("a key that a guest made, who signed up", _key_of_a_guest, never=STAYS),
    Attack("a key of a session that was revoked", _key_after_others_are_revoked, never=STAYS),
    # C15
    Attack("passwords that everybody has", _common_password, never=frozenset({"http 200"})),
    Attack("a session from before the same browser signed in", _session_of_the_browser_before, never=STAYS),
)
