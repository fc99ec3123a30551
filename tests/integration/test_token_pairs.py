"""Access and refresh tokens over HTTP: rotation, two at once, reuse, and all that ends a session."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from freehold.dates import to_iso
from tests.support.auth_app import TRUSTED, AuthApp, QuickHasher, running_auth

PERSON = {"email": "ada@example.com", "password": "correct-horse-1", "name": "Ada"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[AuthApp]:
    async with running_auth(tmp_path, hasher=QuickHasher()) as app:
        yield app


async def register(app: AuthApp) -> dict[str, Any]:
    reply = await app.post("/api/auth/register", PERSON)
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def refresh(app: AuthApp, token: str) -> httpx.Response:
    return await app.post("/api/auth/refresh", {"refresh_token": token})


async def verify(app: AuthApp, access_token: str) -> int:
    reply = await app.http.get("/api/auth/verify", headers=bearer(access_token))
    return reply.status_code


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def grace_is_over(app: AuthApp) -> None:
    then = to_iso(datetime.now(UTC) - timedelta(seconds=31))
    await app.write("UPDATE refresh_token SET used_at = ? WHERE used_at IS NOT NULL", then)


def is_refused(reply: httpx.Response) -> bool:
    return reply.status_code == 401 and reply.json()["code"] == "INVALID_REFRESH_TOKEN"


async def test_a_pair_is_an_oauth_answer_with_the_user(app: AuthApp) -> None:
    first = await app.post("/api/auth/register", PERSON)
    pair = first.json()
    assert set(pair) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert (pair["token_type"], pair["expires_in"]) == ("Bearer", 900)
    assert pair["user"]["email"] == "ada@example.com"
    assert first.headers["cache-control"] == "no-store"
    assert "set-cookie" not in first.headers
    entered = await app.post("/api/auth/login", PERSON)
    assert entered.status_code == 200
    assert set(entered.json()) == set(pair)
    found = (await app.http.get("/api/auth/verify", headers=bearer(pair["access_token"]))).json()
    assert found["valid"] is True
    assert found["user"] == pair["user"]
    left = datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)


async def test_the_same_rules_hold_at_this_door(app: AuthApp) -> None:
    await register(app)
    again = await app.post("/api/auth/register", PERSON)
    assert (again.status_code, again.json()["code"]) == (422, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL")
    short = await app.post("/api/auth/register", {**PERSON, "password": "short"})
    assert short.json()["code"] == "PASSWORD_TOO_SHORT"
    protected = await app.post("/api/auth/register", {**PERSON, "role": "admin"})
    assert protected.json()["code"] == "FIELD_NOT_ALLOWED"
    for body in ({**PERSON, "password": "wrong-horse-1"}, {**PERSON, "email": "nobody@example.com"}):
        wrong = await app.post("/api/auth/login", body)
        assert (wrong.status_code, wrong.json()["code"]) == (401, "INVALID_EMAIL_OR_PASSWORD")
    elsewhere = await app.post("/api/auth/login", PERSON, origin="http://evil.example")
    assert elsewhere.status_code == 403
    assert (await app.post("/api/auth/login", PERSON, origin=TRUSTED)).status_code == 200
    as_form = await app.http.post("/api/auth/login", data=PERSON)
    assert as_form.status_code == 200


async def test_an_access_token_opens_what_a_session_opens_outside_auth(app: AuthApp) -> None:
    pair = await register(app)
    mine = await app.http.get("/me", headers=bearer(pair["access_token"]))
    assert mine.json() == {"user_id": pair["user"]["id"]}
    assert (await app.http.get("/admin", headers=bearer(pair["access_token"]))).status_code == 403
    await app.write("UPDATE \"user\" SET role = 'admin'")
    assert (await app.http.get("/admin", headers=bearer(pair["access_token"]))).status_code == 200


async def test_an_access_token_is_no_session(app: AuthApp) -> None:
    """It lives for minutes; what it could fetch here would live for days."""
    pair = await register(app)
    headers = bearer(pair["access_token"])
    assert (await app.http.get("/api/auth/get-session", headers=headers)).json() is None
    assert (await app.http.get("/api/auth/token", headers=headers)).status_code == 401
    assert (await app.http.get("/api/v1/auth/me", headers=headers)).status_code == 401


async def test_a_jwt_for_others_opens_nothing_here(app: AuthApp) -> None:
    session = (await app.sign_up("bob@example.com")).json()["token"]
    for_others = (await app.http.get("/api/auth/token", headers=bearer(session))).json()["token"]
    assert await verify(app, for_others) == 401
    refused = await app.http.get("/me", headers=bearer(for_others))
    assert (refused.status_code, refused.json()["code"]) == (401, "bad_access_token")
    assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_refresh_token_is_good_for_once(app: AuthApp) -> None:
    tokens = [(await register(app))["refresh_token"]]
    for _ in range(3):
        reply = await refresh(app, tokens[-1])
        assert reply.status_code == 200
        tokens.append(reply.json()["refresh_token"])
        assert await verify(app, reply.json()["access_token"]) == 200
    assert len(set(tokens)) == 4


async def test_a_race_of_requests_is_no_theft(app: AuthApp) -> None:
    pair = await register(app)
    replies = await asyncio.gather(*(refresh(app, pair["refresh_token"]) for _ in range(20)))
    assert {reply.status_code for reply in replies} == {200}
    successors = {reply.json()["refresh_token"] for reply in replies}
    assert len(successors) == 1, "a race makes no second line of tokens"
    assert await app.rows("SELECT count(*) FROM refresh_token") == [(2,)]
    assert (await refresh(app, successors.pop())).status_code == 200


async def test_reuse_after_the_race_ends_the_session_and_all_its_tokens(app: AuthApp) -> None:
    pair = await register(app)
    other = (await app.post("/api/auth/login", PERSON)).json()
    newer = (await refresh(app, pair["refresh_token"])).json()
    await grace_is_over(app)
    assert is_refused(await refresh(app, pair["refresh_token"]))
    assert is_refused(await refresh(app, newer["refresh_token"]))
    for token in (pair["access_token"], newer["access_token"]):
        assert await verify(app, token) == 401
        assert (await app.http.get("/me", headers=bearer(token))).status_code == 401
    assert await app.rows("SELECT count(*) FROM session") == [(1,)]
    assert (await refresh(app, other["refresh_token"])).status_code == 200, "other sessions go on"


async def test_a_thief_and_the_owner_cannot_both_go_on(app: AuthApp) -> None:
    stolen = (await register(app))["refresh_token"]
    thiefs = (await refresh(app, stolen)).json()["refresh_token"]
    owners = (await refresh(app, stolen)).json()["refresh_token"]
    assert thiefs == owners
    last = (await refresh(app, thiefs)).json()["refresh_token"]
    await grace_is_over(app)
    assert is_refused(await refresh(app, owners))
    assert is_refused(await refresh(app, last))


ENDS = (
    ('DELETE FROM "session"', 401),
    ('UPDATE "session" SET "expiresAt" = \'2020-01-01T00:00:00.000Z\'', 401),
    ("UPDATE refresh_token SET expires_at = '2020-01-01T00:00:00.000Z'", 401),
    ('UPDATE "user" SET banned = 1', 403),
    ('DELETE FROM "user"', 401),
)


async def test_what_ends_a_session_ends_its_tokens(app: AuthApp) -> None:
    for sql, status in ENDS:
        await app.write('DELETE FROM "user"')
        pair = await register(app)
        await app.write(sql)
        assert (await refresh(app, pair["refresh_token"])).status_code == status, sql
        expected = 200 if "refresh_token" in sql else 401
        assert await verify(app, pair["access_token"]) == expected, sql
        mine = await app.http.get("/me", headers=bearer(pair["access_token"]))
        assert mine.status_code == expected, sql


async def test_signing_out_by_the_official_route_ends_the_pair_too(app: AuthApp) -> None:
    pair = await register(app)
    ((session_token,),) = await app.rows('SELECT token FROM "session"')
    await app.post("/api/auth/sign-out", authorization=f"Bearer {session_token}")
    assert await verify(app, pair["access_token"]) == 401
    assert is_refused(await refresh(app, pair["refresh_token"]))


async def test_logout_by_whatever_token_the_client_has(app: AuthApp) -> None:
    for by in ("access", "refresh", "both", "used refresh"):
        await app.write('DELETE FROM "user"')
        pair = newest = await register(app)
        if by == "used refresh":
            newest = (await refresh(app, pair["refresh_token"])).json()
        body = {} if by == "access" else {"refresh_token": pair["refresh_token"]}
        headers = bearer(pair["access_token"]) if by in {"access", "both"} else {}
        reply = await app.post("/api/auth/logout", body, **headers)
        assert (reply.status_code, reply.json()) == (200, {"success": True}), by
        assert await verify(app, newest["access_token"]) == 401, by
        assert is_refused(await refresh(app, newest["refresh_token"])), by
        assert (await app.post("/api/auth/logout", body, **headers)).status_code == 200, "and again"


async def test_logout_with_what_is_not_valid_ends_nobodys_session(app: AuthApp) -> None:
    pair = await register(app)
    forged = jwt.encode({"sub": pair["user"]["id"]}, "x" * 32, "HS256")
    for headers, body in ((bearer(forged), {}), ({}, {"refresh_token": "x"}), ({}, {"refresh_token": ""}), ({}, {})):
        assert (await app.post("/api/auth/logout", body, **headers)).status_code == 200
    assert await verify(app, pair["access_token"]) == 200


async def test_only_hashes_are_kept_and_no_token_is_logged(
    app: AuthApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = await register(app)
    newer = (await refresh(app, pair["refresh_token"])).json()
    await grace_is_over(app)
    await refresh(app, pair["refresh_token"])
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("central.db*"))
    printed = capsys.readouterr()
    assert "refresh_token.reused" in printed.out + printed.err
    for found in (pair, newer):
        for token in (found["refresh_token"], found["access_token"]):
            assert token.encode() not in stored
            assert token not in printed.out + printed.err


async def test_a_session_that_is_refreshed_lives_on_and_keeps_no_endless_list(app: AuthApp) -> None:
    pair = await register(app)
    soon = to_iso(datetime.now(UTC) + timedelta(days=2))
    await app.write('UPDATE "session" SET "expiresAt" = ?', soon)
    newer = (await refresh(app, pair["refresh_token"])).json()
    ((ends,),) = await app.rows('SELECT "expiresAt" FROM "session"')
    assert datetime.fromisoformat(ends) - datetime.now(UTC) > timedelta(days=6)
    await app.write("UPDATE refresh_token SET expires_at = ? WHERE used_at IS NOT NULL", to_iso(datetime.now(UTC)))
    assert (await refresh(app, newer["refresh_token"])).status_code == 200
    assert await app.rows("SELECT count(*) FROM refresh_token") == [(2,)]


NONSENSE = ("", " ", "x" * 10_000, "\u0661", "\ud800", "' OR 1=1 --", "%00", "a.b.c", "0" * 64)


async def test_nonsense_is_refused_like_an_unknown_token(app: AuthApp) -> None:
    for token in NONSENSE:
        reply = await app.http.post(
            "/api/auth/refresh",
            content=b'{"refresh_token": "' + token.encode("unicode_escape") + b'"}',
            headers={"content-type": "application/json"},
        )
        assert reply.status_code in {400, 401}, token


async def test_form_posts_and_a_cookie_are_one_more_door(app: AuthApp) -> None:
    page = {"origin": TRUSTED}
    entered = await app.http.post("/api/v1/auth/signup", data=PERSON, headers=page)
    assert entered.status_code == 201
    assert entered.json()["user"]["email"] == "ada@example.com"
    (cookie,) = entered.headers.get_list("set-cookie")
    assert cookie.startswith("session_id=")
    assert cookie.endswith("; Max-Age=604800; Path=/; HttpOnly; SameSite=Lax")
    sent = {"cookie": cookie.split(";")[0]}
    me = await app.http.get("/api/v1/auth/me", headers=sent)
    assert me.json() == entered.json()
    assert (await app.http.get("/me", headers=sent)).json()["user_id"] == me.json()["user"]["id"]
    assert (await app.http.get("/api/auth/get-session", headers=sent)).json() is None
    assert (await app.http.post("/me", headers=sent)).status_code == 403, "a cookie needs a trusted page"
    assert (await app.http.post("/api/v1/auth/logout", headers=sent)).status_code == 403
    ended = await app.http.post("/api/v1/auth/logout", headers={**sent, **page})
    assert ended.status_code == 200
    assert any(each.startswith("session_id=; Max-Age=0;") for each in ended.headers.get_list("set-cookie"))
    assert (await app.http.get("/api/v1/auth/me", headers=sent)).status_code == 401
    again = await app.http.post("/api/v1/auth/login", data=PERSON)
    assert again.status_code == 200
    assert again.headers["set-cookie"].startswith("session_id=")


async def test_form_posts_are_refused_in_problem_details(app: AuthApp) -> None:
    await app.http.post("/api/v1/auth/signup", data=PERSON)
    for path, body, status, code in (
        ("signup", PERSON, 409, "email_taken"),
        ("signup", {"email": "x"}, 400, "invalid_input"),
        ("signup", {**PERSON, "role": "admin"}, 400, "invalid_input"),
        ("login", {**PERSON, "password": "wrong-horse-1"}, 401, "wrong_credentials"),
        ("login", {}, 400, "invalid_input"),
    ):
        reply = await app.http.post(f"/api/v1/auth/{path}", data=body)
        assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
        assert reply.headers["content-type"] == "application/problem+json"
    elsewhere = await app.http.post("/api/v1/auth/login", data=PERSON, headers={"origin": "http://evil.example"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "forbidden")
    forged = {"cookie": "session_id=AbCdEfGhIjKlMnOpQrStUvWxYz012345.AAAA"}
    assert (await app.http.get("/api/v1/auth/me", headers=forged)).status_code == 401
