"""Attacks on accounts, sessions and what the operator is told."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from testbed.hostile.attacks import Attack
from testbed.hostile.tenant import Hostile

_EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
_GUESSES = 12


async def _spoofed_address(me: Hostile) -> str:
    """Wrong passwords with a header line of one's own, another each time; the proxy adds the true one."""
    email = f"{me.address}@example.com"
    statuses = []
    for number in range(_GUESSES):
        lines = [
            b"POST /api/auth/sign-in/email HTTP/1.1",
            b"Host: 127.0.0.1",
            b"Connection: close",
            b"X-Forwarded-For: 203.0.113.%d" % number,
            b"X-Forwarded-For: " + me.address.encode(),
            b"Content-Type: application/json",
        ]
        body = json.dumps({"email": email, "password": f"wrong-{number}-guess"}).encode()
        lines.append(b"Content-Length: %d" % len(body))
        statuses.append(await _status(me, b"\r\n".join(lines) + b"\r\n\r\n" + body))
    if set(statuses) == {401}:
        return "guessed freely"
    return f"http {statuses[-1]}" if statuses[-1] else "cut"


async def _status(me: Hostile, request: bytes) -> int:
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*me.place)
            try:
                writer.write(request)
                return int((await reader.readline()).split()[1])
            finally:
                writer.transport.abort()
    except (OSError, IndexError, ValueError, TimeoutError):
        return 0


def _cross_site(path: str, body: dict[str, str]) -> Callable[[Hostile], Awaitable[str]]:
    async def go(me: Hostile) -> str:
        status, _ = await me.json(path, body, _EVIL)
        return f"http {status}" if status else "cut"

    return go


async def _wrong_codes(me: Hostile) -> str:
    """Codes for somebody else's address, asked for and guessed."""
    await me.json("/api/auth/email-otp/send-verification-otp", {"email": me.owner, "type": "sign-in"})
    status = 0
    for _ in range(4):
        guess = f"{me.random.randrange(10**6):06}"
        status, _ = await me.json("/api/auth/sign-in/email-otp", {"email": me.owner, "otp": guess})
    return f"http {status}" if status else "cut"


async def _wrong_passwords(me: Hostile) -> str:
    body = {"email": me.owner, "password": f"wrong-guess-{me.random.randrange(10**6)}"}
    status, _ = await me.json("/api/auth/sign-in/email", body)
    return f"http {status}" if status else "cut"


async def _address_taken(me: Hostile) -> str:
    """Somebody else's address, with a password of one's own."""
    body = {"name": "x", "email": me.owner, "password": "a-password-of-my-own"}
    status, _ = await me.json("/api/auth/sign-up/email", body)
    return f"http {status}" if status else "cut"


def _census(shown: Callable[[Hostile], dict[str, str]]) -> Callable[[Hostile], Awaitable[str]]:
    """Reports of devices that there are not."""

    async def go(me: Hostile) -> str:
        status = 0
        for _ in range(40):
            device = f"{me.random.getrandbits(64):x}"
            said = {"freehold-app-version": "0.0.1", "freehold-device": device, **shown(me)}
            status, _ = await me.call("GET", "/migrations?after=9", headers=said)
        return f"http {status}" if status else "cut"

    return go


async def _foreign_tokens(me: Hostile) -> str:
    """Tokens that are nobody's, and the own one for a database that is another's."""
    head, _, tail = me.token.partition(".")
    headers = {"authorization": f"Bearer {head}.{tail[::-1]}", "content-type": "application/json"}
    body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1"}}]}).encode()
    await me.call("POST", f"{me.path}v3/pipeline", body, headers)
    headers["authorization"] = f"Bearer {me.token}"
    other = f"/db/t-{'a' * 26}/v3/pipeline"
    status, _ = await me.call("POST", other, body, headers)
    return f"http {status}" if status else "cut"


async def _api_keys(me: Hostile) -> str:
    own = {"authorization": f"Bearer {me.session}"}
    status, body = await me.json("/api/auth/api-key/create", {"name": "mine"}, own)
    if status == 200:
        key = json.loads(body)["key"]
        await me.call("GET", "/databases/user", headers={"x-api-key": key})
    return f"http {status}" if status else "cut"


async def _session_questions(me: Hostile) -> str:
    """Sessions that are nobody's: none of these may cost the central database much."""
    answers = await asyncio.gather(
        *(
            me.call("GET", "/api/auth/get-session", headers={"authorization": f"Bearer {me.random.getrandbits(160):x}"})
            for _ in range(20)
        )
    )
    return f"http {answers[-1][0]}"


_IN = frozenset({"http 200", "http 302"})

ATTACKS = (
    Attack("an address made up before the proxy's", _spoofed_address, never=frozenset({"guessed freely"})),
    Attack("a guest made by another site", _cross_site("/api/auth/sign-in/anonymous", {}), never=_IN),
    Attack(
        "a sign-in made by another site",
        _cross_site("/api/auth/sign-in/email", {"email": "hostile@example.com", "password": "correct-horse-1"}),
        never=_IN,
    ),
    Attack(
        "a sign-up made by another site",
        _cross_site(
            "/api/auth/sign-up/email",
            {"name": "x", "email": "by-another-site@example.com", "password": "correct-horse-1"},
        ),
        never=_IN,
    ),
    Attack("codes guessed", _wrong_codes, never=_IN),
    Attack("passwords guessed", _wrong_passwords, never=_IN),
    Attack("an address that is somebody's", _address_taken, never=_IN),
    Attack("reports of nobody", _census(lambda _: {})),
    Attack("reports of one user", _census(lambda me: {"authorization": f"Bearer {me.session}"})),
    Attack(
        "reports with tokens that are none",
        _census(lambda me: {"authorization": f"Bearer {me.random.getrandbits(160):x}"}),
    ),
    Attack("tokens for others' databases", _foreign_tokens, never=_IN),
    Attack("API keys without number", _api_keys),
    Attack("sessions that are nobody's", _session_questions),
)
