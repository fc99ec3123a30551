"""Replays what a real better-auth server was recorded answering, against our routes over HTTP.

What is left out, and why:
- the header `set-auth-jwt` where a recording gives one for a session that has expired: nobody is signed in there;
- `api-key.session.other-endpoint`, where a key lists its owner's sessions with their tokens: a key is no session;
- `options-preflight` on the whole service, and what it exposes to browsers: CORS is the app's own, see there;
- the cookie `session_data` where a recording sets it: that cache outlives a revocation, so there is none here.
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import jwt
import pytest
from tests.support.auth_app import SECRET, AuthApp, QuickHasher, running_auth, running_service

from freehold.auth.api_keys.types import NewApiKey
from freehold.auth.tokens.signing_keys import SecretBox

RECORDED = json.loads((Path(__file__).parent / "captures/better_auth.json").read_text())
API_KEYS = json.loads((Path(__file__).parent / "captures/better_auth_api_keys.json").read_text())
ADMIN = json.loads((Path(__file__).parent / "captures/better_auth_admin.json").read_text())
GROUPS: dict[str, list[dict[str, Any]]] = {**RECORDED["groups"], **API_KEYS["groups"], **ADMIN["groups"]}
PASSWORD = "correct-horse-1"
SECURE_ORIGIN = "https://auth.example.com"

# Headers that mean something to a client: none may be there that was not recorded.
MEANT = {
    "content-type",
    "cache-control",
    "pragma",
    "location",
    "set-auth-token",
    "set-auth-jwt",
    "access-control-expose-headers",
    "x-retry-after",
    "www-authenticate",
}
PATTERNS = {
    "<signature>": r"[A-Za-z0-9+/]{43}=",
    "<random-32>": r"[A-Za-z0-9]{32}",
    "<first-6-chars-of-key>": r"[A-Za-z0-9_-]{6}",
    "<jwt>": r"[\w-]+\.[\w-]+\.[\w-]{86}",
    "<base64url-32-bytes>": r"[\w-]{43}",
}
# Whose session a recording's token was, where the recordings themselves do not say.
OWNERS = {
    "<token:1>": ("Ada", "ada@example.com"),
    "<token:14>": ("Setup User", "out@example.com"),
    "<token:19>": ("Setup User", "refresh@example.com"),
    "<token:26>": ("Setup User", "bearer@example.com"),
    "<token:28>": ("Setup User", "apikey@example.com"),
    "<token:27>": ("Setup User", "bearer-2@example.com"),
}
GUESTS = {"<token:35>"}
# How much longer the session of `session-refresh.*` lives when the request is made.
LIFE_LEFT = {
    "session-refresh.not-due": timedelta(days=6, minutes=1),
    "session-refresh.disabled-by-query": timedelta(days=6, minutes=-1),
    "session-refresh.due": timedelta(days=6, minutes=-1),
    "get-session.expired": timedelta(seconds=-1),
}


@pytest.mark.parametrize("group", GROUPS)
async def test_answers_as_better_auth_was_recorded_to(group: str, tmp_path: Path) -> None:
    # The whole service, below, hashes them as better-auth does.
    async with running_auth(tmp_path, SECURE_ORIGIN if group == "secure" else "", QuickHasher()) as app:
        replay = Replay(app)
        faults = [fault for capture in GROUPS[group] for fault in await replay.play(capture)]
        assert faults == []


async def test_the_whole_service_answers_the_same(tmp_path: Path) -> None:
    """Around the routes there are CORS, the request log and the errors of everything else."""
    async with running_service(tmp_path) as app:
        replay = Replay(app, has_cors=True)
        captures = [capture for group, found in GROUPS.items() if group != "secure" for capture in found]
        faults = [fault for capture in captures for fault in await replay.play(capture)]
        assert faults == []


def test_the_signature_of_a_cookie_is_the_recorded_one() -> None:
    vector = RECORDED["vectors"]["cookie_signature"]
    assert vector["secret"] == SECRET
    assert signature(vector["token"]) == vector["signature_base64"]


def test_what_better_auth_has_sealed_is_read() -> None:
    vector = RECORDED["vectors"]["symmetric_encrypt"]
    box = SecretBox(vector["secret"])
    assert box.open(vector["ciphertext_hex"]) == vector["plaintext"]
    assert box.open(box.close("كتاب")) == "كتاب"


async def test_a_key_is_stored_as_recorded(tmp_path: Path) -> None:
    vector = API_KEYS["vectors"]["api_key"]
    async with running_auth(tmp_path) as app:
        await app.sign_up()
        ((owner,),) = await app.rows("SELECT id FROM user")
        made, text = await app.tokens.api_keys.create(owner, NewApiKey(prefix="app_"))
        assert len(text) == len("app_") + vector["default_key_length"]
        assert made.start == text[:6]
        await app.write("UPDATE apikey SET key = ?", vector["stored"])
        assert (await app.tokens.api_keys.recognise(vector["key"])).user_id == owner


async def test_a_jwt_has_the_recorded_header_and_claims(tmp_path: Path) -> None:
    vector = RECORDED["vectors"]["jwt"]
    async with running_auth(tmp_path) as app:
        replay = Replay(app)
        found = (await app.sign_up("bearer@example.com", name="Bearer User")).json()
        token = (await app.http.get("/api/auth/token", headers=bearer(found["token"]))).json()["token"]
        (key,) = (await app.http.get("/api/auth/jwks")).json()["keys"]
        claims = jwt.decode(token, jwt.PyJWK(key).key, ["EdDSA"], audience=app.url, issuer=app.url)
        faults = replay.compare(vector["header"], jwt.get_unverified_header(token), "header")
        assert faults == []
        assert replay.bound["<kid:1>"] == key["kid"]
        expected = {k: v for k, v in vector["payload"].items() if not str(v).startswith("<unix:")}
        lifetime = claims.pop("exp") - claims["iat"]
        assert lifetime == vector["lifetime_seconds"]
        assert abs(claims.pop("iat") - datetime.now(UTC).timestamp()) < 120
        assert replay.compare(expected, claims, "claims") == []


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def signature(token: str) -> str:
    """Written out here, so that the service is not compared with itself."""
    return base64.b64encode(hmac.new(SECRET.encode(), token.encode(), "sha256").digest()).decode()


class Replay:
    """Sends recorded requests with the placeholders filled in, and compares the answers."""

    def __init__(self, app: AuthApp, *, has_cors: bool = False) -> None:
        self.app = app
        self.has_cors = has_cors
        self.bound: dict[str, str] = {}

    async def play(self, capture: dict[str, Any]) -> list[str]:
        if self.has_cors and capture["name"] == "options-preflight":
            return []
        await self.prepare(capture)
        reply = await self.send(capture)
        expected = capture["response"]
        faults = [
            *self.compare(expected["status"], reply.status_code, "status"),
            *self.compare_headers(expected_headers(capture), reply),
            *self.compare_cookies(expected.get("setCookie", []), reply.headers.get_list("set-cookie")),
            *self.compare(expected["body"], reply.json() if reply.content else "", "body"),
        ]
        return [f"{capture['name']}: {fault}" for fault in faults]

    async def prepare(self, capture: dict[str, Any]) -> None:
        """Make the users and sessions that must be there before the request."""
        sent = json.dumps(capture["request"])
        for token in re.findall(r"<token:\d+>", sent):
            if token in GUESTS:
                self.bound[token] = (await self.app.post("/api/auth/sign-in/anonymous")).json()["token"]
            elif token not in self.bound:
                name, email = OWNERS[token]
                await self.sign_up(name, email, token)
        if capture["name"].startswith(("sign-in.", "csrf.", "sign-up.email.duplicate")):
            await self.sign_up("Ada", "ada@example.com", "<token:1>")
        await self.prepare_admin(capture["name"])
        await self.prepare_api_keys(capture["name"])
        if left := LIFE_LEFT.get(capture["name"]):
            ends = (datetime.now(UTC) + left).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            await self.app.write('UPDATE "session" SET "expiresAt" = ? WHERE token = ?', ends, self.bound["<token:19>"])

    async def prepare_admin(self, name: str) -> None:
        """The users that were there when administrators were recorded: 17, then one that they made."""
        if name == "admin.sign-in":
            self.bound.clear()
            await self.app.write('DELETE FROM "user"')
            await self.app.sign_up("admin@example.com", name="Admin")
            await self.app.write("""UPDATE "user" SET role = 'admin', "emailVerified" = 1""")
            others = [f"other-{number}@example.com" for number in range(13)]
            for email in (*others, "bearer2@example.com", "apikey@example.com"):
                await self.app.sign_up(email, name="Setup User")
            found = await self.app.sign_up("plain@example.com", name="Setup User")
            self.bound.update({"<token:30>": found.json()["token"], "<id:28>": found.json()["user"]["id"]})
        elif name == "admin.list-user-sessions":
            body = {"email": "made@example.com", "password": "another-pass-1"}
            await self.app.post("/api/auth/sign-in/email", body)

    async def prepare_api_keys(self, name: str) -> None:
        if name == "api-key.update.disable":  # the use that is left out
            await self.app.http.get("/api/auth/get-session", headers={"x-api-key": self.bound["<api-key:1>"]})
        if name == "api-key.session.expired":
            await self.app.write("UPDATE apikey SET enabled = 1, \"expiresAt\" = '2020-01-01T00:00:00.000Z'")
        if name == "api-key.session.rate-limited":
            ((owner,),) = await self.app.rows("SELECT id FROM user WHERE email = 'apikey@example.com'")
            limits = NewApiKey(rate_limit_max=2, rate_limit_window_ms=60_000)
            _, key = await self.app.tokens.api_keys.create(owner, limits)
            for _ in range(2):
                await self.app.tokens.api_keys.recognise(key)
            self.bound["<api-key:3>"] = key

    async def sign_up(self, name: str, email: str, token: str) -> None:
        reply = await self.app.sign_up(email, name=name)
        if reply.status_code == 200:
            self.bound[token] = reply.json()["token"]

    async def send(self, capture: dict[str, Any]) -> httpx.Response:
        request = capture["request"]
        headers = {name: self.filled(name, value) for name, value in request["headers"].items() if value}
        content: bytes | None = None
        if "body" in request:
            body = request["body"]
            if not isinstance(body, str):
                body = self.filled("", json.dumps(body).replace("<129 characters>", "x" * 129))
            content = body.encode()
            if "content-type" not in request["headers"]:
                headers["content-type"] = "application/json"
        if "urlencoded" in capture["name"] and "authorization" in headers:
            scheme, token = headers["authorization"].split(" ")
            headers["authorization"] = f"{scheme} {quote(token, safe='')}"
        return await self.app.http.request(
            request["method"], self.filled("", request["path"]), headers=headers, content=content
        )

    def filled(self, header: str, text: str) -> str:
        """A recorded request header with our own origin, tokens and signatures in it."""

        def signed(found: re.Match[str]) -> str:
            name, colon, _ = found[1].partition(":@")  # the session that an administrator keeps has a colon behind
            token = self.bound.get(name, name) + (":" if colon else "")
            if token == "<token-with-one-char-changed>":
                true = self.bound["<token:1>"]
                token, signed_part = ("Y" if true[0] == "X" else "X") + true[1:], signature(true)
            else:
                signed_part = signature(token)
            value = f"{token}.{signed_part}"
            return quote(value, safe="") if header == "cookie" else value

        text = text.replace("{BASE}", self.app.url).replace("<session-data>", "of-no-meaning-here")
        text = text.replace("%3A.<signature>", ":@.<signature>")
        text = re.sub(r"([\w<>:@-]+)\.<signature>", signed, text)
        for placeholder, value in self.bound.items():
            text = text.replace(placeholder, value)
        return text

    def compare_headers(self, expected: Mapping[str, str], reply: httpx.Response) -> list[str]:
        found = {name: value for name, value in reply.headers.items() if name in MEANT}
        expected = dict(expected)
        if self.has_cors:
            wanted = expected.pop("access-control-expose-headers", "")
            exposed = found.pop("access-control-expose-headers", "").lower()
            missing = [name for name in wanted.split(", ") if name not in exposed]
            if missing and "origin" in reply.request.headers:
                return [f"headers: {missing} are not exposed"]
        elif "access-control-expose-headers" in found:
            names = sorted(found["access-control-expose-headers"].split(", "), reverse=True)
            found["access-control-expose-headers"] = ", ".join(names)
        return self.compare(expected, found, "headers")

    def compare_cookies(self, expected: list[str], found: list[str]) -> list[str]:
        wanted = list(dict.fromkeys(c for c in expected if "<session-data>" not in c))
        if len(wanted) != len(found):
            return [f"cookies: expected {wanted}, got {found}"]
        faults: list[str] = []
        for want, got in zip(wanted, found, strict=True):
            name_and_value, _, attributes = got.partition("; ")
            name, _, value = name_and_value.partition("=")
            if value and "%" not in value:
                faults.append(f"cookie {name} is not percent-encoded: {value}")
            faults += self.compare(unquote(want), f"{name}={unquote(value)}; {attributes}", "cookie")
        return faults

    def compare(self, expected: Any, found: Any, where: str) -> list[str]:
        """What differs; placeholders match what they describe and are bound to it."""
        if isinstance(expected, dict) and isinstance(found, dict):
            if expected.keys() != found.keys():
                return [f"{where}: expected {sorted(expected)}, got {sorted(found)}"]
            return [f for key in expected for f in self.compare(expected[key], found[key], f"{where}.{key}")]
        if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
            pairs = enumerate(zip(expected, found, strict=True))
            return [f for i, (want, got) in pairs for f in self.compare(want, got, f"{where}[{i}]")]
        if isinstance(expected, str) and isinstance(found, str):
            return [] if self.matches(expected, found) else [f"{where}: expected {expected}, got {found}"]
        if expected == "<milliseconds>":
            return [] if isinstance(found, int) and found > 0 else [f"{where}: no milliseconds: {found!r}"]
        if expected != found or type(expected) is not type(found):
            return [f"{where}: expected {expected!r}, got {found!r}"]
        return []

    def matches(self, expected: str, found: str) -> bool:
        expected = expected.replace("{BASE}", self.app.url)
        if when := re.fullmatch(r"<iso:now(?:\+(?:(\d+)d|(\d+)h|(\d+)min))?>", expected):
            days, hours, minutes = (int(number or 0) for number in when.groups())
            return is_date(found, timedelta(days=days, hours=hours, minutes=minutes))
        parts = re.split(r"(<[a-z0-9:-]+>|true)", expected)
        pattern = "".join(self.meaning(part) for part in parts)
        match = re.fullmatch(pattern, found)
        if match is None:
            return False
        for name, value in match.groupdict().items():
            if name != "signature":
                kind, _, number = name.rpartition("_")
                self.bound[f"<{kind.replace('_', '-')}:{number}>"] = value
        if "<signature>" in expected:
            signed = re.search(r"(?:^|=)([\w:-]+)\.([A-Za-z0-9+/]{43}=)", found)
            return signed is not None and signature(signed[1]) == signed[2]
        return True

    def meaning(self, part: str) -> str:
        if part in PATTERNS:
            return PATTERNS[part]
        if part in self.bound:
            return re.escape(self.bound[part])
        if placeholder := re.fullmatch(r"<(token|id|kid):(\d+)>", part):
            return rf"(?P<{placeholder[1]}_{placeholder[2]}>[A-Za-z0-9]{{32}})"
        if placeholder := re.fullmatch(r"<api-key:(\d+)>", part):
            return rf"(?P<api_key_{placeholder[1]}>[A-Za-z0-9_-]*[A-Za-z]{{64}})"
        return re.escape(part)


def expected_headers(capture: Mapping[str, Any]) -> dict[str, str]:
    headers = dict(capture["response"]["headers"])
    if capture["response"]["body"] is None and "set-auth-jwt" in headers:
        del headers["set-auth-jwt"], headers["access-control-expose-headers"]
    return headers


def is_date(text: str, ahead: timedelta) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text):
        return False
    return abs(datetime.fromisoformat(text) - datetime.now(UTC) - ahead) < timedelta(minutes=2)
