"""What providers tell us, when they lie, stall, or would have us call our neighbours."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from freehold.auth.social.errors import IdentityProviderUnavailable, SocialRefusal
from freehold.auth.social.types import Identity, Question
from freehold.identity.code_flow import Registration
from freehold.identity.oidc import Issuer as IssuerClient
from freehold.identity.oidc import Metadata, OidcProvider, google_provider
from freehold.identity.outbound import Outbound, is_public, open_outbound
from tests.simulators.evil_issuer import CLIENT_ID, CLIENT_SECRET, Issuer, a_key, evil_issuer

QUESTION = Question(
    state="s" * 32, nonce="n" * 43, code_verifier="v" * 86, redirect_uri="http://127.0.0.1/api/auth/callback/oidc"
)


class Asker:
    """A provider of ours that asks the issuer."""

    def __init__(self, issuer: Issuer, outbound: Outbound) -> None:
        self.issuer = issuer
        issuer.nonce = QUESTION.nonce
        self.outbound = outbound
        self.now = 0.0
        self.provider = self.anew()

    def anew(self, outbound: Outbound | None = None) -> OidcProvider:
        outbound = outbound or self.outbound
        us = Registration(
            provider_id="oidc", client_id=CLIENT_ID, client_secret=CLIENT_SECRET, scopes=("openid", "email")
        )
        return OidcProvider(outbound, IssuerClient(outbound, self.issuer.url, clock=lambda: self.now), us)

    async def identify(self, issuer: str = "") -> Identity:
        return await self.provider.identify("the-code", issuer, QUESTION)

    async def refusal(self, issuer: str = "") -> str:
        with pytest.raises(SocialRefusal) as refused:
            await self.identify(issuer)
        assert "the-access-token" not in str(refused.value)
        return refused.value.reason


@pytest.fixture
async def asker() -> AsyncIterator[Asker]:
    async with evil_issuer() as issuer, open_outbound([issuer.url]) as outbound:
        yield Asker(issuer, outbound)


async def test_an_honest_issuer_is_believed(asker: Asker) -> None:
    found = await asker.identify(asker.issuer.url)
    assert found == Identity(
        provider_id="oidc",
        subject="somebody",
        email="somebody@example.com",
        email_verified=True,
        name="Some Body",
        scopes=("openid", "email"),
    )
    (sent,) = [parse_qs(body.decode()) for path, _, body in asker.issuer.asked if path == "/token"]
    assert sent["code_verifier"] == [QUESTION.code_verifier]
    assert sent["grant_type"] == ["authorization_code"]


def wrong_claim(**claims: Any) -> Callable[[Issuer], None]:
    return lambda issuer: issuer.claims.update(claims)


def missing(name: str) -> Callable[[Issuer], None]:
    return lambda issuer: issuer.without.add(name)


def unsigned(header: str) -> Callable[[Issuer], None]:
    def spoil(issuer: Issuer) -> None:
        issuer.id_token = lambda token: f"{header}.{token.split('.')[1]}."

    return spoil


SPOILT: dict[str, Callable[[Issuer], None]] = {
    "for another audience": wrong_claim(aud="somebody-else"),
    "for us among others, by another party": wrong_claim(aud=[CLIENT_ID, "other"], azp="other"),
    "for us among others, by nobody": wrong_claim(aud=[CLIENT_ID, "other"]),
    "an audience of no text": wrong_claim(aud={"a": CLIENT_ID}),
    "from another issuer": wrong_claim(iss="https://evil.example"),
    "from an issuer with a slash more": lambda issuer: issuer.claims.update(iss=f"{issuer.url}/"),
    "expired": wrong_claim(exp=int(time.time()) - 3600),
    "that never expires": missing("exp"),
    "whose end is a text": wrong_claim(exp="9999999999"),
    "from the future": wrong_claim(iat=int(time.time()) + 3600),
    "not valid yet": wrong_claim(nbf=int(time.time()) + 3600),
    "of another question": wrong_claim(nonce="m" * 43),
    "of no question": missing("nonce"),
    "with an empty nonce": wrong_claim(nonce=""),
    "about nobody": missing("sub"),
    "about a number": wrong_claim(sub=5),
    "about a very long name": wrong_claim(sub="x" * 256),
    "about a NUL": wrong_claim(sub="a\0b"),
    "for another access token": wrong_claim(at_hash="x" * 22),
    "signed by a stranger": Issuer.wrong_key,
    "signed with our own secret": Issuer.with_secret,
    "signed with the public key as a secret": Issuer.with_public_key,
    "with a key of its own": Issuer.with_key_in_header,
    "unsigned": unsigned("eyJhbGciOiJub25lIn0"),  # {"alg":"none"}
    "unsigned in capitals": unsigned("eyJhbGciOiJOT05FIn0"),  # {"alg":"NONE"}
    "with another signature": lambda issuer: setattr(issuer, "id_token", lambda token: token[:-8] + "AAAAAAAA"),
    "that is none": lambda issuer: setattr(issuer, "id_token", lambda _: "x.y.z"),
    "that is absent": lambda issuer: setattr(issuer, "id_token", lambda _: ""),
    "that is a list": lambda issuer: issuer.token.update(id_token=["x"]),
}


@pytest.mark.parametrize("fault", SPOILT)
async def test_an_id_token_is_refused(asker: Asker, fault: str) -> None:
    SPOILT[fault](asker.issuer)
    assert await asker.refusal() == "unable_to_get_user_info"


async def test_an_answer_of_another_issuer_never_takes_its_code_here(asker: Asker) -> None:
    """Mix-up: the code would be handed to whom the attacker likes."""
    assert await asker.refusal("https://evil.example") == "issuer_mismatch"
    asker.issuer.metadata["authorization_response_iss_parameter_supported"] = True
    asker.provider = asker.anew()
    assert await asker.refusal() == "issuer_missing"
    assert [path for path, _, _ in asker.issuer.asked if path == "/token"] == []


async def test_a_profile_of_somebody_else_is_not_taken_for_the_id_tokens(asker: Asker) -> None:
    asker.issuer.without.add("email")
    asker.issuer.userinfo["email"] = "by-userinfo@example.com"
    assert (await asker.identify()).email == "by-userinfo@example.com"
    asker.issuer.userinfo["sub"] = "somebody-else"
    assert await asker.refusal() == "unable_to_get_user_info"


@pytest.mark.parametrize("said", [False, None, 1, "yes", "false", ["true"], {}])
async def test_what_is_not_clearly_said_to_be_verified_is_not(asker: Asker, said: Any) -> None:
    asker.issuer.claims["email_verified"] = said
    assert (await asker.identify()).email_verified is False


@pytest.mark.parametrize(
    "email", ["", "nobody", "a@b", "a@example.com\nb@example.com", 5, ["a@example.com"], "é@x.com"]
)
async def test_an_address_that_is_none_is_refused(asker: Asker, email: Any) -> None:
    asker.issuer.claims["email"] = email
    asker.issuer.userinfo["email"] = email
    assert await asker.refusal() == "email_not_found"


async def test_names_and_pictures_are_cleaned(asker: Asker) -> None:
    asker.issuer.claims.update(name="  A\0da\u2028 " + "x" * 500, picture="javascript:alert(1)")
    found = await asker.identify()
    assert found.name.startswith("Ada xxx")
    assert len(found.name) == 200
    assert found.image is None
    asker.issuer.claims.update(name=["no"], preferred_username="ada", picture="https://cdn.example/a.png")
    found = await asker.identify()
    assert (found.name, found.image) == ("ada", "https://cdn.example/a.png")


async def test_a_new_key_is_fetched_when_it_is_met_but_not_for_each_stranger(asker: Asker) -> None:
    await asker.identify()
    new = a_key("new")
    asker.issuer.signed_by, asker.issuer.header = new, {"alg": "RS256", "kid": "new"}
    asker.issuer.published = [new.as_dict(private=False), {"kty": "strange"}, {"kty": "RSA", "use": "enc"}]
    assert await asker.refusal() == "unable_to_get_user_info", "asked less than a minute ago"
    asker.now += 61
    assert (await asker.identify()).subject == "somebody"
    asker.issuer.header = {"alg": "RS256", "kid": "made-up"}
    for _ in range(5):
        assert await asker.refusal() == "unable_to_get_user_info"
    assert len([path for path, _, _ in asker.issuer.asked if path == "/jwks"]) == 2


async def test_metadata_is_kept_while_the_issuer_is_away(asker: Asker) -> None:
    await asker.identify()
    asker.now += 3601
    asker.issuer.instead["/.well-known/openid-configuration"] = (500, {}, b"", 0.0)
    assert (await asker.identify()).subject == "somebody"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": 5},
        {"token_endpoint": None},
        {"jwks_uri": []},
    ],
)
async def test_an_issuer_that_describes_itself_badly_is_not_used(asker: Asker, metadata: dict[str, Any]) -> None:
    asker.issuer.metadata = metadata
    with pytest.raises(IdentityProviderUnavailable):
        await asker.provider.authorize_url(QUESTION)


INSIDE = [
    "http://127.0.0.1:{other}/",
    "https://127.0.0.1:{other}/",
    "http://localhost:{other}/",
    "https://localhost:{other}/",
    "https://[::1]:{other}/",
    "https://[::ffff:127.0.0.1]:{other}/",
    "https://0.0.0.0:{other}/",
    "https://127.1:{other}/",
    "https://2130706433:{other}/",
    "https://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{other}/",
    "https://",
    "//127.0.0.1:{other}/",
    "",
]


@pytest.mark.parametrize("endpoint", ["token_endpoint", "jwks_uri", "userinfo_endpoint"])
@pytest.mark.parametrize("address", INSIDE)
async def test_a_document_cannot_have_us_call_our_neighbours(asker: Asker, address: str, endpoint: str) -> None:
    visits: list[str] = []  # a connection is enough, with TLS or without

    def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append("met")
        writer.close()

    neighbour = await asyncio.start_server(meet, "127.0.0.1", 0)
    port = neighbour.sockets[0].getsockname()[1]
    async with neighbour, await asyncio.start_server(meet, "::1", port):
        asker.issuer.without.add("email")  # so that userinfo is asked
        asker.issuer.metadata[endpoint] = address.replace("{other}", str(port))
        if endpoint == "userinfo_endpoint" and not address:
            assert await asker.refusal() == "email_not_found"
            return
        with pytest.raises(IdentityProviderUnavailable):
            await asker.identify()
        assert visits == []


async def test_redirects_are_not_followed(asker: Asker) -> None:
    async with evil_issuer() as neighbour:
        elsewhere = {"location": f"{neighbour.url}/token"}
        for path, ends in (("/token", SocialRefusal), ("/jwks", IdentityProviderUnavailable)):
            asker.issuer.instead = {path: (307, elsewhere, b"{}", 0.0)}
            with pytest.raises(ends):
                await asker.anew().identify("the-code", "", QUESTION)
        assert neighbour.asked == []


HUGE = b"{" + b" " * 600_000 + b"}"


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks"])
@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b"", 0.0),
        (200, {}, HUGE, 0.0),
        (200, {"content-encoding": "gzip"}, gzip.compress(b" " * 50_000_000), 0.0),
        (200, {}, b'{"a":' + b" " * 100_000, 0.05),  # a byte now and then
    ],
    ids=["broken", "huge", "a bomb", "slow"],
)
async def test_an_answer_that_is_broken_huge_or_slow_holds_nobody_up(
    asker: Asker, path: str, answer: tuple[int, dict[str, str], bytes, float]
) -> None:
    asker.issuer.instead[path] = answer
    hasty = replace(asker.outbound, timeout_s=0.5)
    async with asyncio.timeout(20):  # a day's worth of bytes would come
        with pytest.raises(IdentityProviderUnavailable):
            await asker.anew(hasty).identify("the-code", "", QUESTION)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"5", b'"x"', b"<html>", b"[" * 100_000, b'{"a":"\xff"}'])
async def test_an_answer_that_is_no_object_is_no_fault_of_ours(asker: Asker, body: bytes) -> None:
    for path in ("/.well-known/openid-configuration", "/token", "/jwks"):
        asker.issuer.instead = {path: (200, {}, body, 0.0)}
        with pytest.raises((IdentityProviderUnavailable, SocialRefusal)):
            await asker.anew().identify("the-code", "", QUESTION)


@pytest.mark.parametrize(
    ("email", "hosted", "is_verified"),
    [("a@gmail.com", None, True), ("a@works.example", "works.example", True), ("a@other.example", None, False)],
)
async def test_google_vouches_only_for_addresses_that_it_gives_out(
    asker: Asker, email: str, hosted: str | None, is_verified: bool
) -> None:
    url = asker.issuer.url
    metadata = Metadata(
        issuer=url,
        aliases=("accounts.google.com",),
        authorization_endpoint=f"{url}/authorize",
        token_endpoint=f"{url}/token",
        jwks_uri=f"{url}/jwks",
    )
    google = google_provider(asker.outbound, CLIENT_ID, CLIENT_SECRET, metadata)
    asker.issuer.claims.update(email=email, iss="accounts.google.com", **({"hd": hosted} if hosted else {}))
    found = await google.identify("the-code", "", QUESTION)
    assert (found.provider_id, found.email_verified) == ("google", is_verified)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "2001:0:0:0:0:0:f5ff:fffe",
    ],
)
def test_addresses_inside_are_not_public(address: str) -> None:
    from ipaddress import ip_address

    assert not is_public(ip_address(address))


def test_addresses_outside_are_public() -> None:
    from ipaddress import ip_address

    for address in ("140.82.121.4", "2606:4700::1111", "::ffff:140.82.121.4"):
        assert is_public(ip_address(address))
