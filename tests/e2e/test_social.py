"""Sign-in with an OpenID Connect issuer, end to end: real provider, real service, a client that follows the pages."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest
from testbed.oidc_server import Browser, OidcServer
from testbed.servers import Service

from tests.e2e.people import PASSWORD, Person, run_sql


@pytest.fixture(scope="module")
def oidc() -> Iterator[OidcServer]:
    with OidcServer() as server:
        yield server


@pytest.fixture(scope="module")
def service(oidc: OidcServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("social"), **oidc.variables(), RATE_LIMITS="off").start()
    yield running
    running.stop()
    # Nothing of what went between us and the provider may be in the log, nor any fault of ours.
    log = running.log()
    for word in ("code=", "state=", "Bearer ", "eyJhbGci", "Traceback", oidc.client_secret):
        assert word not in log, word


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service.url)


def rows(service: Service, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{service.data_dir}/central.db?mode=ro", uri=True) as db:
        return db.execute(sql, values).fetchall()


def verify_address(service: Service, email: str) -> None:
    """As if its user had answered a mail."""
    with sqlite3.connect(service.data_dir / "central.db", timeout=30) as db:
        assert db.execute('UPDATE user SET "emailVerified" = 1 WHERE email = ?', (email,)).rowcount == 1


def sign_up(browser: Browser, email: str) -> str:
    reply = browser.post("sign-up/email", {"name": "N", "email": email, "password": PASSWORD})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["user"]["id"])


def person(browser: Browser) -> Person:
    session = browser.session
    return Person(browser.service_url, session["user"]["email"], session["user"]["id"], session["session"]["token"])


def changed(url: str, **changes: str | None) -> str:
    """The address with other values in its query; None takes one away."""
    parts = urlsplit(url)
    values = {**dict(parse_qsl(parts.query)), **changes}
    query = urlencode({name: value for name, value in values.items() if value is not None})
    return urlunsplit(parts._replace(query=query))


def test_somebody_new_gets_a_user_and_a_database_and_comes_back_to_them(browser: Browser) -> None:
    assert browser.sign_in("new") == "/welcome"
    user = browser.session["user"]
    assert (user["email"], user["emailVerified"], user["name"]) == ("new@example.com", True, "Oidc new")
    assert user["image"].endswith("/avatar.png")
    assert person(browser).credentials()["status"] == "ready"
    again = Browser(browser.service_url)
    assert again.sign_in("new") == "/dash"
    assert again.session["user"]["id"] == user["id"]


def test_the_question_carries_what_protects_the_answer(browser: Browser, oidc: OidcServer) -> None:
    asked = [parse_qs(urlsplit(browser.start()).query) for _ in range(2)]
    for query in asked:
        assert query["code_challenge_method"] == ["S256"]
        assert query["response_type"] == ["code"]
        assert query["scope"] == ["openid email profile"]
        assert query["client_id"] == [oidc.client_id]
    for secret in ("state", "nonce", "code_challenge"):
        one, other = asked[0][secret], asked[1][secret]
        assert one != other
        assert len(one[0]) >= 32


def test_nothing_of_the_providers_is_kept_but_who_it_was(browser: Browser, service: Service) -> None:
    browser.sign_in("kept")
    found = rows(
        service,
        'SELECT "accountId", "accessToken", "refreshToken", "idToken", scope, password FROM account'
        ' WHERE "providerId" = ? AND "accountId" = ?',
        "oidc",
        "kept",
    )
    assert found == [("kept", None, None, None, "openid,email,profile", None)]
    assert rows(service, "SELECT value FROM verification WHERE identifier LIKE 'auth-state:%kept%'") == []


def test_a_waiting_try_is_worth_nothing_to_who_reads_the_database(browser: Browser, service: Service) -> None:
    query = parse_qs(urlsplit(browser.start()).query)
    text = repr(rows(service, "SELECT * FROM verification"))
    for secret in ("state", "nonce", "code_challenge"):
        assert query[secret][0] not in text
    assert "verifier" not in text.lower()


def test_a_code_works_once(browser: Browser) -> None:
    back = browser.consent(browser.start(), "once")
    state_cookie = browser.service.cookies
    kept = {cookie.name: cookie.value or "" for cookie in state_cookie.jar}
    assert browser.come_back(back) == "/welcome"
    replayed = httpx.get(back, cookies=kept)
    assert replayed.headers["location"].endswith("/api/auth/error?error=state_mismatch")
    assert "session_token" not in replayed.headers.get("set-cookie", "")


def test_an_answer_is_for_the_browser_that_asked(browser: Browser, service: Service) -> None:
    """Else an attacker's link would sign a visitor in as the attacker."""
    back = browser.consent(browser.start(), "attacker")
    victim = Browser(service.url)
    assert victim.come_back(back) == "/oops?error=state_mismatch"
    victim.start()  # a try of their own makes no difference
    assert victim.come_back(back) == "/oops?error=state_mismatch"
    assert victim.session is None
    assert browser.come_back(back) == "/welcome", "the victim's visit must not have used it up"


def test_a_code_of_another_try_is_refused(browser: Browser, service: Service) -> None:
    """An injected code: PKCE ties it to the question it answered."""
    attacker = Browser(service.url)
    stolen = parse_qs(urlsplit(attacker.consent(attacker.start(), "victim-of-injection")).query)["code"][0]
    back = browser.consent(browser.start(), "injector")
    assert browser.come_back(changed(back, code=stolen)) == "/oops?error=invalid_code"
    assert browser.session is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code": None}, "no_code"),
        ({"code": "made-up"}, "invalid_code"),
        ({"iss": "https://evil.example"}, "issuer_mismatch"),
        ({"iss": None}, "issuer_missing"),
        ({"error": "access_denied", "code": None}, "access_denied"),
        ({"error": "<script>alert(1)</script>"}, "invalid_callback_request"),
    ],
)
def test_an_answer_that_is_not_right_ends_at_the_apps_error_page(
    browser: Browser, changes: dict[str, str | None], error: str
) -> None:
    back = browser.consent(browser.start(errorCallbackURL="/oops?from=here#part"), "wrong-answer")
    assert browser.come_back(changed(back, **changes)) == f"/oops?from=here&error={error}#part"
    assert browser.session is None


def test_without_a_state_that_we_know_it_ends_at_our_own_page(browser: Browser) -> None:
    home = f"{browser.service_url}/api/auth"
    assert browser.come_back("/api/auth/callback/oidc?code=x&state=zzz") == f"{home}/error?error=state_mismatch"
    assert browser.come_back("/api/auth/callback/oidc?code=x") == f"{home}/error?error=state_not_found"
    for bad in ("code=x&code=y&state=z", f"state={'s' * 5000}", "state=a&state=b"):
        found = browser.come_back(f"/api/auth/callback/oidc?{bad}")
        assert found == f"{home}/error?error=invalid_callback_request"
    page = browser.service.get("/api/auth/error", params={"error": "<script>x</script>\r\n"})
    assert page.headers["content-type"].startswith("text/plain")
    assert "<" not in page.text


def test_another_providers_answer_is_not_taken(browser: Browser) -> None:
    back = browser.consent(browser.start(), "mixed-up")
    assert browser.come_back(back.replace("/callback/oidc", "/callback/github")) == "/oops?error=state_mismatch"


def test_a_form_post_becomes_the_browsers_own_request(browser: Browser) -> None:
    back = browser.consent(browser.start(), "posted")
    query = dict(parse_qsl(urlsplit(back).query))
    bounced = httpx.post(f"{browser.service_url}/api/auth/callback/oidc", data=query)  # no cookies come along
    assert bounced.status_code == 302
    assert browser.come_back(bounced.headers["location"]) == "/welcome"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "/%2fevil.example", "javascript:x"]
)
@pytest.mark.parametrize("field", ["callbackURL", "newUserCallbackURL", "errorCallbackURL"])
def test_nobody_is_sent_to_a_page_that_is_not_trusted(browser: Browser, field: str, target: str) -> None:
    reply = browser.post("sign-in/social", {"provider": "oidc", field: target})
    assert reply.status_code == 403, reply.text


def test_an_owner_vouched_for_by_an_issuer_puts_out_whoever_signed_up_with_their_address(
    browser: Browser, service: Service
) -> None:
    """They must not share the account, and a stranger must not keep an owner out either."""
    email = "taken-over@example.com"
    stranger = Browser(service.url)
    user_id = sign_up(stranger, email)
    key = stranger.post("api-key/create", {}).json()["key"]
    before = person(stranger).credentials()
    run_sql(before, CARD)
    assert browser.sign_in("taken-over") == "/dash"
    assert browser.session["user"]["id"] == user_id
    assert browser.session["user"]["emailVerified"] is True
    after = person(browser).credentials()
    assert after["db_name"] == before["db_name"]
    assert run_sql(after, "SELECT name FROM decks") == [["word"]], "the rows stay"
    assert stranger.session is None
    credentials = {"email": email, "password": PASSWORD}
    assert Browser(service.url).post("sign-in/email", credentials).status_code == 401
    keyed = httpx.get(f"{service.url}/databases/user", headers={"x-api-key": key}, timeout=30)
    assert keyed.status_code == 401, keyed.text
    ways = rows(service, 'SELECT "providerId", "vouchedFor" FROM account WHERE "userId" = ?', user_id)
    assert ways == [("oidc", email)]
    told = rows(service, "SELECT action FROM audit_entry WHERE target = ?", f"user:{user_id}")
    assert {("user.account_linked",), ("user.email_verified",), ("user.access_ended",)} <= set(told)


def test_an_owner_who_comes_twice_at_once_puts_the_stranger_out_once(service: Service) -> None:
    """And the stranger signs in all the while."""
    user_id = sign_up(Browser(service.url), "arrives-twice@example.com")
    browsers = [Browser(service.url) for _ in range(3)]
    backs = [browser.consent(browser.start(), "arrives-twice") for browser in browsers]
    credentials = {"email": "arrives-twice@example.com", "password": PASSWORD}
    with ThreadPoolExecutor(8) as pool:
        strangers = [pool.submit(Browser(service.url).post, "sign-in/email", credentials) for _ in range(4)]
        locations = list(pool.map(lambda pair: pair[0].come_back(pair[1]), zip(browsers, backs, strict=True)))
        tokens = [reply.json().get("token") for reply in (each.result() for each in strangers)]
    assert locations == ["/dash"] * 3
    assert {browser.session["user"]["id"] for browser in browsers} == {user_id}
    for token in filter(None, tokens):
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{service.url}/api/auth/get-session", headers=headers, timeout=30).json() is None
    assert rows(service, 'SELECT "providerId" FROM account WHERE "userId" = ?', user_id) == [("oidc",)]


def test_an_issuer_that_does_not_vouch_lets_nobody_in_at_an_unproved_address(
    browser: Browser, service: Service
) -> None:
    first = Browser(service.url)
    user_id = sign_up(first, "nobody@example.com")
    assert browser.sign_in("unverified-nobody") == "/oops?error=account_not_linked"
    assert first.session["user"]["id"] == user_id
    assert rows(service, 'SELECT "providerId" FROM account WHERE "userId" = ?', user_id) == [("credential",)]


def test_a_provider_that_does_not_vouch_for_the_address_links_nothing(browser: Browser, service: Service) -> None:
    owner = Browser(service.url)
    sign_up(owner, "target@example.com")
    verify_address(service, "target@example.com")
    assert browser.sign_in("unverified-target") == "/oops?error=account_not_linked"
    assert browser.session is None


def test_an_address_verified_on_both_sides_is_one_person(browser: Browser, service: Service) -> None:
    user_id = sign_up(Browser(service.url), "both@example.com")
    verify_address(service, "both@example.com")
    assert browser.sign_in("both") == "/dash"
    assert browser.session["user"]["id"] == user_id
    assert rows(service, 'SELECT count(*) FROM account WHERE "userId" = ?', user_id) == [(2,)]


def test_an_unverified_address_makes_an_unverified_user(browser: Browser) -> None:
    assert browser.sign_in("unverified-alone") == "/welcome"
    assert browser.session["user"]["emailVerified"] is False


def test_without_an_address_there_is_no_account(browser: Browser) -> None:
    assert browser.sign_in("noemail-somebody") == "/oops?error=email_not_found"


def test_an_account_is_linked_by_who_is_signed_in(browser: Browser, service: Service) -> None:
    user_id = sign_up(browser, "linker@example.com")
    back = browser.consent(browser.start(path="link-social"), "linker")
    stranger = Browser(service.url)
    sign_up(stranger, "stranger-to-link@example.com")
    stranger.service.cookies.set("better-auth.state", browser.service.cookies["better-auth.state"])
    assert stranger.come_back(back) == "/oops?error=state_mismatch", "the link is for whoever asked for it"
    assert browser.come_back(browser.consent(browser.start(path="link-social"), "linker")) == "/dash"
    assert browser.come_back(browser.consent(browser.start(path="link-social"), "linker")) == "/dash"
    other = Browser(service.url)
    assert other.sign_in("linker") == "/dash"
    assert other.session["user"]["id"] == user_id


def test_an_identity_of_another_address_or_of_another_user_is_not_linked(browser: Browser, service: Service) -> None:
    Browser(service.url).sign_in("belongs-to-one")
    sign_up(browser, "wants-it@example.com")
    found = browser.come_back(browser.consent(browser.start(path="link-social"), "belongs-to-one"))
    assert found == "/oops?error=email_does_not_match"
    browser.leave_provider()
    found = browser.come_back(browser.consent(browser.start(path="link-social"), "unverified-wants-it"))
    assert found == "/oops?error=unable_to_link_account"


def test_the_last_way_in_is_not_removed(browser: Browser, service: Service) -> None:
    browser.sign_in("unlinker")
    ((row_id,),) = rows(service, "SELECT id FROM account WHERE \"accountId\" = 'unlinker'")
    reply = browser.post("unlink-account", {"accountId": row_id})
    assert (reply.status_code, reply.json()["code"]) == (400, "FAILED_TO_UNLINK_LAST_ACCOUNT")
    linked = Browser(service.url)
    user_id = sign_up(linked, "two-ways@example.com")
    linked.come_back(linked.consent(linked.start(path="link-social"), "two-ways"))
    assert linked.post("unlink-account", {"accountId": row_id}).json()["code"] == "ACCOUNT_NOT_FOUND"
    ((own,),) = rows(service, "SELECT id FROM account WHERE \"accountId\" = 'two-ways'")
    assert linked.post("unlink-account", {"accountId": own}).json() == {"status": True}
    assert rows(service, 'SELECT "providerId" FROM account WHERE "userId" = ?', user_id) == [("credential",)]


def test_providers_tokens_are_not_to_be_had(browser: Browser, service: Service) -> None:
    browser.sign_in("tokenless")
    ((row_id,),) = rows(service, "SELECT id FROM account WHERE \"accountId\" = 'tokenless'")
    for path, code in (
        ("get-access-token", "FAILED_TO_GET_ACCESS_TOKEN"),
        ("refresh-token", "REFRESH_TOKEN_NOT_FOUND"),
    ):
        assert browser.post(path, {"accountId": row_id}).json()["code"] == code
        assert browser.post(path, {"accountId": "nope"}).json()["code"] == "ACCOUNT_NOT_FOUND"
    info = browser.service.get("/api/auth/account-info", params={"accountId": row_id})
    assert info.json()["code"] == "ACCESS_TOKEN_NOT_FOUND"


def test_two_callbacks_at_once_make_one_user_with_one_database(service: Service) -> None:
    browsers = [Browser(service.url) for _ in range(4)]
    backs = [browser.consent(browser.start(), "racer") for browser in browsers]
    with ThreadPoolExecutor(8) as pool:
        # Each answer twice: one of the two is a replay.
        doubled = list(zip(browsers, backs, strict=True)) * 2
        locations = list(pool.map(lambda pair: pair[0].come_back(pair[1]), doubled))
    assert locations.count("/welcome") == 1
    assert locations.count("/dash") == 3
    assert sum(location.endswith("error=state_mismatch") for location in locations) == 4
    ((user_id,),) = rows(service, "SELECT id FROM user WHERE email = 'racer@example.com'")
    assert rows(service, "SELECT count(*) FROM tenant WHERE user_id = ?", user_id) == [(1,)]
    assert rows(service, "SELECT count(*) FROM account WHERE \"accountId\" = 'racer'") == [(1,)]


def test_a_banned_user_does_not_get_in_this_way(browser: Browser, service: Service) -> None:
    browser.sign_in("banned")
    with sqlite3.connect(service.data_dir / "central.db", timeout=30) as db:
        db.execute("UPDATE user SET banned = 1 WHERE email = 'banned@example.com'")
    assert Browser(service.url).sign_in("banned") == "/oops?error=banned"


CARD = "INSERT INTO decks (id, name, created_at, updated_at) VALUES ('d', 'word', 0, 0)"


def test_a_guest_who_signs_in_with_a_provider_keeps_their_database(browser: Browser, service: Service) -> None:
    """As a new user it becomes theirs; in an account that was there it is offered to them."""
    assert browser.post("sign-in/anonymous", {}).status_code == 200
    guest = person(browser)
    before = guest.credentials()
    run_sql(before, CARD)
    assert browser.sign_in("was-a-guest") == "/welcome"
    assert person(browser).user_id == guest.user_id
    assert person(browser).credentials()["db_name"] == before["db_name"]

    later = Browser(service.url)
    later.post("sign-in/anonymous", {})
    second = person(later)
    left_behind = second.credentials()
    assert later.sign_in("was-a-guest") == "/dash"
    assert person(later).credentials()["db_name"] == before["db_name"]
    offered = later.service.get("/databases/guests").json()
    assert [(item["id"], item["db_name"]) for item in offered] == [(second.user_id, left_behind["db_name"])]


def test_signing_in_with_a_provider_ends_the_session_that_the_browser_was_in(browser: Browser) -> None:
    sign_up(browser, "before@example.com")
    before = person(browser)
    browser.sign_in("comes-after")
    assert person(browser).user_id != before.user_id
    headers = {"authorization": f"Bearer {before.token}"}
    assert httpx.get(f"{browser.service_url}/api/auth/get-session", headers=headers).json() is None


def test_an_unknown_provider_is_refused(browser: Browser) -> None:
    reply = browser.post("sign-in/social", {"provider": "nope"})
    assert (reply.status_code, reply.json()["code"]) == (404, "PROVIDER_NOT_FOUND")


def test_a_provider_that_went_away_is_said_to_be_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    with OidcServer() as oidc:
        running = Service(tmp_path_factory.mktemp("away"), **oidc.variables(), RATE_LIMITS="off").start()
        try:
            browser = Browser(running.url)
            back = browser.consent(browser.start(), "left-alone")
            oidc.__exit__(None, None, None)
            assert browser.come_back(back) == "/oops?error=temporarily_unavailable"
            assert browser.session is None
            running.stop()
            running.start()  # without what was fetched
            reply = browser.post("sign-in/social", {"provider": "oidc"})
            assert reply.status_code == 503
            assert reply.json()["code"] == "IDENTITY_PROVIDER_UNAVAILABLE"
            assert httpx.get(f"{running.url}/ready").status_code == 200, "others must not notice"
        finally:
            running.stop()
