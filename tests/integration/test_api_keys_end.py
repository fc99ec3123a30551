"""API keys end with what they came from, and every token that was handed out for them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.mailed import OutboxReader

from tests.integration.test_api_keys import SELECT, create, database, sign_up
from tests.support.auth_app import AuthApp, QuickHasher, running_service

ADA, PASSWORD, ANOTHER = "ada@example.com", "correct-horse-1", "another-pass-22"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[AuthApp]:
    async with running_service(tmp_path, QuickHasher()) as app:
        yield app


class Key:
    """A key of somebody's, and a database token that was handed out for it."""

    def __init__(self, app: AuthApp, text: str, credentials: dict[str, Any]) -> None:
        self.app, self.text, self.credentials = app, text, credentials

    async def opens(self) -> bool:
        by_key = await database(self.app, self.text)
        by_token = await self.app.http.post(
            f"/db/{self.credentials['db_name']}/v3/pipeline",
            headers={"authorization": f"Bearer {self.credentials['access_token']}"},
            json=SELECT,
        )
        assert (by_key.status_code == 200) == (by_token.status_code == 200), "the token ends with the key"
        return by_key.status_code == 200


async def key_of(app: AuthApp, headers: dict[str, str]) -> Key:
    text = (await create(app, headers))["key"]
    for _ in range(100):
        found = await database(app, text)
        if found.status_code == 200:
            break
    key = Key(app, text, found.json())
    assert await key.opens()
    return key


async def guest(app: AuthApp) -> dict[str, str]:
    token = (await app.post("/api/auth/sign-in/anonymous")).json()["token"]
    headers = {"authorization": f"Bearer {token}"}
    for _ in range(200):
        if (await app.http.get("/databases/user", headers=headers)).status_code == 200:
            return headers
    raise AssertionError("the database is not made")


async def in_again(app: AuthApp, password: str = PASSWORD) -> dict[str, str]:
    reply = await app.post("/api/auth/sign-in/email", {"email": ADA, "password": password})
    return {"authorization": f"Bearer {reply.json()['token']}"}


async def test_a_guests_keys_end_when_the_guest_signs_up(app: AuthApp) -> None:
    headers = await guest(app)
    key = await key_of(app, headers)
    grown = await app.post("/api/auth/sign-up/email", {"name": "Ada", "email": ADA, "password": PASSWORD}, **headers)
    assert grown.status_code == 200
    assert not await key.opens()
    own = await key_of(app, {"authorization": f"Bearer {grown.json()['token']}"})
    assert await own.opens()


async def test_a_guests_keys_end_when_the_guest_signs_up_with_a_code(app: AuthApp, tmp_path: Path) -> None:
    headers = await guest(app)
    key = await key_of(app, headers)
    await app.post("/api/auth/email-otp/send-verification-otp", {"email": ADA, "type": "sign-in"})
    body = {"email": ADA, "otp": OutboxReader(tmp_path / "outbox.jsonl").code(ADA)}
    assert (await app.post("/api/auth/sign-in/email-otp", body, **headers)).status_code == 200
    assert not await key.opens()


async def test_a_guests_keys_end_when_the_guest_signs_in_to_an_account(app: AuthApp) -> None:
    await sign_up(app)
    headers = await guest(app)
    key = await key_of(app, headers)
    reply = await app.post("/api/auth/sign-in/email", {"email": ADA, "password": PASSWORD}, **headers)
    assert reply.status_code == 200
    assert not await key.opens()


def change_password(**more: Any) -> tuple[str, dict[str, Any]]:
    body = {"currentPassword": PASSWORD, "newPassword": ANOTHER, "revokeOtherSessions": True, **more}
    return "/api/auth/change-password", body


ENDING_ALL = [change_password(), ("/api/auth/revoke-other-sessions", {}), ("/api/auth/revoke-sessions", {})]


@pytest.mark.parametrize(("path", "body"), ENDING_ALL)
@pytest.mark.parametrize("keeps", [None, False, True])
async def test_keys_end_with_all_other_sessions_unless_their_owner_keeps_them(
    app: AuthApp, path: str, body: dict[str, Any], *, keeps: bool | None
) -> None:
    headers = await sign_up(app)
    thief = await in_again(app)
    key = await key_of(app, thief)
    sent = body if keeps is None else {**body, "keepApiKeys": keeps}
    assert (await app.post(path, sent, **headers)).status_code == 200
    assert (await app.http.get("/api/auth/get-session", headers=thief)).json() is None
    assert await key.opens() is bool(keeps)
    actions = await app.rows("SELECT details FROM audit_entry WHERE action = 'api_key.deleted'")
    assert len(actions) == (0 if keeps else 1)


@pytest.mark.parametrize("path", [path for path, _ in ENDING_ALL[1:]])
async def test_whether_keys_are_kept_is_a_boolean_or_nothing(app: AuthApp, path: str) -> None:
    headers = await sign_up(app)
    refused = await app.post(path, {"keepApiKeys": "yes"}, **headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "VALIDATION_ERROR")
    assert (await app.http.post(path, headers=headers)).json() == {"status": True}


async def test_keys_stay_when_only_the_password_is_changed(app: AuthApp) -> None:
    headers = await sign_up(app)
    key = await key_of(app, headers)
    path, body = change_password(revokeOtherSessions=False)
    assert (await app.post(path, body, **headers)).status_code == 200
    assert await key.opens()


async def administrator(app: AuthApp) -> tuple[dict[str, str], str]:
    """Their headers, and the id of somebody else who signed up before."""
    ((user_id,),) = await app.rows('SELECT id FROM "user"')
    reply: httpx.Response = await app.sign_up("boss@example.com")
    await app.write("UPDATE \"user\" SET role = 'admin' WHERE email = 'boss@example.com'")
    return {"authorization": f"Bearer {reply.json()['token']}"}, user_id


@pytest.mark.parametrize("keeps", [False, True])
async def test_keys_end_when_an_administrator_ends_all_sessions(app: AuthApp, *, keeps: bool) -> None:
    key = await key_of(app, await sign_up(app))
    admin, user_id = await administrator(app)
    body = {"userId": user_id, **({"keepApiKeys": True} if keeps else {})}
    assert (await app.post("/api/auth/admin/revoke-user-sessions", body, **admin)).status_code == 200
    assert await key.opens() is keeps


async def test_keys_end_when_an_administrator_sets_the_password(app: AuthApp) -> None:
    key = await key_of(app, await sign_up(app))
    admin, user_id = await administrator(app)
    body = {"userId": user_id, "newPassword": ANOTHER}
    assert (await app.post("/api/auth/admin/set-user-password", body, **admin)).status_code == 200
    assert not await key.opens()


async def test_keys_of_the_banned_are_of_no_use_until_the_ban_ends(app: AuthApp) -> None:
    key = await key_of(app, await sign_up(app))
    admin, user_id = await administrator(app)
    assert (await app.post("/api/auth/admin/ban-user", {"userId": user_id}, **admin)).status_code == 200
    assert not await key.opens()
    assert (await app.post("/api/auth/admin/unban-user", {"userId": user_id}, **admin)).status_code == 200
    assert await key.opens()


async def test_keys_end_with_a_reset_of_a_proved_account(app: AuthApp, tmp_path: Path) -> None:
    headers = await sign_up(app)
    await app.write('UPDATE "user" SET "emailVerified" = 1')
    key = await key_of(app, headers)
    await app.post("/api/auth/email-otp/request-password-reset", {"email": ADA})
    code = OutboxReader(tmp_path / "outbox.jsonl").code(ADA)
    body = {"email": ADA, "otp": code, "password": ANOTHER}
    assert (await app.post("/api/auth/email-otp/reset-password", body)).status_code == 200
    assert not await key.opens()
    assert (await app.http.get("/api/auth/get-session", headers=headers)).json() is None
