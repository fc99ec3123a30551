"""Signing in again ends the session that the browser has brought, by every way in; and no other."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.mailed import OutboxReader

from tests.support.auth_app import TRUSTED, AuthApp, QuickHasher, running_auth, running_service

ADA, EVE, PASSWORD = "ada@example.com", "eve@example.com", "correct-horse-1"
SEND, SIGN_IN_CODE = "/api/auth/email-otp/send-verification-otp", "/api/auth/sign-in/email-otp"
KNOWN = {"email": ADA, "password": PASSWORD}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[AuthApp]:
    async with running_auth(tmp_path, hasher=QuickHasher()) as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> OutboxReader:
    return OutboxReader(tmp_path / "outbox.jsonl")


class BrowserSession:
    """Keeps the cookies of one application."""

    def __init__(self, app: AuthApp) -> None:
        self.http = httpx.AsyncClient(base_url=app.url, headers={"origin": TRUSTED}, timeout=60)

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.http.post(path, json=body or {}, headers=headers)

    async def token(self) -> str:
        """Of the session that it is in."""
        found = (await self.http.get("/api/auth/get-session")).json()
        return str(found["session"]["token"]) if found else ""


async def ways_in(app: AuthApp, outbox: OutboxReader) -> dict[str, tuple[str, Any]]:
    await app.post(SEND, {"email": ADA, "type": "sign-in"})
    by_code = {"email": ADA, "otp": outbox.code(ADA)}
    return {
        "password": ("/api/auth/sign-in/email", KNOWN),
        "code": (SIGN_IN_CODE, by_code),
        "pair": ("/api/auth/login", KNOWN),
        "form": ("/api/v1/auth/login", KNOWN),
        "sign-up": ("/api/auth/sign-up/email", {"name": "Eve", "email": EVE, "password": PASSWORD}),
        "pair sign-up": ("/api/auth/register", {"email": EVE, "password": PASSWORD}),
        "form sign-up": ("/api/v1/auth/signup", {"email": EVE, "password": PASSWORD}),
        "guest": ("/api/auth/sign-in/anonymous", {}),
    }


@pytest.mark.parametrize(
    "way", ["password", "code", "pair", "form", "sign-up", "pair sign-up", "form sign-up", "guest"]
)
@pytest.mark.parametrize("brought", ["cookie", "form cookie"])
async def test_the_session_that_is_brought_ends(app: AuthApp, outbox: OutboxReader, way: str, brought: str) -> None:
    await app.sign_up(ADA)
    await app.write('UPDATE "user" SET "emailVerified" = 1')
    browser, other = BrowserSession(app), BrowserSession(app)
    elsewhere = (await other.post("/api/auth/sign-in/email", KNOWN)).json()["token"]
    path, body = (await ways_in(app, outbox))[way]
    if brought == "cookie":
        before = (await browser.post("/api/auth/sign-in/email", KNOWN)).json()["token"]
    else:
        assert (await browser.post("/api/v1/auth/login", KNOWN)).status_code == 200
        before = browser.http.cookies["session_id"].partition(".")[0]
    assert await app.get_session(before) is not None
    assert (await browser.post(path, body)).status_code in {200, 201}
    assert await app.get_session(before) is None
    assert await app.get_session(elsewhere) is not None
    told = await app.rows("SELECT count(*) FROM audit_entry WHERE action = 'user.session_replaced'")
    assert told == [(1,)]


@pytest.mark.parametrize("way", ["password", "code", "pair", "form", "sign-up", "guest"])
async def test_a_program_that_sends_bearer_tokens_keeps_its_session(
    app: AuthApp, outbox: OutboxReader, way: str
) -> None:
    token = (await app.sign_up(ADA)).json()["token"]
    await app.write('UPDATE "user" SET "emailVerified" = 1')
    path, body = (await ways_in(app, outbox))[way]
    assert (await app.post(path, body, authorization=f"Bearer {token}")).status_code == 200
    assert await app.get_session(token) is not None


async def test_who_brings_none_loses_none(app: AuthApp) -> None:
    tokens = [(await app.sign_up(ADA)).json()["token"]]
    for _ in range(3):
        tokens.append((await app.post("/api/auth/sign-in/email", KNOWN)).json()["token"])
        pair = (await app.post("/api/auth/login", KNOWN)).json()
        assert (await app.post("/api/auth/refresh", {"refresh_token": pair["refresh_token"]})).status_code == 200
    for token in tokens:
        assert await app.get_session(token) is not None


async def test_it_ends_only_when_the_next_one_begins(app: AuthApp) -> None:
    browser = BrowserSession(app)
    token = (await browser.post("/api/auth/sign-up/email", {"name": "Ada", **KNOWN})).json()["token"]
    for path, body in (
        ("/api/auth/sign-in/email", {**KNOWN, "password": "wrong-horse-1"}),
        ("/api/auth/sign-up/email", {"name": "Ada", **KNOWN}),  # taken
        (SIGN_IN_CODE, {"email": ADA, "otp": "000000"}),
        ("/api/auth/verify-password", {"password": PASSWORD}),
    ):
        await browser.post(path, body)
        assert await browser.token() == token


async def test_no_token_of_the_one_before_works_after_it(app: AuthApp) -> None:
    """Refresh and access tokens end with their session."""
    pair = (await app.post("/api/auth/register", KNOWN)).json()
    ((session,),) = await app.rows("SELECT token FROM session")
    cookie = app.auth.cookies.setting(session)[0].partition(";")[0]
    reply = await app.post("/api/auth/sign-in/email", KNOWN, cookie=cookie, origin=TRUSTED)
    assert reply.status_code == 200
    assert (await app.post("/api/auth/refresh", {"refresh_token": pair["refresh_token"]})).status_code == 401
    access = {"authorization": f"Bearer {pair['access_token']}"}
    assert (await app.http.get("/api/auth/verify", headers=access)).status_code == 401


async def test_a_guest_is_linked_and_their_session_ends_with_that(app: AuthApp) -> None:
    await app.sign_up(ADA)
    browser = BrowserSession(app)
    guest = (await browser.post("/api/auth/sign-in/anonymous")).json()
    assert (await browser.post("/api/auth/sign-in/email", KNOWN)).status_code == 200
    assert await app.get_session(guest["token"]) is None
    assert await app.rows("SELECT guest_id FROM guest_link") == [(guest["user"]["id"],)]


async def test_an_administrator_who_acts_as_somebody_comes_back_to_their_own_session(app: AuthApp) -> None:
    ada = (await app.sign_up(ADA)).json()
    await app.sign_up(EVE)
    await app.write("UPDATE \"user\" SET role = 'admin' WHERE email = ?", EVE)
    admin = BrowserSession(app)
    own = (await admin.post("/api/auth/sign-in/email", {**KNOWN, "email": EVE})).json()["token"]
    body = {"userId": ada["user"]["id"]}
    assert (await admin.post("/api/auth/admin/impersonate-user", body)).status_code == 200
    assert await admin.token() != own
    assert (await admin.post("/api/auth/admin/stop-impersonating")).status_code == 200
    assert await admin.token() == own


async def test_the_trail_names_who_asks_and_not_who_was_in_another_cookie(tmp_path: Path) -> None:
    async with running_service(tmp_path, QuickHasher()) as app:
        ada = (await app.sign_up(ADA)).json()
        browser = BrowserSession(app)
        await browser.post("/api/auth/sign-up/email", {"name": "Eve", **KNOWN, "email": EVE})
        body = {"currentPassword": PASSWORD, "newPassword": "another-pass-22"}
        bearer = f"Bearer {ada['token']}"
        reply = await browser.post("/api/auth/change-password", body, authorization=bearer)
        assert reply.status_code == 200
        changed = "SELECT actor, target FROM audit_entry WHERE action = 'user.password_changed'"
        assert await app.rows(changed) == [(f"user:{ada['user']['id']}",) * 2]
