"""OWASP ASVS 5.0, level 2, chapters V9 and V10, and V6.8: tokens, and other identity providers."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from testbed.oidc_server import Browser, OidcServer
from testbed.servers import Service

from freehold.auth.social.errors import IdentityProviderUnavailable, SocialRefusal
from freehold.auth.social.types import Identity, Question
from freehold.auth.tokens.refresh import GRACE
from freehold.identity.code_flow import Registration
from freehold.identity.oidc import Issuer, OidcProvider
from freehold.identity.outbound import Outbound
from freehold.keys import load_key
from tests.e2e.asvs_scene import AssessedService
from tests.e2e.people import PASSWORD, Person


@pytest.fixture(scope="module")
def oidc() -> Iterator[OidcServer]:
    with OidcServer() as server:
        yield server


@pytest.fixture(scope="module")
def service(oidc: OidcServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("asvs"), **oidc.variables()).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def scene(service: Service) -> AssessedService:
    return AssessedService(service)


@pytest.fixture(scope="module")
def person(scene: AssessedService) -> Person:
    found = scene.person()
    found.credentials()
    return found


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service.url)


def parts_of(token: str) -> list[Any]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def opens(credentials: dict[str, Any], token: str) -> bool:
    reply = httpx.post(
        f"{credentials['url']}v3/pipeline",
        headers={"authorization": f"Bearer {token}"},
        json={"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1"}}]},
    )
    assert reply.status_code in {200, 401, 403, 404}, reply.text
    return reply.status_code == 200


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*encoded, signature])


def test_v9_1_1_a_token_that_was_changed_is_refused(person: Person) -> None:
    found = person.credentials()
    token = found["access_token"]
    assert opens(found, token)
    header, claims = parts_of(token)
    signature = token.rpartition(".")[2]
    assert not opens(found, unsigned(header, {**claims, "exp": claims["exp"] + 9_999}, signature))
    assert not opens(found, token[:-8] + "AAAAAAAA")


def test_v9_1_2_only_our_algorithm_counts(person: Person) -> None:
    found = person.credentials()
    _, claims = parts_of(found["access_token"])
    for algorithm in ("none", "None", "HS256", "RS256"):
        assert not opens(found, unsigned({"alg": algorithm, "typ": "JWT"}, claims, "x" * 43))
    assert not opens(found, unsigned({"alg": "none"}, claims))


def test_v9_1_3_keys_named_by_a_token_are_not_used(person: Person) -> None:
    found = person.credentials()
    header, claims = parts_of(found["access_token"])
    key = Ed25519PrivateKey.generate()
    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": public}
    for named in ({"jwk": jwk}, {"jku": "http://127.0.0.1:1/jwks"}, {"x5u": "http://127.0.0.1:1/x"}, {"kid": "../x"}):
        forged = jwt.encode(claims, key, "EdDSA", headers={**header, **named})
        assert not opens(found, forged), named


def test_v9_2_1_a_token_counts_within_its_time_only(service: Service, person: Person) -> None:
    """Signed with the service's own key, so that nothing but the time is wrong."""
    found = person.credentials()
    header, claims = parts_of(found["access_token"])
    key = load_key(service.data_dir / "keys/database-tokens.pem")
    for seconds, is_good in ((60, True), (-120, False), (-86_400, False)):
        changed = {**claims, "exp": int(time.time()) + seconds}
        assert opens(found, jwt.encode(changed, key, "EdDSA", headers=header)) is is_good, seconds
    later = {**claims, "nbf": int(time.time()) + 600}
    assert not opens(found, jwt.encode(later, key, "EdDSA", headers=header))


def test_v9_2_2_a_token_counts_for_its_purpose_only(scene: AssessedService, person: Person) -> None:
    found = person.credentials()
    pair = scene.auth("login", {"email": person.email, "password": PASSWORD}).json()
    others = scene.get("/api/auth/token", person.token).json()["token"]
    for wrong in (person.token, pair["access_token"], pair["refresh_token"], others):
        assert not opens(found, wrong)
    for wrong in (found["access_token"], pair["refresh_token"], others):
        assert scene.get("/databases/user", wrong).status_code == 401
        assert scene.get("/api/auth/verify", wrong).status_code == 401
    assert scene.auth("refresh", {"refresh_token": pair["access_token"]}).status_code == 401


def test_v9_2_3_a_token_counts_for_its_audience_only(scene: AssessedService, person: Person) -> None:
    other = scene.person().credentials()
    assert not opens(other, person.credentials()["access_token"])
    _, claims = parts_of(scene.auth("login", {"email": person.email, "password": PASSWORD}).json()["access_token"])
    assert claims["aud"] == scene.service.url


def test_v9_2_4_every_token_says_whom_it_is_for(scene: AssessedService, person: Person) -> None:
    found = person.credentials()
    assert parts_of(found["access_token"])[1]["id"] == found["db_name"]
    _, claims = parts_of(scene.get("/api/auth/token", person.token).json()["token"])
    assert claims["aud"] == claims["iss"] == scene.service.url


def test_v10_1_1_a_providers_tokens_go_nowhere(browser: Browser, scene: AssessedService) -> None:
    assert browser.sign_in("v1011").startswith("/")
    found = scene.rows("""SELECT "accessToken", "refreshToken", "idToken" FROM account WHERE "providerId" = 'oidc'""")
    assert set(found) == {(None, None, None)}


def test_v10_1_2_an_answer_counts_in_the_browser_that_asked_only(browser: Browser, service: Service) -> None:
    back = browser.consent(browser.start(), "v1012")
    victim = Browser(service.url)
    assert "error=" in victim.come_back(back)
    assert victim.session is None
    assert browser.come_back(back).startswith("/")
    assert browser.session is not None


def test_v10_2_1_a_forged_answer_gets_no_token(browser: Browser) -> None:
    query = parse_qs(urlsplit(browser.start()).query)
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["state"][0]) >= 32
    forged = f"{browser.service_url}/api/auth/callback/oidc?code=stolen&state={'x' * 32}"
    assert "error=" in browser.come_back(forged)
    assert browser.session is None


def test_v10_2_2_another_issuers_answer_is_refused(browser: Browser) -> None:
    back = browser.consent(browser.start(), "v1022")
    mixed_up = (
        back.replace("iss=", "iss=http%3A%2F%2Fevil.example&was=")
        if "iss=" in back
        else f"{back}&iss=http://evil.example"
    )
    assert "error=" in browser.come_back(mixed_up)
    assert browser.session is None


def test_v10_3_1_an_access_token_is_for_this_service(scene: AssessedService, person: Person) -> None:
    pair = scene.auth("login", {"email": person.email, "password": PASSWORD}).json()
    assert scene.get("/databases/user", pair["access_token"]).status_code == 200
    assert parts_of(pair["access_token"])[1]["aud"] == scene.service.url
    _, claims = parts_of(pair["access_token"])
    key = Ed25519PrivateKey.generate()
    elsewhere = jwt.encode({**claims, "aud": "http://other.example"}, key, "EdDSA", headers={"typ": "at+jwt"})
    assert scene.get("/databases/user", elsewhere).status_code == 401


def test_v10_3_3_an_access_token_names_its_user_by_what_never_changes(scene: AssessedService, person: Person) -> None:
    pair = scene.auth("login", {"email": person.email, "password": PASSWORD}).json()
    _, claims = parts_of(pair["access_token"])
    assert (claims["sub"], claims["iss"]) == (person.user_id, scene.service.url)
    assert scene.get("/databases/user", pair["access_token"]).json()["user_id"] == person.user_id


def test_v10_4_5_a_refresh_token_is_used_once(scene: AssessedService, person: Person) -> None:
    first = scene.auth("login", {"email": person.email, "password": PASSWORD}).json()
    second = scene.auth("refresh", {"refresh_token": first["refresh_token"]}).json()
    assert second["refresh_token"] != first["refresh_token"]
    # Two at the same moment are no theft; what is used later is.
    scene.change("UPDATE refresh_token SET used_at = '2020-01-01T00:00:00.000Z' WHERE used_at IS NOT NULL")
    assert GRACE.total_seconds() <= 60
    assert scene.auth("refresh", {"refresh_token": first["refresh_token"]}).status_code == 401
    assert scene.auth("refresh", {"refresh_token": second["refresh_token"]}).status_code == 401


def test_v10_5_1_an_id_token_answers_its_own_question(browser: Browser) -> None:
    asked = [parse_qs(urlsplit(browser.start()).query)["nonce"][0] for _ in range(2)]
    assert asked[0] != asked[1]
    assert all(len(nonce) >= 32 for nonce in asked)


def test_v10_5_2_a_person_is_who_the_provider_says_by_subject(
    browser: Browser, scene: AssessedService, service: Service
) -> None:
    browser.sign_in("v1052")
    user_id = browser.session["user"]["id"]
    found = scene.rows("""SELECT "providerId", "accountId" FROM account WHERE "userId" = ?""", user_id)
    assert found == [("oidc", "v1052")]
    scene.change("""UPDATE "user" SET email = 'renamed-v1052@example.com' WHERE id = ?""", user_id)
    again = Browser(service.url)
    again.sign_in("v1052")
    assert again.session["user"]["id"] == user_id


def test_v6_8_1_identities_of_two_providers_are_never_mixed_up(scene: AssessedService, browser: Browser) -> None:
    """The same subject at another provider is another identity; at the same one it belongs to one user."""
    browser.sign_in("v681")
    owner = browser.session["user"]["id"]
    other = scene.person()
    row = """INSERT INTO account (id, "accountId", "providerId", "userId", "createdAt", "updatedAt")
             VALUES (?, 'v681', ?, ?, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z')"""
    scene.change(row, "v681-a", "elsewhere", other.user_id)
    with pytest.raises(Exception, match="UNIQUE"):
        scene.change(row, "v681-b", "oidc", other.user_id)
    again = Browser(browser.service_url)
    again.sign_in("v681")
    assert again.session["user"]["id"] == owner


ISSUER = "http://issuer.example"
QUESTION = Question(state="s" * 32, nonce="n" * 32, code_verifier="v" * 64, redirect_uri="http://us.example/cb")
US = Registration(provider_id="oidc", client_id="us", client_secret="secret", scopes=("openid",))
KEY = Ed25519PrivateKey.generate()


async def who_is(id_token: str, named: str = ISSUER) -> Identity:
    """What we make of an issuer that answers with this token, and calls itself by this name."""

    def answer(request: httpx.Request) -> httpx.Response:
        public = base64.urlsafe_b64encode(KEY.public_key().public_bytes_raw()).rstrip(b"=").decode()
        pages = {
            "/.well-known/openid-configuration": {
                "issuer": named,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/jwks",
            },
            "/jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": public, "kid": "k"}]},
            "/token": {"access_token": "a", "token_type": "Bearer", "id_token": id_token},
        }
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(pages[request.url.path]).encode()))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        outbound = Outbound(http)
        return await OidcProvider(outbound, Issuer(outbound, ISSUER), US).identify("code", ISSUER, QUESTION)


# Issuers go on signing with what RFC 9864 renames, and joserfc warns of it.
_signed_as_some_issuers_do = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


def id_token(key: Any = KEY, algorithm: str = "EdDSA", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "1", "aud": "us", "nonce": QUESTION.nonce, "iat": now, "exp": now + 60,
              "email": "a@example.com"}  # fmt: skip
    return jwt.encode({**claims, **changes}, key, algorithm, headers={"kid": "k"})


@_signed_as_some_issuers_do
async def test_v6_8_2_only_signed_assertions_count() -> None:
    assert (await who_is(id_token())).subject == "1"
    public = KEY.public_key().public_bytes_raw()
    for forged in (
        id_token(Ed25519PrivateKey.generate()),
        id_token("", "none"),
        id_token(public, "HS256"),
        id_token().rpartition(".")[0] + ".",
        "",
    ):
        with pytest.raises(SocialRefusal):
            await who_is(forged)


@_signed_as_some_issuers_do
async def test_v10_5_3_an_issuer_speaks_for_itself_only() -> None:
    with pytest.raises(IdentityProviderUnavailable, match="another name"):
        await who_is(id_token(), named="http://bank.example")
    with pytest.raises(SocialRefusal):
        await who_is(id_token(iss="http://bank.example"))


@_signed_as_some_issuers_do
async def test_v10_5_4_an_id_token_for_another_client_is_refused() -> None:
    for audience in ("another", ["another"], "", "us2"):
        with pytest.raises(SocialRefusal):
            await who_is(id_token(aud=audience))
