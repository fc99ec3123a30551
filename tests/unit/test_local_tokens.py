"""Database tokens: what opens one database, and everything that must not."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freehold.errors import NotFound
from freehold.profiles import PROFILES, Profile, narrowed
from freehold.providers.tokens import LEEWAY_S, BadToken, TokenSigner, TokenVerifier

KEY = Ed25519PrivateKey.generate()


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(clock: Clock) -> TokenVerifier:
    return TokenVerifier(KEY.public_key(), cached=3, now=clock)


def signed(**claims: Any) -> str:
    return jwt.encode({"exp": int(time.time()) + 60, **claims}, KEY, algorithm="EdDSA")


def test_a_minted_token_opens_its_database_and_no_other(verifier: TokenVerifier, clock: Clock) -> None:
    token = TokenSigner(KEY, now=clock).mint("t-1", "full", "session-1", 900)
    assert verifier.verify(token.text, "t-1").access_level == "full"
    for other in ("t-2", "", "t-1 ", "T-1", "t-1/../t-2"):
        with pytest.raises(NotFound):
            verifier.verify(token.text, other)
    claims = jwt.decode(token.text, KEY.public_key(), algorithms=["EdDSA"])
    assert claims["a"] == "rw"
    assert claims["id"] == "t-1"
    assert claims["sub"] == "session-1"
    assert claims["exp"] - claims["iat"] == 900
    assert token.expires_at.timestamp() == claims["exp"]


def test_two_tokens_are_never_the_same(clock: Clock) -> None:
    signer = TokenSigner(KEY, now=clock)
    assert signer.mint("t", "full", "s", 60).text != signer.mint("t", "full", "s", 60).text


def test_a_read_only_token_says_so(verifier: TokenVerifier, clock: Clock) -> None:
    token = TokenSigner(KEY, now=clock).mint("t-1", "read_only", "s", 900)
    assert verifier.verify(token.text, "t-1").access_level == "read_only"


def test_no_token_is_minted_with_more_than_the_most(clock: Clock) -> None:
    for most in PROFILES:
        for asked in PROFILES:
            token = TokenSigner(KEY, most=most, now=clock).mint("t", asked, "s", 60)
            claims = jwt.decode(token.text, KEY.public_key(), algorithms=["EdDSA"])
            assert token.profile == claims["profile"] == narrowed(asked, most)
            assert claims["a"] == ("rw" if token.profile in {"rows", "full"} else "ro")


@pytest.mark.parametrize("most", PROFILES)
def test_no_token_is_taken_for_more_than_the_most_whenever_it_was_minted(most: Profile, clock: Clock) -> None:
    verifier = TokenVerifier(KEY.public_key(), most=most, now=clock)
    for claims, profile in (
        ({"a": "rw", "id": "t"}, "full"),  # as before there were profiles
        ({"a": "ro", "id": "t"}, "read_only"),
        ({"p": {"rw": {"ns": ["t"]}}}, "full"),
        ({"a": "rw", "id": "t", "profile": "rows"}, "rows"),
        ({"a": "ro", "id": "t", "profile": "full"}, "read_only"),
        ({"p": {"rw": {"ns": ["t"]}}, "profile": "none"}, "none"),
    ):
        grant = verifier.verify(signed(**claims), "t")
        assert grant.profile == narrowed(profile, most)  # type: ignore[arg-type]
        assert verifier.verify_only(signed(**claims)).profile == grant.profile


@pytest.mark.parametrize("profile", [None, 1, True, "", "FULL", "admin", ["full"], {"full": 1}])
def test_a_profile_that_is_none_of_ours_opens_nothing(verifier: TokenVerifier, profile: Any) -> None:
    with pytest.raises(BadToken, match="profile"):
        verifier.verify(signed(a="rw", id="t", profile=profile), "t")


def test_a_token_expires_on_time_also_when_it_is_known(verifier: TokenVerifier, clock: Clock) -> None:
    token = TokenSigner(KEY, now=clock).mint("t-1", "full", "s", 60).text
    verifier.verify(token, "t-1")
    clock.now += 60 + LEEWAY_S - 1
    verifier.verify(token, "t-1")
    clock.now += 2
    for _ in range(2):
        with pytest.raises(BadToken, match="expired"):
            verifier.verify(token, "t-1")


def test_known_tokens_are_bounded(verifier: TokenVerifier) -> None:
    for number in range(10):
        verifier.verify(signed(a="rw", id=f"t-{number}"), f"t-{number}")
    assert len(verifier._known) == 3


def test_permissions_in_the_form_of_sqld_are_taken(verifier: TokenVerifier) -> None:
    token = signed(p={"ro": {"ns": ["a", "b"]}, "rw": {"ns": ["b"]}}, id="c", a="rw")
    assert verifier.verify(token, "a").access_level == "read_only"
    assert verifier.verify(token, "b").access_level == "full"
    with pytest.raises(NotFound):  # with `p` there, `id` and `a` count for nothing
        verifier.verify(token, "c")


@pytest.mark.parametrize("permissions", [{}, {"ro": {}}, {"roa": {"ns": ["t"]}}])
def test_empty_permissions_open_nothing(verifier: TokenVerifier, permissions: Any) -> None:
    with pytest.raises(NotFound):
        verifier.verify(signed(p=permissions, id="t", a="rw"), "t")


@pytest.mark.parametrize("permissions", [None, [], "rw", {"rw": []}, {"rw": {"ns": "t"}}, {"rw": {"ns": [1]}}])
def test_permissions_of_another_form_are_refused(verifier: TokenVerifier, permissions: Any) -> None:
    with pytest.raises(BadToken):
        verifier.verify(signed(p=permissions, id="t", a="rw"), "t")


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"a": "rw"},
        {"id": "t"},
        {"a": "rwx", "id": "t"},
        {"a": ["rw"], "id": "t"},
        {"a": None, "id": "t"},
        {"a": "rw", "id": ""},
        {"a": "rw", "id": ["t"]},
        {"a": "rw", "id": "t", "exp": "soon"},
        {"a": "rw", "id": "t", "exp": True},
        {"a": "rw", "id": "t", "exp": None},
        {"a": "rw", "id": "t", "exp": float("inf")},
        {"a": "rw", "id": "t", "exp": 1},
        {"a": "rw", "id": "t", "nbf": int(time.time()) + 3600},
    ],
)
def test_claims_that_do_not_bind_are_refused(verifier: TokenVerifier, claims: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        verifier.verify(signed(**claims), "t")


def test_a_token_without_expiry_is_refused(verifier: TokenVerifier) -> None:
    with pytest.raises(BadToken, match="exp"):
        verifier.verify(jwt.encode({"a": "rw", "id": "t"}, KEY, algorithm="EdDSA"), "t")


def _forged(header: dict[str, Any], key: bytes | None) -> str:
    claims = {"a": "rw", "id": "t", "exp": int(time.time()) + 60}

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    text = part(header) + b"." + part(claims)
    signature = hmac.new(key, text, hashlib.sha256).digest() if key else b""
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_forged_tokens_are_refused(verifier: TokenVerifier) -> None:
    public = KEY.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = public.public_bytes_raw()
    good = signed(a="rw", id="t")
    head, body, signature = good.split(".")
    widened = signed(a="ro", id="t").split(".")
    forgeries = [
        _forged({"alg": "none"}, None),
        _forged({"alg": "None", "typ": "JWT"}, None),
        _forged({"alg": "HS256"}, pem),  # the public key used as an HMAC secret
        _forged({"alg": "HS256"}, raw),
        _forged({"alg": "EdDSA"}, None),
        _forged({"alg": "EdDSA", "jwk": {"kty": "OKP"}}, raw),
        _forged({"alg": ["EdDSA"]}, raw),
        _forged({}, raw),
        jwt.encode({"a": "rw", "id": "t", "exp": 9e9}, Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{widened[1]}.{signature}",
        "",
        "....",
        "a.b.c",
        "é.é.é",
        "\ud800",
        good + "." + good,
        "x" * 5000,
    ]
    for forgery in forgeries:
        with pytest.raises(BadToken) as refused:
            verifier.verify(forgery, "t")
        assert forgery == "" or forgery not in str(refused.value)
    assert verifier.verify(good, "t").database_name == "t"
