"""Signed cookies and bearer tokens."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from freehold.auth.sessions import cookies as cookies_module
from freehold.auth.sessions.cookies import SessionCookies

VECTOR = json.loads((Path(__file__).parents[1] / "contract/captures/better_auth.json").read_text())["vectors"][
    "cookie_signature"
]
TOKEN = VECTOR["token"]


@pytest.fixture
def cookies() -> SessionCookies:
    return SessionCookies(VECTOR["secret"], "http://127.0.0.1:8000")


def cookie_of(cookies: SessionCookies, token: str = TOKEN) -> str:
    return cookies.setting(token)[0].split(";")[0]


def test_signs_as_better_auth_does(cookies: SessionCookies) -> None:
    assert cookies.sign(TOKEN) == f"{TOKEN}.{VECTOR['signature_base64']}"
    assert cookie_of(cookies) == f"better-auth.session_token={VECTOR['cookie_value']}"


def test_reads_its_own_cookie_among_others(cookies: SessionCookies) -> None:
    for _ in range(2):  # the second time from memory
        found = cookies.presented(None, f"a=b; {cookie_of(cookies)}; c=d=e; f")
        assert found is not None
        assert (found.token, found.via, found.is_remembered) == (TOKEN, "cookie", True)


def test_a_bad_signature_is_no_cookie(cookies: SessionCookies) -> None:
    name, value = cookie_of(cookies).split("=", 1)
    assert cookies.presented(None, cookie_of(cookies)) is not None
    for forged in (
        TOKEN,
        f"{TOKEN}.",
        f".{value.split('.')[1]}",
        f"X{value[1:]}",
        value[:-4],
        value.replace("%3D", ""),
        quote(SessionCookies("another secret", "http://x").sign(TOKEN), safe=""),
        "",
        "%",
        "%ff%fe.\xff",
    ):
        assert cookies.presented(None, f"{name}={forged}") is None, forged


def test_of_two_cookies_of_the_name_the_valid_one_counts(cookies: SessionCookies) -> None:
    found = cookies.presented(None, f"better-auth.session_token=thrown-in; {cookie_of(cookies)}")
    assert found is not None
    assert found.token == TOKEN


def test_a_bearer_token_goes_before_a_cookie_in_each_of_its_forms(cookies: SessionCookies) -> None:
    other = cookie_of(cookies, "o" * 32)
    for text in (TOKEN, cookies.sign(TOKEN), quote(cookies.sign(TOKEN), safe="")):
        for scheme in ("Bearer", "bearer", "BEARER "):
            found = cookies.presented(f"{scheme} {text}", other)
            assert found is not None
            assert (found.token, found.via) == (TOKEN, "bearer")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic YTpi", f"Bearer {TOKEN}.AAAA", "Bearer a.b.c"]
)
def test_a_header_that_is_no_bearer_token_leaves_the_cookie(cookies: SessionCookies, authorization: str) -> None:
    found = cookies.presented(authorization, cookie_of(cookies))
    assert found is not None
    assert found.via == "cookie"
    assert cookies.presented(authorization, None) is None


def test_a_session_for_this_visit_only_says_so_in_a_signed_cookie(cookies: SessionCookies) -> None:
    session, remember_not = cookies.setting(TOKEN, is_remembered=False)
    assert "Max-Age" not in session + remember_not
    sent = "; ".join(cookie.split(";")[0] for cookie in (session, remember_not))
    found = cookies.presented(None, sent)
    assert found is not None
    assert not found.is_remembered
    unsigned = cookies.presented(None, f"{cookie_of(cookies)}; better-auth.dont_remember=true")
    assert unsigned is not None
    assert unsigned.is_remembered


def test_on_https_the_names_are_prefixed_and_the_plain_ones_ignored() -> None:
    secure = SessionCookies(VECTOR["secret"], "https://auth.example.com")
    (cookie,) = secure.setting(TOKEN)
    assert cookie.startswith("__Secure-better-auth.session_token=")
    assert cookie.endswith("; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Lax")
    sent = cookie.split(";")[0]
    assert secure.presented(None, sent) is not None
    assert secure.presented(None, sent.removeprefix("__Secure-")) is None


def test_what_is_remembered_of_cookies_is_bounded(cookies: SessionCookies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookies_module, "_KNOWN_VALUES", 10)
    for number in range(50):
        assert cookies.presented(None, cookie_of(cookies, f"{number:032}")) is not None
        assert cookies.presented(None, f"better-auth.session_token=forged-{number}.x") is None
    assert len(cookies._known) <= 10
