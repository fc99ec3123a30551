"""The cookie cache: better-auth's own helper reads it, and unlike there it outlives no revocation."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from urllib.parse import unquote

import httpx
import pytest
from testbed.servers import ROOT, Service, run_node

from tests.e2e.people import PASSWORD

SECRET = "s" * 40
_SESSION, _DATA = "better-auth.session_token", "better-auth.session_data"


@pytest.fixture(scope="module", params=["compact", "jwt"])
def cached(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(
        tmp_path_factory.mktemp("cached"), SESSION_COOKIE_CACHE=request.param, BETTER_AUTH_SECRET=SECRET
    ).start()
    yield running
    running.stop()


def sign_up(service: Service, email: str, **more: object) -> httpx.Response:
    body = {"name": "Ädä ا", "email": email, "password": PASSWORD, **more}
    reply = httpx.post(f"{service.url}/api/auth/sign-up/email", json=body, timeout=30)
    assert reply.status_code == 200, reply.text
    return reply


def cookies_of(reply: httpx.Response) -> dict[str, str]:
    pairs = (cookie.partition(";")[0].split("=", 1) for cookie in reply.headers.get_list("set-cookie"))
    return {name: value for name, value in pairs if value}


def get_session(service: Service, cookies: dict[str, str], **query: str) -> httpx.Response:
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    reply = httpx.get(f"{service.url}/api/auth/get-session", params=query, headers={"cookie": header}, timeout=30)
    assert reply.status_code == 200
    return reply


def test_a_sign_up_sets_it_beside_the_sessions_cookie(cached: Service) -> None:
    reply = sign_up(cached, "set@example.com")
    session, data = reply.headers.get_list("set-cookie")
    assert session.startswith(f"{_SESSION}=")
    assert data.startswith(f"{_DATA}=")
    assert data.endswith("; Max-Age=300; Path=/; HttpOnly; SameSite=Lax")
    unremembered = sign_up(cached, "short@example.com", rememberMe=False)
    (data,) = (each for each in unremembered.headers.get_list("set-cookie") if each.startswith(_DATA))
    assert data.endswith("; Path=/; HttpOnly; SameSite=Lax")
    assert "Max-Age" not in data


def test_better_auths_own_helper_reads_it(cached: Service) -> None:
    reply = sign_up(cached, "helper@example.com")
    strategy = cached.variables["SESSION_COOKIE_CACHE"]
    cookies = "; ".join(f"{name}={value}" for name, value in cookies_of(reply).items())
    done = run_node(ROOT / "tests/e2e/node/cookie_cache.mjs", SECRET, strategy, cookies)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["user"]["email"] == "helper@example.com"
    assert found["user"]["name"] == "Ädä ا"
    assert found["session"]["token"] == unquote(cookies_of(reply)[_SESSION]).partition(".")[0]
    forged = run_node(ROOT / "tests/e2e/node/cookie_cache.mjs", "t" * 40, strategy, cookies)
    assert forged.stdout.strip() == "null" or forged.returncode != 0


def test_a_session_that_ended_is_over_though_the_cookie_still_says_otherwise(cached: Service) -> None:
    cookies = cookies_of(sign_up(cached, "gone@example.com"))
    assert get_session(cached, cookies).json()["user"]["email"] == "gone@example.com"
    with sqlite3.connect(cached.data_dir / "central.db", isolation_level=None) as db:
        token = unquote(cookies[_SESSION]).partition(".")[0]
        db.execute('DELETE FROM "session" WHERE token = ?', [token])
    db.close()
    for query in ({}, {"disableCookieCache": "true"}):
        reply = get_session(cached, cookies, **query)
        assert reply.json() is None
        cleared = [cookie.partition("=")[0] for cookie in reply.headers.get_list("set-cookie")]
        assert {_SESSION, _DATA} <= set(cleared)


def test_a_client_without_it_gets_one_and_one_that_has_it_no_other(cached: Service) -> None:
    cookies = cookies_of(sign_up(cached, "again@example.com"))
    assert "set-cookie" not in get_session(cached, cookies).headers
    fresh = cookies_of(get_session(cached, {_SESSION: cookies[_SESSION]}))
    assert set(fresh) == {_DATA}
    assert "set-cookie" not in get_session(cached, {**cookies, **fresh}).headers


def test_a_restart_answers_from_the_cookie_and_a_spoilt_one_is_replaced(cached: Service) -> None:
    cookies = cookies_of(sign_up(cached, "restart@example.com"))
    person = cookies_of(sign_up(cached, "person@example.com"))
    other = cookies_of(sign_up(cached, "other@example.com"))
    cached.kill()
    cached.start()
    reply = get_session(cached, person)
    assert reply.json()["user"]["email"] == "person@example.com"
    assert "set-cookie" not in reply.headers
    mixed = {_SESSION: cookies[_SESSION], _DATA: other[_DATA]}
    reply = get_session(cached, mixed)
    assert reply.json()["user"]["email"] == "restart@example.com", "the session's cookie says who it is"
    assert set(cookies_of(reply)) == {_DATA}
    nested = base64.urlsafe_b64encode(b'{"session":' + b"[" * 20_000).decode().rstrip("=")
    for spoilt in (nested, f"{nested}.{nested}.AAAA", "%7B"):
        cached.kill()
        cached.start()
        reply = get_session(cached, {_SESSION: cookies[_SESSION], _DATA: spoilt})
        assert reply.json()["user"]["email"] == "restart@example.com"
        assert set(cookies_of(reply)) == {_DATA}


def test_it_is_off_unless_asked_for(service: Service) -> None:
    reply = sign_up(service, "off@example.com")
    assert set(cookies_of(reply)) == {_SESSION}
    assert "set-cookie" not in get_session(service, cookies_of(reply)).headers
