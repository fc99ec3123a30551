"""Auth over HTTP and on a real central database: many at once, hostile input, and the edge's own checks."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from freehold.auth.passwords.passwords import ScryptHasher
from tests.support.auth_app import TRUSTED, AuthApp, QuickHasher, running_auth
from tests.support.central_place import CentralPlace
from tests.support.stalls import assert_loop_is_free

SIGN_UP, SIGN_IN = "/api/auth/sign-up/email", "/api/auth/sign-in/email"
GET_SESSION, SIGN_OUT = "/api/auth/get-session", "/api/auth/sign-out"
CREDENTIALS = {"email": "ada@example.com", "password": "correct-horse-1"}


@pytest.fixture
async def app(tmp_path: Path, place: CentralPlace) -> AsyncIterator[AuthApp]:
    quick = QuickHasher()
    async with running_auth(tmp_path, hasher=quick, place=place, trusted_proxies=("127.0.0.1",)) as running:
        yield running


@pytest.fixture
async def hashing_app(tmp_path: Path) -> AsyncIterator[AuthApp]:
    async with running_auth(tmp_path) as running:
        yield running


def cookie(reply: httpx.Response) -> str:
    return "; ".join(value.split(";")[0] for value in reply.headers.get_list("set-cookie"))


async def test_of_fifty_sign_ups_of_one_address_at_once_one_succeeds(app: AuthApp) -> None:
    replies = await asyncio.gather(*(app.sign_up() for _ in range(50)))
    assert sorted(reply.status_code for reply in replies) == [200] + [422] * 49
    tables = ("user", "account", "session", "tenant")
    counts = [(await app.rows(f'SELECT count(*) FROM "{table}"'))[0][0] for table in tables]
    assert counts == [1, 1, 1, 1]
    assert len(app.created) == 1


async def test_a_user_and_the_tenant_are_written_together(app: AuthApp) -> None:
    before_ms = time.time() * 1000
    user_id = (await app.sign_up()).json()["user"]["id"]
    rows = await app.rows(
        "SELECT user_id, database_name, provider, state, schema_version, attempts, due_at_ms, error FROM tenant"
    )
    ((owner, name, *rest, due_at_ms, error),) = rows
    assert owner == user_id
    assert name.startswith("t-")
    assert len(name) == 28
    assert set(name[2:]) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert rest == ["local", "provisioning", 0, 0]
    assert before_ms - 1000 < due_at_ms < time.time() * 1000 + 1000
    assert error is None


async def test_when_the_tenant_cannot_be_written_neither_is_the_user(app: AuthApp) -> None:
    await app.write("ALTER TABLE tenant RENAME TO hidden")
    reply = await app.sign_up()
    assert reply.status_code == 503
    assert await app.rows('SELECT count(*) FROM "user"') == [(0,)]
    await app.write("ALTER TABLE hidden RENAME TO tenant")
    assert (await app.sign_up()).status_code == 200


async def test_the_event_loop_is_never_held_up_by_passwords(hashing_app: AuthApp) -> None:
    await hashing_app.sign_up()

    async def sign_in_often() -> None:
        replies = await asyncio.gather(*(hashing_app.post(SIGN_IN, CREDENTIALS) for _ in range(20)))
        assert {reply.status_code for reply in replies} == {200}

    await assert_loop_is_free(sign_in_often)


async def test_a_pile_of_sign_ins_is_refused_instead_of_kept_waiting(tmp_path: Path) -> None:
    hasher = ScryptHasher(threads=1, waiting_per_thread=1)
    async with running_auth(tmp_path, hasher=hasher) as app:
        await app.sign_up()
        replies = await asyncio.gather(*(app.post(SIGN_IN, CREDENTIALS) for _ in range(8)))
    refused = [reply for reply in replies if reply.status_code != 200]
    assert len(replies) - len(refused) >= 2
    assert refused
    for reply in refused:
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) > 0
        assert reply.json()["code"] == "UNAVAILABLE"


async def test_without_the_central_database_the_answer_is_a_prompt_503(app: AuthApp) -> None:
    token = (await app.sign_up()).json()["token"]
    await app.write('ALTER TABLE "session" RENAME TO hidden')
    started = time.perf_counter()
    for reply in (
        await app.http.get(GET_SESSION, headers={"authorization": "Bearer unknown"}),
        await app.post(SIGN_IN, CREDENTIALS),
        await app.post(SIGN_OUT, authorization=f"Bearer {token}"),
    ):
        assert reply.status_code == 503
        assert reply.headers["retry-after"]
        assert reply.json()["code"] == "CENTRAL_UNAVAILABLE"
        assert "hidden" not in reply.text
    assert time.perf_counter() - started < 10
    await app.write('ALTER TABLE hidden RENAME TO "session"')
    assert (await app.get_session(token))["session"]["token"] == token


STRANGE_BODIES: list[bytes] = [
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"",
    b"{",
    b"[" * 50_000,
    b'{"a":' * 10_000,
    b'{"name": "\\ud800", "email": "a@b.co", "password": "correct-horse-1"}',
    b'{"name": "a\\u0000b", "email": "a@b.co", "password": "correct-horse-1"}',
    b'{"name": "A", "email": "a\\u0000@b.co", "password": "correct-horse-1"}',
    b'{"name": "A", "email": "a@b.co", "password": "correct-horse-1", "image": "\\u0000"}',
    b'{"name": "A\x00", "email": "a@b.co", "password": "correct-horse-1"}',
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"name": 1, "email": ["a@b.co"], "password": {"$ne": null}}',
    b'{"name": "A", "email": "a@b.co", "password": 1e999}',
    b'{"name": "A", "email": "a@b.co", "password": 123456789012345678901234567890}',
    b'{"name": "A", "email": "a@b.co", "password": "correct-horse-1", "rememberMe": "yes"}',
    b'{"name": "A", "email": "a@b.co", "password": "correct-horse-1", "rememberMe": null}',
    b'{"name": "A", "email": "a@b.co", "password": "correct-horse-1", "callbackURL": 5}',
    b'{"name": "A", "email": "a@b.co", "password": "correct-horse-1", "role": ["admin"]}',
    b'{"name": "A", "email": "a@b.co", "password": "correct-horse-1", "banned": {}, "isAnonymous": 1}',
    b'{"name": "A", "email": "a@b.co", "password": "' + "\ufdfa".encode() * 20_000 + b'"}',
    b'{"name": "' + b"x" * 70_000 + b'"}',
    b"x" * 10_000_000,
]


async def test_strange_bodies_are_the_clients_fault(app: AuthApp) -> None:
    media_types = ("application/json", "application/x-www-form-urlencoded")
    for path in (SIGN_UP, SIGN_IN, SIGN_OUT, GET_SESSION):
        for body, media_type in itertools.product(STRANGE_BODIES, media_types):
            reply = await app.http.post(path, content=body, headers={"content-type": media_type})
            is_fine = path == SIGN_OUT and reply.status_code == 200
            assert is_fine or 400 <= reply.status_code < 500, (body[:60], reply.status_code, reply.text)
            if not is_fine:
                assert reply.json().keys() == {"message", "code"}
    assert await app.rows('SELECT count(*) FROM "user"') == [(0,)]


async def test_a_body_over_the_limit_is_refused_in_the_shape_of_the_others(app: AuthApp) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000

    for content in (b"x" * 70_000, endless()):
        reply = await app.http.post(SIGN_IN, content=content, headers={"content-type": "application/json"})
        assert (reply.status_code, reply.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


STRANGE_HEADERS: list[tuple[str, bytes]] = [
    ("cookie", b"better-auth.session_token"),
    ("cookie", b"better-auth.session_token=%00.%00"),
    ("cookie", b"better-auth.session_token=\xff\xfe.\xff"),
    ("cookie", b";;;=;=x;better-auth.session_token==.="),
    ("cookie", b"a=b;" * 2_000),
    ("authorization", b"Bearer \xff\xfe"),
    ("authorization", b"Bearer " + b"." * 1_000),
    ("authorization", b"Bearer %00%ff.%zz"),
    ("authorization", b"Bearer ' OR 1=1 --"),
    ("authorization", b"\xff"),
    ("origin", b"http://[::1"),
    ("origin", b"\xff\xfe"),
    ("referer", b"http://[/"),
    ("content-type", b"\xff/\xfe"),
    ("content-type", b'application/json; charset="nope'),
    ("user-agent", b"\xff" * 500),
    ("x-forwarded-for", b"\xff, ,"),
    ("content-length", b"0"),
]


async def test_strange_headers_are_no_fault_of_ours(app: AuthApp) -> None:
    requests = (("GET", GET_SESSION), ("POST", SIGN_IN), ("POST", SIGN_OUT), ("GET", "/me"), ("POST", "/me"))
    for (name, value), (method, path) in itertools.product(STRANGE_HEADERS, requests):
        reply = await app.http.request(method, path, headers=[(name.encode(), value)])
        assert reply.status_code < 500, (name, value[:40], method, path)


async def test_names_and_addresses_come_back_as_they_went_in(app: AuthApp) -> None:
    name = "Ādā العربية 😀 '; DROP TABLE user; --"
    reply = await app.sign_up(name=name, image="https://img.example/é.png")
    assert reply.json()["user"]["name"] == name
    found = await app.get_session(reply.json()["token"])
    assert found["user"] == reply.json()["user"]


async def test_a_session_keeps_where_it_came_from(app: AuthApp) -> None:
    token = (
        await app.post(
            SIGN_UP,
            {"name": "A", **CREDENTIALS},
            **{"x-forwarded-for": "1.1.1.1, 198.51.100.7", "user-agent": "Browser/1"},
        )
    ).json()["token"]
    session = (await app.get_session(token))["session"]
    assert (session["ipAddress"], session["userAgent"]) == ("198.51.100.7", "Browser/1")


async def test_a_form_may_sign_in_for_this_visit_only(app: AuthApp) -> None:
    await app.sign_up()
    form = f"email={quote('ada@example.com')}&password=correct-horse-1&rememberMe=false"
    reply = await app.http.post(
        SIGN_IN, content=form, headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    )
    assert reply.status_code == 200
    assert "better-auth.dont_remember" in cookie(reply)


async def test_a_redirect_in_the_query_is_checked_too(app: AuthApp) -> None:
    await app.sign_up()
    reply = await app.post(f"{SIGN_IN}?callbackURL={quote('//evil.example', safe='')}", CREDENTIALS)
    assert (reply.status_code, reply.json()["code"]) == (403, "INVALID_CALLBACK_URL")


async def test_a_redirect_in_any_script_makes_a_valid_header(app: AuthApp) -> None:
    await app.sign_up()
    reply = await app.post(SIGN_IN, {**CREDENTIALS, "callbackURL": "/كلمات?a=%20b"})
    assert reply.status_code == 200
    assert reply.json()["url"] == "/كلمات?a=%20b"
    assert reply.headers["location"] == f"/{quote('كلمات')}?a=%20b"


async def test_strange_queries_do_no_harm(app: AuthApp) -> None:
    token = (await app.sign_up()).json()["token"]
    for query in ("?disableRefresh=true", "?disableRefresh=1&x=%ff", "?x=disableRefresh", "?%00", "?" + "&" * 9_000):
        reply = await app.http.get(GET_SESSION + query, headers={"authorization": f"Bearer {token}"})
        assert reply.json()["session"]["token"] == token


async def test_passwords_and_tokens_stay_out_of_the_log(app: AuthApp, capfd: pytest.CaptureFixture[str]) -> None:
    token = (await app.sign_up()).json()["token"]
    await app.sign_up()
    await app.post(SIGN_IN, {**CREDENTIALS, "password": "wrong-horse-1"})
    await app.write('ALTER TABLE "session" RENAME TO hidden')
    await app.post(SIGN_IN, CREDENTIALS)
    await app.http.get(GET_SESSION, headers={"authorization": f"Bearer {token}"})
    logged = "".join(capfd.readouterr())
    assert "user.signed_up" in logged
    assert "request.unavailable" in logged
    for secret in ("correct-horse-1", "wrong-horse-1", token):
        assert secret not in logged


async def test_other_routes_know_who_asks_by_cookie_or_bearer(app: AuthApp) -> None:
    reply = await app.sign_up()
    user_id, token = reply.json()["user"]["id"], reply.json()["token"]
    for headers in ({"cookie": cookie(reply)}, {"authorization": f"Bearer {token}"}):
        assert (await app.http.get("/me", headers=headers)).json() == {"user_id": user_id}
    for headers in ({}, {"cookie": "better-auth.session_token=x.y"}, {"authorization": "Bearer x"}):
        refused = await app.http.get("/me", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["content-type"] == "application/problem+json"


async def test_a_cookie_changes_nothing_from_a_strange_page(app: AuthApp) -> None:
    reply = await app.sign_up()
    sent = {"cookie": cookie(reply)}
    for origin, status in (
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": TRUSTED}, 201),
        ({"origin": app.url}, 201),
        ({"referer": f"{app.url}/page"}, 201),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, 201),
        ({"origin": "null", "sec-fetch-site": "same-site"}, 403),
    ):
        assert (await app.http.post("/me", headers={**sent, **origin})).status_code == status, origin
    by_token = {"authorization": f"Bearer {reply.json()['token']}", "origin": "http://evil.example"}
    assert (await app.http.post("/me", headers=by_token)).status_code == 201


async def test_admin_routes_are_for_administrators_from_the_moment_they_are(app: AuthApp) -> None:
    token = (await app.sign_up()).json()["token"]
    bearer = {"authorization": f"Bearer {token}"}
    assert (await app.http.get("/admin")).status_code == 401
    assert (await app.http.get("/admin", headers=bearer)).status_code == 403
    await app.auth.ensure_admin("ada@example.com", "Ada", str, promote=True)
    assert (await app.http.get("/admin", headers=bearer)).status_code == 200
    await app.write("""UPDATE "user" SET role = 'user'""")
    assert (await app.http.get("/admin", headers=bearer)).status_code == 403


async def test_a_read_elsewhere_does_not_use_up_the_renewal_of_a_cookie(app: AuthApp) -> None:
    reply = await app.sign_up()
    await app.write("""UPDATE "session" SET "expiresAt" = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+5 days')""")
    for path, renews in (("/me", False), (GET_SESSION, True), (GET_SESSION, False)):
        found = await app.http.get(path, headers={"cookie": cookie(reply)})
        assert found.status_code == 200
        assert ("set-cookie" in found.headers) is renews


async def test_the_routes_are_described(app: AuthApp) -> None:
    paths: dict[str, Any] = (await app.http.get("/schema/openapi.json")).json()["paths"]
    described = {(path, method) for path, methods in paths.items() for method in methods if "auth" in path}
    assert described >= {
        ("/api/auth/ok", "get"),
        (SIGN_UP, "post"),
        (SIGN_IN, "post"),
        (GET_SESSION, "get"),
        (SIGN_OUT, "post"),
        ("/api/auth/token", "get"),
        ("/api/auth/jwks", "get"),
        ("/api/auth/register", "post"),
        ("/api/auth/login", "post"),
        ("/api/auth/verify", "get"),
        ("/api/auth/refresh", "post"),
        ("/api/auth/logout", "post"),
        ("/api/v1/auth/signup", "post"),
        ("/api/v1/auth/login", "post"),
        ("/api/v1/auth/logout", "post"),
        ("/api/v1/auth/me", "get"),
    }
    body = paths[SIGN_UP]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["name", "email", "password"]
    assert "emailVerified" in json.dumps((await app.http.get("/schema/openapi.json")).json())
