"""Attacks with what is old: sessions past their time, and what guests left who have not come back."""

import json
from typing import Any

from testbed.hostile.attacks import Attack
from testbed.hostile.roles import ENDS, IN, OUT, STAYS, STRANGERS, post, somebody, somewhere, whose
from testbed.hostile.tenant import Hostile

# How long after signing in somebody may do what is serious, at the service that everybody attacks.
FRESH_S = 1
# So many ways there are to use what is old.
WAYS = 8
_NEW_PASSWORD = "a-thiefs-choice-9"
_REFUSALS = frozenset({200, 400, 401, 403, 404})  # 200 with nothing in it
_SELECT = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1"}}]}).encode()


async def _not_fresh(me: Hostile) -> str:
    """A thief has somebody's session, of some time ago, and uses it in the hope that it becomes recent by that."""
    session, address = me.stolen["session"], somewhere(me)
    await post(me, "/api/auth/update-user", {"name": "y"}, address, session)
    new = {"newEmail": somebody(me)}
    tries: list[tuple[str, dict[str, Any]]] = [
        ("change-email", new),
        ("email-otp/request-email-change", new),
        ("email-otp/change-email", {**new, "otp": "000000"}),
        ("change-password", {"currentPassword": "a-guess-of-mine-1", "newPassword": _NEW_PASSWORD}),
        ("unlink-account", {"providerId": "credential"}),
        ("delete-user", {}),
    ]
    codes = {}
    for path, body in tries:
        status, answer = await post(me, f"/api/auth/{path}", body, address, session)
        if status == 200:
            return IN
        codes[path] = (answer or {}).get("code", f"http {status}")
    if await whose(me, session) not in {None, me.stolen["email"]}:
        return IN
    return OUT if codes["change-email"] == "SESSION_NOT_FRESH" else str(codes["change-email"])


async def _too_old(me: Hostile) -> str:
    """Sessions that were used to this day, and began longer ago than any may last; the password is known, too."""
    assert me.strict is not None
    tries: list[tuple[str, dict[str, Any]]] = [
        ("/api/auth/change-email", {"newEmail": somebody(me)}),
        ("/api/auth/change-password", {"currentPassword": STRANGERS, "newPassword": _NEW_PASSWORD}),
        ("/api/auth/update-user", {"name": "y"}),
        ("/api/auth/api-key/create", {"name": "kept"}),
        ("/api/auth/refresh", {"refresh_token": me.strict.too_old[-1]["refresh"]}),
    ]
    return await _with_what_is_old(me.at_strict, me.strict.too_old, tries)


async def _of_a_guest(me: Hostile) -> str:
    """What guests left who have not come back for long, while guests are being removed."""
    assert me.strict is not None
    tries: list[tuple[str, dict[str, Any]]] = [
        ("/api/auth/update-user", {"name": "y"}),
        ("/api/auth/api-key/create", {"name": "kept"}),
        ("/api/auth/delete-anonymous-user", {}),
    ]
    return await _with_what_is_old(me.at_strict, me.strict.gone, tries)


async def _with_what_is_old(there: Hostile, held: list[dict[str, str]], tries: list[tuple[str, dict[str, Any]]]) -> str:
    """All that a session and what came of it are good for, each with another one: a refusal may be its end."""
    address = somewhere(there)
    found = iter(held)

    async def call(method: str, path: str, body: bytes | None, token: str) -> tuple[int, bytes]:
        told = {"authorization": f"Bearer {token}", "x-forwarded-for": address}
        return await there.call(method, path, body, {**told, "content-type": "application/json"})

    answers = [await call("GET", "/api/auth/get-session", None, next(found)["session"])]
    answers.append(await call("GET", "/databases/user", None, next(found)["session"]))
    mine = next(found)
    answers.append(await call("POST", f"{mine['path']}v3/pipeline", _SELECT, mine["token"]))
    for path, body in tries:
        answers.append(await call("POST", path, json.dumps(body).encode(), next(found)["session"]))
    if any(status in {200, 202} and text.strip() not in {b"", b"null"} for status, text in answers):
        return IN
    unclear = {status for status, _ in answers} - _REFUSALS
    return f"http {max(unclear)}" if unclear else OUT


ATTACKS = (
    # C15
    Attack("serious things in a session that is not recent", _not_fresh, never=STAYS, shows=ENDS),
    Attack("a session older than any may be", _too_old, never=STAYS, shows=ENDS, at_strict=True),
    # B10
    Attack("what a guest left who is long gone", _of_a_guest, never=STAYS, shows=ENDS, at_strict=True),
)
