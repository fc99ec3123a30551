"""Access tokens: which are taken, and every way in which one is not genuine."""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import replace

from freehold.auth.errors import BadAccessToken
from freehold.auth.tokens.jwts import Jwts
from freehold.auth.tokens.signing_keys import SigningKey
from freehold.auth.types import Session, SignedIn, User
from freehold.dates import to_iso
from tests.unit.test_auth_signing_keys import Clock, Keys, process

ISSUER = "https://auth.example.com"


def signed_in(clock: Clock) -> SignedIn:
    now = to_iso(clock.now)
    user = User(user_id="u1", name="Ada", email="ada@example.com", created_at=now, updated_at=now)
    session = Session(session_id="s1", token="t1", user_id="u1", expires_at=now, created_at=now, updated_at=now)
    return SignedIn(user=user, session=session, expires_at=clock.now + timedelta(days=7))


class Forge:
    """Somebody who has seen a genuine token and knows all that is public."""

    def __init__(self, genuine: str, key: SigningKey) -> None:
        self.header: dict[str, Any] = jwt.get_unverified_header(genuine)
        self.claims: dict[str, Any] = jwt.decode(genuine, options={"verify_signature": False})
        self.signature = genuine.rpartition(".")[2]
        self.key = key
        self.public = key.private_key.public_key()

    def signed(self, header: dict[str, Any] | None = None, key: Any = None, **changed: Any) -> str:
        claims = {name: value for name, value in {**self.claims, **changed}.items() if value is not None}
        headers = {**self.header, **(header or {})}
        return jwt.encode(claims, key or self.key.private_key, "EdDSA", headers=headers)

    def raw(self, header: dict[str, Any], signature: str = "") -> str:
        return f"{encoded(header)}.{encoded(self.claims)}.{signature}"

    def by_hmac(self, secret: bytes) -> str:
        text = f"{encoded({**self.header, 'alg': 'HS256'})}.{encoded(self.claims)}"
        digest = hmac.digest(secret, text.encode(), "sha256")
        return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


STRANGER = Ed25519PrivateKey.generate()
JWK = {"kty": "OKP", "crv": "Ed25519", "x": encoded({})}

FORGED: dict[str, Callable[[Forge], str]] = {
    "alg none": lambda f: f.raw({**f.header, "alg": "none"}),
    "alg None": lambda f: f.raw({**f.header, "alg": "None"}),
    "alg none with a signature": lambda f: f.raw({**f.header, "alg": "none"}, f.signature),
    "no alg": lambda f: f.raw({"kid": f.header["kid"], "typ": "at+jwt"}, f.signature),
    "HS256 with the public key": lambda f: f.by_hmac(f.public.public_bytes(Encoding.Raw, PublicFormat.Raw)),
    "HS256 with its PEM": lambda f: f.by_hmac(f.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
    "HS256 with nothing": lambda f: f.by_hmac(b""),
    "another key": lambda f: f.signed(key=STRANGER),
    "another key under its own kid": lambda f: f.signed({"kid": "mine"}, STRANGER),
    "a key in the header": lambda f: f.signed({"kid": "mine", "jwk": JWK}, STRANGER),
    "a key at an address": lambda f: f.signed({"kid": "mine", "jku": "https://evil.example/jwks"}, STRANGER),
    "a certificate at an address": lambda f: f.signed({"kid": "x", "x5u": "https://evil.example"}, STRANGER),
    "a kid that is a path": lambda f: f.signed({"kid": "../../dev/null"}),
    "a kid that is SQL": lambda f: f.signed({"kid": "' UNION SELECT 'AAAA' --"}),
    "an empty kid": lambda f: f.signed({"kid": ""}),
    "a kid that is a number": lambda f: f.raw({**f.header, "kid": 1}, f.signature),
    "a kid that is a list": lambda f: f.raw({**f.header, "kid": [f.header["kid"]]}, f.signature),
    "no kid": lambda f: f.raw({"alg": "EdDSA", "typ": "at+jwt"}, f.signature),
    "critical extensions": lambda f: f.signed({"crit": ["exp"]}),
    "a JWT for others": lambda f: f.signed({"typ": None}),
    "the type JWT": lambda f: f.signed({"typ": "JWT"}),
    "another issuer": lambda f: f.signed(iss="https://evil.example"),
    "no issuer": lambda f: f.signed(iss=None),
    "another audience": lambda f: f.signed(aud="https://evil.example"),
    "several audiences": lambda f: f.signed(aud=["https://evil.example", ISSUER]),
    "no audience": lambda f: f.signed(aud=None),
    "no session": lambda f: f.signed(sid=None),
    "a session that is a number": lambda f: f.signed(sid=1),
    "no user": lambda f: f.signed(sub=None),
    "no expiry": lambda f: f.signed(exp=None),
    "an expiry that is a text": lambda f: f.signed(exp="2099-01-01"),
    "expired": lambda f: f.signed(exp=f.claims["iat"]),
    "not valid yet": lambda f: f.signed(nbf=4_000_000_000),
    "the payload exchanged": lambda f: f.raw(f.header, f.signature),
    "no signature": lambda f: f.raw(f.header),
    "too long": lambda f: f.signed(more="x" * 5000),
    "not a JWT": lambda _: "a.b.c",
    "nothing": lambda _: "",
    "only dots": lambda _: "..",
    "bad base64": lambda _: "\u0661.\ud800.=",
    "deep JSON": lambda f: f"{base64.urlsafe_b64encode(b'[' * 2000).decode()}.{encoded(f.claims)}.x",
}


@pytest.mark.parametrize("way", FORGED)
async def test_a_token_that_is_not_genuine_is_refused(way: str) -> None:
    clock = Clock()
    keys = process(Keys(), clock)
    jwts = Jwts(keys, ISSUER, clock)
    genuine = (await jwts.access_token(signed_in(clock))).text
    forge = Forge(genuine, await keys.signer())
    assert (await jwts.read_access_token(forge.signed())).session_id == "s1", "the forge itself works"
    if way == "the payload exchanged":
        forge.claims["sub"] = "somebody-else"
    with pytest.raises(BadAccessToken) as caught:
        await jwts.read_access_token(FORGED[way](forge))
    assert "token" in str(caught.value)
    assert genuine not in str(caught.value)


async def test_an_access_token_lives_fifteen_minutes_and_not_a_second_more() -> None:
    clock = Clock()
    jwts = Jwts(process(Keys(), clock), ISSUER, clock)
    token = await jwts.access_token(signed_in(clock))
    clock.now += timedelta(minutes=15, seconds=-1)
    assert (await jwts.read_access_token(token.text)).expires_at == token.expires_at
    clock.now += timedelta(seconds=1)
    with pytest.raises(BadAccessToken):
        await jwts.read_access_token(token.text)
    assert token.text not in repr(token)


async def test_a_token_outlives_a_rotation_but_not_one_at_once() -> None:
    clock = Clock()
    keys = process(Keys(), clock)
    jwts = Jwts(keys, ISSUER, clock)
    token = (await jwts.access_token(signed_in(clock))).text
    clock.now += timedelta(seconds=1)
    await keys.rotate()
    assert (await jwts.read_access_token(token)).user_id == "u1"
    await keys.rotate(at_once=True)
    with pytest.raises(BadAccessToken):
        await jwts.read_access_token(token)


async def test_what_is_told_of_a_user_is_never_older_than_a_minute_or_than_the_last_change() -> None:
    clock = Clock()
    keys = process(Keys(), clock)
    jwts = Jwts(keys, ISSUER, clock)
    user = signed_in(clock).user
    first = await jwts.of_user(user)
    clock.now += timedelta(seconds=59)
    assert await jwts.of_user(user) == first
    renamed = await jwts.of_user(replace(user, name="Grace"))
    assert jwt.decode(renamed, options={"verify_signature": False})["name"] == "Grace"
    clock.now += timedelta(seconds=60)
    later = await jwts.of_user(replace(user, name="Grace"))
    assert later != renamed
    await keys.rotate()
    assert jwt.get_unverified_header(await jwts.of_user(replace(user, name="Grace"))) != (
        jwt.get_unverified_header(later)
    )


async def test_what_others_are_told_opens_nothing_here() -> None:
    clock = Clock()
    jwts = Jwts(process(Keys(), clock), ISSUER, clock)
    with pytest.raises(BadAccessToken):
        await jwts.read_access_token(await jwts.of_user(signed_in(clock).user))
