"""No cross-site request starts a session or makes a database, whatever route it goes to; databases are counted."""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.servers import Service

from tests.e2e import people
from tests.e2e.attack_routes import ABSENT, PASSWORD, ROUTES, Row
from tests.e2e.people import sign_up

SESSION = re.compile(r"session_(?:token|id)=[^;]")
EVIL = "https://evil.example"
FROM_ELSEWHERE: dict[str, dict[str, str]] = {
    "origin": {"origin": EVIL},
    "no origin told": {"origin": "null"},
    "referer": {"referer": f"{EVIL}/page"},
    "navigation": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "origin": EVIL},
    "fetch": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "empty"},
    "image": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
    "another port": {"origin": "http://127.0.0.1:1"},
    "with a token": {"origin": EVIL, "authorization": "Bearer nothing"},
}
# A provider's form: it is answered with a redirect to the GET, which asks for the browser's own state.
PASSED_ON = "/api/auth/callback/{provider_id}"
POSTED = [row for row in ROUTES if "POST" in row.methods and row.outcomes is not ABSENT and not row.is_mount]
AUTH = [row for row in POSTED if row.route.startswith(("/api/auth/", "/api/v1/auth/"))]


@pytest.fixture(scope="module")
def email(service: Service) -> str:
    """Of somebody whose password is the one in the table of routes."""
    body = {"name": "A", "email": "somebody@example.com", "password": PASSWORD}
    reply = httpx.post(f"{service.url}/api/auth/sign-up/email", json=body, timeout=30)
    assert reply.status_code == 200, reply.text
    return body["email"]


def _rows(service: Service) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{service.data_dir / 'central.db'}?mode=ro", uri=True)) as db:
        return {
            table: db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
            for table in ("user", "session", "tenant")
        }


def _filled(body: Any, email: str) -> Any:
    text = json.dumps(body).replace("{email}", email).replace("{new}", f"new{time.monotonic_ns()}@example.com")
    return json.loads(text)


def _send(service: Service, row: Row, headers: dict[str, str], email: str, form: str) -> httpx.Response:
    body = _filled(row.body, email)
    url = service.url + re.sub(r"\{[^}]*\}", "x", row.target or row.route)
    match form:
        case "json":
            return httpx.post(url, json=body, headers=headers, timeout=30)
        case "text":
            content = json.dumps(body)
            return httpx.post(url, content=content, headers={**headers, "content-type": "text/plain"}, timeout=30)
        case "form":
            fields = body if isinstance(body, dict) else {}
            return httpx.post(url, data={name: str(value) for name, value in fields.items()}, headers=headers)
    return httpx.post(url, headers=headers, timeout=30)


@pytest.mark.parametrize("name", FROM_ELSEWHERE)
@pytest.mark.parametrize("form", ["json", "text", "form", "nothing"])
def test_nothing_that_another_site_sends_starts_a_session(service: Service, email: str, name: str, form: str) -> None:
    before = _rows(service)
    for row in POSTED:
        reply = _send(service, row, FROM_ELSEWHERE[name], email, form)
        assert reply.status_code < 500, (row.route, reply.text)
        assert not SESSION.search(reply.headers.get("set-cookie", "")), row.route
        assert "set-auth-token" not in reply.headers, row.route
        if row in AUTH and row.route != PASSED_ON:
            assert reply.status_code == 403, (row.route, reply.status_code, reply.text)
    assert _rows(service) == before


@pytest.mark.parametrize("name", FROM_ELSEWHERE)
def test_no_link_of_another_site_starts_a_session(service: Service, name: str) -> None:
    before = _rows(service)
    for row in ROUTES:
        if "GET" in row.methods and row.outcomes is not ABSENT:
            url = service.url + re.sub(r"\{[^}]*\}", "x", row.target or row.route)
            reply = httpx.get(url, headers=FROM_ELSEWHERE[name], timeout=30)
            assert not SESSION.search(reply.headers.get("set-cookie", "")), row.route
    assert _rows(service) == before


def test_whoever_is_no_browser_or_comes_from_our_own_page_gets_in(service: Service, email: str) -> None:
    own: list[dict[str, str]] = [{}, {"origin": service.url}, {"referer": f"{service.url}/page"}]
    own.append({"origin": service.url, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"})
    starting = ("/sign-in/anonymous", "/sign-up/email", "/sign-in/email", "/register", "/login", "/signup")
    for headers in own:
        for row in AUTH:
            if row.route.endswith(starting) and row.route != "/api/auth/sign-in/social":
                reply = _send(service, row, headers, email, "json")
                assert reply.status_code in {200, 201}, (row.route, reply.text)


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    running = Service(
        tmp_path, RATE_LIMITS="on", RATE_LIMIT_SIGN_IN="off", RATE_LIMIT_AUTH="off", RATE_LIMIT_NEW_DATABASES="4/600"
    ).start()
    yield running
    running.stop()


def test_one_address_makes_so_many_databases_and_no_more(own_service: Service) -> None:
    url = own_service.url
    guests = [httpx.post(f"{url}/api/auth/sign-in/anonymous", timeout=30).json()["token"] for _ in range(2)]
    first = sign_up(url)
    sign_up(url)
    person = {"name": "A", "email": "late@example.com", "password": PASSWORD}
    for path in ("auth/sign-in/anonymous", "auth/sign-up/email", "auth/register", "v1/auth/signup"):
        reply = httpx.post(f"{url}/api/{path}", json=person, timeout=30)
        assert reply.status_code == 429, (path, reply.text)
        assert int(reply.headers["retry-after"]) > 0
    # Who has a database is not concerned, nor a guest who keeps theirs.
    body = {"email": first.email, "password": people.PASSWORD}
    grown = httpx.post(
        f"{url}/api/auth/sign-up/email", json=person, headers={"authorization": f"Bearer {guests[0]}"}, timeout=30
    )
    assert grown.status_code == 200, grown.text
    assert httpx.post(f"{url}/api/auth/sign-in/email", json=body, timeout=30).status_code == 200
    assert _rows(own_service)["tenant"] == 4


def test_a_link_that_another_site_leads_along_verifies_and_signs_nobody_in(tmp_path: Path) -> None:
    running = Service(tmp_path, EMAIL_VERIFICATION="required").start()
    try:
        for email, headers, starts in (
            ("elsewhere@example.com", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
            ("image@example.com", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}, False),
            ("referred@example.com", {"referer": f"{EVIL}/"}, False),
            ("mailbox@example.com", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, True),
            ("curl@example.com", {}, True),
        ):
            body = {"name": "A", "email": email, "password": "correct-horse-1"}
            httpx.post(f"{running.url}/api/auth/sign-up/email", json=body, timeout=30)
            link = _link_to(running, email)
            before = _rows(running)
            reply = httpx.get(link, headers=headers, timeout=30)
            assert reply.status_code in {200, 302}, reply.text
            assert ("session_token" in reply.headers.get("set-cookie", "")) == starts, email
            assert (_rows(running)["session"] == before["session"]) != starts
            sign_in = httpx.post(
                f"{running.url}/api/auth/sign-in/email",
                json={"email": email, "password": "correct-horse-1"},
                timeout=30,
            )
            assert sign_in.status_code == 200, sign_in.text  # the address is verified either way
    finally:
        running.stop()


def _link_to(service: Service, email: str) -> str:
    until = time.monotonic() + 20
    while True:
        outbox = service.data_dir / "outbox.jsonl"
        for line in reversed(outbox.read_text().splitlines() if outbox.exists() else []):
            mail = json.loads(line)
            if mail["to"] == email and (found := re.search(r"http://\S+/verify-email\?\S+", mail["text"])):
                return found[0]
        assert time.monotonic() < until
        time.sleep(0.1)
