"""An OpenID Connect issuer that lies, for a real one cannot be had to. Honest answers: OpenID Connect Core 1.0.

What a test wants wrong it puts into `Issuer`'s fields; the rest is right.
"""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, RSAKey
from tests.support.serving import listen, serving

CLIENT_ID, CLIENT_SECRET = "freehold-client", "a client's secret of good length"


def a_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


_RIGHT_KEY, _WRONG_KEY = a_key("right"), a_key("right")


@dataclass
class Issuer:
    """The state of one issuer. Members of `claims`, `metadata` and `token` replace those of honest answers."""

    url: str = ""
    nonce: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    without: set[str] = field(default_factory=set)
    metadata: dict[str, Any] = field(default_factory=dict)
    token: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "right"})
    signed_by: Key = field(default_factory=lambda: _RIGHT_KEY)
    published: list[dict[str, Any]] = field(default_factory=list)
    id_token: Callable[[str], str] = str  # what becomes of it on its way
    # Instead of the honest answer at a path: status, headers, body, and how long until each byte of it.
    instead: dict[str, tuple[int, dict[str, str], bytes, float]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def answer(self, path: str) -> Any:
        match path:
            case "/.well-known/openid-configuration":
                return {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "jwks_uri": f"{self.url}/jwks",
                    "userinfo_endpoint": f"{self.url}/userinfo",
                    **self.metadata,
                }
            case "/jwks":
                return {"keys": self.published or [_RIGHT_KEY.as_dict(private=False)]}
            case "/token":
                return {
                    "access_token": "the-access-token",
                    "token_type": "Bearer",
                    "expires_in": 60,
                    "id_token": self.id_token(self._signed()),
                    **self.token,
                }
            case "/userinfo":
                return {"sub": "somebody", "email": "somebody@example.com", "email_verified": True, **self.userinfo}
        return {}

    def wrong_key(self) -> None:
        """Sign with a key of the same name that is not published."""
        self.signed_by = _WRONG_KEY

    def with_secret(self) -> None:
        """Sign with what every client knows."""
        self.signed_by, self.header = OctKey.import_key(CLIENT_SECRET), {"alg": "HS256", "kid": "right"}

    def with_public_key(self) -> None:
        """The classic: the public key taken for a shared secret."""
        pem = _RIGHT_KEY.as_pem(private=False)  # libraries refuse to sign with it, so it is done by hand

        def forged(token: str) -> str:
            header = _base64(b'{"alg":"HS256","kid":"right"}')
            text = f"{header}.{token.split('.')[1]}"
            return f"{text}.{_base64(hmac.digest(pem, text.encode(), 'sha256'))}"

        self.id_token = forged

    def with_key_in_header(self) -> None:
        """A key that the token itself brings along."""
        own = ECKey.generate_key("P-256")
        self.signed_by, self.header = own, {"alg": "ES256", "jwk": own.as_dict(private=False)}

    def _signed(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "somebody",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 60,
            "nonce": self.nonce,
            "email": "somebody@example.com",
            "email_verified": True,
            "name": "Some Body",
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if name not in self.without}
        try:
            return jwt.encode(self.header, claims, self.signed_by, algorithms=[self.header["alg"]])
        except ValueError:
            return ""


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@asynccontextmanager
async def evil_issuer() -> AsyncIterator[Issuer]:
    """One on a free loopback port."""
    listener, url = listen()
    issuer = Issuer(url=url)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["path"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        issuer.asked.append((path, headers, body))
        status, more, content, pause_s = issuer.instead.get(path) or (
            200,
            {},
            json.dumps(issuer.answer(path)).encode(),
            0.0,
        )
        kept = {"content-type": "application/json", **more}
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in kept.items()],
            }
        )
        if not pause_s:
            await send({"type": "http.response.body", "body": content})
            return
        for byte in content:
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await asyncio.sleep(pause_s)

    async with serving(app, listener):
        yield issuer
