"""Codes and links over HTTP, attacked: used twice, by two at once, by somebody else, too late, forged."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
from testbed.mailed import OutboxReader

from tests.support.auth_app import SECRET, AuthApp, QuickHasher, running_auth
from tests.support.central_place import CentralPlace

ADA, EVE = "ada@example.com", "eve@example.com"
PASSWORD, ANOTHER = "correct-horse-1", "another-pass-22"
SEND, SIGN_IN_CODE = "/api/auth/email-otp/send-verification-otp", "/api/auth/sign-in/email-otp"
RESET, RESET_CODE = "/api/auth/reset-password", "/api/auth/email-otp/reset-password"
REQUEST_RESET, VERIFY = "/api/auth/request-password-reset", "/api/auth/verify-email"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[AuthApp]:
    async with running_auth(tmp_path, hasher=QuickHasher()) as running:
        yield running


@pytest.fixture
async def anywhere(tmp_path: Path, place: CentralPlace) -> AsyncIterator[AuthApp]:
    """With the central database in a file, and on a server: for what depends on its transactions."""
    async with running_auth(tmp_path, hasher=QuickHasher(), place=place) as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> OutboxReader:
    return OutboxReader(tmp_path / "outbox.jsonl")


async def sign_up(app: AuthApp, email: str = ADA) -> str:
    token: str = (await app.sign_up(email)).json()["token"]
    return token


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def verified(app: AuthApp, email: str = ADA) -> None:
    await app.write('UPDATE "user" SET "emailVerified" = 1 WHERE email = ?', email)


async def can_sign_in(app: AuthApp, password: str, email: str = ADA) -> bool:
    reply = await app.post("/api/auth/sign-in/email", {"email": email, "password": password})
    return reply.status_code == 200


# Codes ---------------------------------------------------------------------------------------------


async def test_of_twenty_sign_ins_with_one_code_at_once_one_succeeds(anywhere: AuthApp, outbox: OutboxReader) -> None:
    for new in (True, False):
        await anywhere.post(SEND, {"email": ADA, "type": "sign-in"})
        body = {"email": ADA, "otp": outbox.code(ADA)}
        replies = await asyncio.gather(*(anywhere.post(SIGN_IN_CODE, body) for _ in range(20)))
        assert sorted(reply.status_code for reply in replies) == [200] + [400] * 19, new
    counts = [(await anywhere.rows(f'SELECT count(*) FROM "{table}"'))[0][0] for table in ("user", "tenant")]
    assert counts == [1, 1]
    assert (await anywhere.rows("SELECT count(*) FROM session"))[0][0] == 2


async def test_of_thirty_guesses_at_once_three_are_looked_at(anywhere: AuthApp, outbox: OutboxReader) -> None:
    await anywhere.post(SEND, {"email": ADA, "type": "sign-in"})
    code = outbox.code(ADA)
    wrong = [f"{(int(code) + number) % 1_000_000:06}" for number in range(1, 31)]
    replies = await asyncio.gather(*(anywhere.post(SIGN_IN_CODE, {"email": ADA, "otp": otp}) for otp in wrong))
    codes = [reply.json()["code"] for reply in replies]
    assert codes.count("TOO_MANY_ATTEMPTS") == 1, "the fourth makes the code void"
    assert set(codes) == {"INVALID_OTP", "TOO_MANY_ATTEMPTS"}
    counts = await anywhere.rows("SELECT value FROM verification WHERE identifier LIKE 'code-tries-%'")
    assert counts == [("3",)] * 2, "for this place, and for all strange ones"
    assert (await anywhere.post(SIGN_IN_CODE, {"email": ADA, "otp": code})).status_code == 400


async def test_of_twenty_requests_for_a_code_at_once_three_send_one(anywhere: AuthApp, outbox: OutboxReader) -> None:
    body = {"email": ADA, "type": "sign-in"}
    replies = await asyncio.gather(*(anywhere.post(SEND, body) for _ in range(20)))
    assert sorted(reply.status_code for reply in replies) == [200] * 3 + [429] * 17
    assert len(outbox.mails(ADA)) == 3
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert 3500 < int(refused.headers["x-retry-after"]) <= 3600
    assert refused.headers["retry-after"] == refused.headers["x-retry-after"]
    assert set(refused.json()) == {"message"}
    assert (await anywhere.post(SEND, {"email": EVE, "type": "sign-in"})).status_code == 200


async def test_the_limit_holds_over_processes_and_restarts(tmp_path: Path) -> None:
    statuses = []
    for _ in range(2):
        async with running_auth(tmp_path) as one, running_auth(tmp_path) as two:
            for app in (one, two):
                statuses.append((await app.post(SEND, {"email": ADA, "type": "sign-in"})).status_code)
    assert statuses == [200, 200, 200, 429]


async def test_letter_case_makes_no_other_address(app: AuthApp, outbox: OutboxReader) -> None:
    for email in (ADA, "Ada@example.com", "ADA@EXAMPLE.COM"):
        assert (await app.post(SEND, {"email": email, "type": "sign-in"})).status_code == 200
    assert (await app.post(SEND, {"email": "aDa@example.com", "type": "sign-in"})).status_code == 429
    reply = await app.post(SIGN_IN_CODE, {"email": "ADA@example.com", "otp": outbox.code(ADA)})
    assert reply.json()["user"]["email"] == ADA


async def test_a_guest_who_signs_in_with_a_code_becomes_that_user(app: AuthApp, outbox: OutboxReader) -> None:
    guest = (await app.post("/api/auth/sign-in/anonymous")).json()
    await app.post(SEND, {"email": ADA, "type": "sign-in"})
    body = {"email": ADA, "otp": outbox.code(ADA), "name": "Ada"}
    reply = await app.post(SIGN_IN_CODE, body, **bearer(guest["token"]))
    user = reply.json()["user"]
    assert (user["id"], user["emailVerified"], user["isAnonymous"]) == (guest["user"]["id"], True, False)
    assert await app.get_session(guest["token"]) is None


async def test_a_banned_user_gets_no_session_by_code(app: AuthApp, outbox: OutboxReader) -> None:
    await sign_up(app)
    await app.write('UPDATE "user" SET banned = 1')
    await app.post(SEND, {"email": ADA, "type": "sign-in"})
    reply = await app.post(SIGN_IN_CODE, {"email": ADA, "otp": outbox.code(ADA)})
    assert (reply.status_code, reply.json()["code"]) == (403, "BANNED_USER")


async def test_a_code_from_the_database_is_of_no_use(app: AuthApp, outbox: OutboxReader) -> None:
    await app.post(SEND, {"email": ADA, "type": "sign-in"})
    ((value,),) = await app.rows("SELECT value FROM verification WHERE identifier LIKE 'sign-in-otp-%'")
    assert outbox.code(ADA) not in value
    reply = await app.post(SIGN_IN_CODE, {"email": ADA, "otp": value.split(":")[0]})
    assert reply.status_code == 400


# Forgotten passwords -------------------------------------------------------------------------------


async def test_of_ten_resets_with_one_link_at_once_one_succeeds(anywhere: AuthApp, outbox: OutboxReader) -> None:
    await sign_up(anywhere)
    await anywhere.post(REQUEST_RESET, {"email": ADA, "redirectTo": "/reset"})
    bodies = [{"token": outbox.token(ADA), "newPassword": f"new-password-{n}"} for n in range(10)]
    replies = await asyncio.gather(*(anywhere.post(RESET, body) for body in bodies))
    statuses = [reply.status_code for reply in replies]
    assert sorted(statuses) == [200] + [400] * 9
    assert await can_sign_in(anywhere, bodies[statuses.index(200)]["newPassword"])
    assert not await can_sign_in(anywhere, PASSWORD)


@pytest.mark.parametrize("change", ["password", "email", "reset", "user"])
async def test_a_reset_link_is_void_once_the_account_has_changed(
    app: AuthApp, outbox: OutboxReader, change: str
) -> None:
    token = await sign_up(app)
    await app.post(REQUEST_RESET, {"email": ADA, "redirectTo": "/reset"})
    older = outbox.token(ADA)
    if change == "password":
        body = {"currentPassword": PASSWORD, "newPassword": ANOTHER}
        assert (await app.post("/api/auth/change-password", body, **bearer(token))).status_code == 200
    elif change == "email":
        await app.write("UPDATE user SET email = 'moved@example.com'")
    elif change == "reset":
        await app.post(REQUEST_RESET, {"email": ADA})
        body = {"token": outbox.token(ADA), "newPassword": ANOTHER}
        assert (await app.post(RESET, body)).status_code == 200
    else:
        assert (await app.post("/api/auth/delete-user", {}, **bearer(token))).status_code == 200
        await app.sign_up(ADA)
    reply = await app.post(RESET, {"token": older, "newPassword": "eves-password"})
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_TOKEN")
    page = await app.http.get(f"{RESET}/{older}", params={"callbackURL": "/reset"})
    assert page.headers["location"] == f"{app.url}/reset?error=INVALID_TOKEN"


async def test_a_reset_link_expires_after_an_hour(app: AuthApp, outbox: OutboxReader) -> None:
    await sign_up(app)
    await app.post(REQUEST_RESET, {"email": ADA})
    ((expires_at,),) = await app.rows("SELECT expiresAt FROM verification WHERE identifier LIKE 'reset-%'")
    left = datetime.fromisoformat(expires_at) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    await app.write("UPDATE verification SET expiresAt = '2026-01-01T00:00:00.000Z'")
    reply = await app.post(RESET, {"token": outbox.token(ADA), "newPassword": ANOTHER})
    assert reply.status_code == 400
    assert await can_sign_in(app, PASSWORD)


async def test_neither_the_table_nor_a_stranger_has_a_reset_token(app: AuthApp, outbox: OutboxReader) -> None:
    await sign_up(app)
    await app.post(REQUEST_RESET, {"email": ADA})
    await app.post(REQUEST_RESET, {"email": "nobody@example.com"})
    rows = await app.rows("SELECT identifier, value FROM verification WHERE identifier LIKE 'reset-%'")
    assert len(rows) == 2, "asking for nobody's leaves a row like any other"
    assert outbox.token(ADA) not in repr(rows)
    for identifier, value in rows:
        for trick in (identifier, identifier.removeprefix("reset-password:"), value, "", "x", "\0", "%"):
            reply = await app.post(RESET, {"token": trick, "newPassword": ANOTHER})
            assert reply.status_code == 400
    assert outbox.mails("nobody@example.com") == []


@pytest.mark.parametrize("way", ["link", "code"])
async def test_who_took_an_address_that_was_not_theirs_is_out_after_its_owners_reset(
    app: AuthApp, outbox: OutboxReader, way: str
) -> None:
    """Somebody signs up with another's address; the owner comes later and asks for a new password."""
    theirs = await sign_up(app)
    if way == "link":
        await app.post(REQUEST_RESET, {"email": ADA})
        body = {"token": outbox.token(ADA), "newPassword": ANOTHER}
        reply = await app.post(RESET, body)
    else:
        await app.post("/api/auth/email-otp/request-password-reset", {"email": ADA})
        body = {"email": ADA, "otp": outbox.code(ADA), "password": ANOTHER}
        reply = await app.post(RESET_CODE, body)
    assert reply.status_code == 200
    assert await app.get_session(theirs) is None
    assert not await can_sign_in(app, PASSWORD)
    assert await can_sign_in(app, ANOTHER)


async def test_a_user_without_a_password_can_choose_one(app: AuthApp, outbox: OutboxReader) -> None:
    await app.post(SEND, {"email": ADA, "type": "sign-in"})
    reply = await app.post(SIGN_IN_CODE, {"email": ADA, "otp": outbox.code(ADA)})
    headers = bearer(reply.json()["token"])
    body = {"currentPassword": "", "newPassword": ANOTHER}
    refused = await app.post("/api/auth/change-password", body, **headers)
    assert refused.json()["code"] == "CREDENTIAL_ACCOUNT_NOT_FOUND"
    await app.post(REQUEST_RESET, {"email": ADA})
    assert (await app.post(RESET, {"token": outbox.token(ADA), "newPassword": ANOTHER})).status_code == 200
    assert await app.get_session(reply.json()["token"]) is None, "a reset ends all sessions"
    again = await app.post("/api/auth/sign-in/email", {"email": ADA, "password": ANOTHER})
    headers = bearer(again.json()["token"])
    accounts = (await app.http.get("/api/auth/list-accounts", headers=headers)).json()
    assert [account["providerId"] for account in accounts] == ["credential"]


# Addresses -----------------------------------------------------------------------------------------


def forged(key: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    now = datetime.now(UTC)
    full = {"email": ADA, "iat": now, "exp": now + timedelta(hours=1), **claims}
    return jwt.encode({name: value for name, value in full.items() if value is not None}, key, algorithm=algorithm)


FORGERIES = [
    (forged(key="another-secret-another-secret-another"), "INVALID_TOKEN"),
    (forged(key="", algorithm="none"), "INVALID_TOKEN"),
    (forged(key=SECRET * 2, algorithm="HS512"), "INVALID_TOKEN"),
    (forged(email=None), "INVALID_TOKEN"),
    (forged(email="nobody@example.com"), "INVALID_TOKEN"),
    (forged(sub="somebody-else"), "INVALID_TOKEN"),
    (forged(exp=None), "INVALID_TOKEN"),
    (forged(updateTo="eve@example.com"), "INVALID_TOKEN"),
    (forged(requestType="change-email-verification"), "INVALID_TOKEN"),
    (forged(exp=datetime.now(UTC) - timedelta(seconds=1)), "TOKEN_EXPIRED"),
    ("", "INVALID_TOKEN"),
    ("a.b.c", "INVALID_TOKEN"),
    ("\ud7ff", "INVALID_TOKEN"),
    ("x" * 5000, "INVALID_TOKEN"),
]


async def test_a_link_that_is_not_ours_verifies_nothing(app: AuthApp) -> None:
    await sign_up(app)
    for token, code in FORGERIES:
        reply = await app.http.get(VERIFY, params={"token": token})
        assert (reply.status_code, reply.json()["code"]) == (401, code), token
        there = await app.http.get(VERIFY, params={"token": token, "callbackURL": "/done?a=b#c"})
        assert (there.status_code, there.headers["location"]) == (302, f"/done?a=b&error={code}#c")
    assert await app.rows('SELECT "emailVerified" FROM "user"') == [(0,)]


async def test_a_link_of_an_older_server_without_our_claim_still_verifies(app: AuthApp) -> None:
    await sign_up(app)
    assert (await app.http.get(VERIFY, params={"token": forged()})).json() == {"status": True, "user": None}
    assert await app.rows('SELECT "emailVerified" FROM "user"') == [(1,)]


async def change_link(app: AuthApp, outbox: OutboxReader, token: str, new: str = "new@example.com") -> str:
    reply = await app.post("/api/auth/change-email", {"newEmail": new}, **bearer(token))
    assert reply.json() == {"status": True}
    return outbox.token(new)


async def test_a_change_link_is_for_who_asked_and_for_once(app: AuthApp, outbox: OutboxReader) -> None:
    ada, eve = await sign_up(app), await sign_up(app, EVE)
    link = await change_link(app, outbox, ada)
    refused = await app.http.get(VERIFY, params={"token": link}, headers=bearer(eve))
    assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHORIZED")
    done = await app.http.get(VERIFY, params={"token": link})
    assert done.json()["user"]["email"] == "new@example.com"
    assert "set-cookie" not in done.headers, "reading a mail is no sign-in here"
    # The old address is free: who has it next must not be moved by the old link.
    await sign_up(app)
    again = await app.http.get(VERIFY, params={"token": link})
    assert (again.status_code, again.json()["code"]) == (401, "INVALID_TOKEN")
    emails = {email for (email,) in await app.rows('SELECT email FROM "user"')}
    assert emails == {ADA, EVE, "new@example.com"}


async def test_an_address_that_was_taken_meanwhile_is_not_taken_away(anywhere: AuthApp, outbox: OutboxReader) -> None:
    ada = await sign_up(anywhere)
    link = await change_link(anywhere, outbox, ada)
    await anywhere.post("/api/auth/email-otp/request-email-change", {"newEmail": "new@example.com"}, **bearer(ada))
    code = outbox.code("new@example.com")
    await sign_up(anywhere, "new@example.com")
    reply = await anywhere.http.get(VERIFY, params={"token": link})
    assert reply.status_code == 422
    body = {"newEmail": "new@example.com", "otp": code}
    reply = await anywhere.post("/api/auth/email-otp/change-email", body, **bearer(ada))
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_OTP")
    assert (await anywhere.get_session(ada))["user"]["email"] == ADA


async def test_a_code_for_anothers_new_address_changes_nothing_of_mine(app: AuthApp, outbox: OutboxReader) -> None:
    ada, eve = await sign_up(app), await sign_up(app, EVE)
    await app.post("/api/auth/email-otp/request-email-change", {"newEmail": "new@example.com"}, **bearer(ada))
    body = {"newEmail": "new@example.com", "otp": outbox.code("new@example.com")}
    reply = await app.post("/api/auth/email-otp/change-email", body, **bearer(eve))
    assert reply.json()["code"] == "INVALID_OTP"
    reply = await app.post("/api/auth/email-otp/change-email", body, **bearer(ada))
    assert reply.json() == {"success": True}
    assert (await app.get_session(ada))["user"]["email"] == "new@example.com"


async def test_a_guest_who_has_to_verify_an_address_keeps_their_database(tmp_path: Path, outbox: OutboxReader) -> None:
    async with running_auth(tmp_path, hasher=QuickHasher(), email_verification="required") as app:
        guest = (await app.post("/api/auth/sign-in/anonymous")).json()
        body = {"name": "Ada", "email": ADA, "password": PASSWORD}
        reply = await app.post("/api/auth/sign-up/email", body, **bearer(guest["token"]))
        assert reply.json()["token"] is None
        assert await app.get_session(guest["token"]) is not None
        done = await app.http.get(outbox.link(ADA), headers=bearer(guest["token"]))
        assert (done.status_code, done.headers["location"]) == (302, "/")
        session = await app.get_session(done.headers["set-auth-token"])
        assert session["user"]["email"] == ADA
        ((guest_id, user_id),) = await app.rows("SELECT guest_id, user_id FROM guest_link")
        assert (guest_id, user_id) == (guest["user"]["id"], session["user"]["id"])
        again = await app.http.get(outbox.link(ADA))
        assert "set-auth-token" not in again.headers, "a link signs in once"


# Where links lead ----------------------------------------------------------------------------------

EVIL = (
    "http://evil.example/x",
    "//evil.example/x",
    "/\\evil.example",
    "/\t/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "http://trusted.example@evil.example/",
    "http://trusted.example.evil.example/",
    "/x\r\nSet-Cookie: a=b",
    "/%2fevil.example",
)


async def test_no_mail_and_no_answer_leads_to_a_stranger(app: AuthApp, outbox: OutboxReader) -> None:
    token = await sign_up(app)
    await app.post(REQUEST_RESET, {"email": ADA})
    pages = (VERIFY, f"{RESET}/{outbox.token(ADA)}", f"{RESET}/x", "/api/auth/delete-user/callback")
    for target in EVIL:
        posts: tuple[tuple[str, dict[str, str]], ...] = (
            (REQUEST_RESET, {"email": ADA, "redirectTo": target}),
            ("/api/auth/send-verification-email", {"email": ADA, "callbackURL": target}),
            ("/api/auth/change-email", {"newEmail": "new@example.com", "callbackURL": target}),
            ("/api/auth/delete-user", {"callbackURL": target}),
        )
        for path, body in posts:
            assert (await app.post(path, body, **bearer(token))).status_code == 403, (path, target)
        for path in pages:
            query = {"token": forged(), "callbackURL": target}
            reply = await app.http.get(path, params=query, headers=bearer(token))
            assert reply.status_code == 403, (path, target)
            assert "location" not in reply.headers
    assert len(outbox.mails()) == 1
    assert await app.get_session(token) is not None


async def test_links_lead_to_the_apps_own_pages(app: AuthApp, outbox: OutboxReader) -> None:
    await sign_up(app)
    page = "http://trusted.example/reset?step=2#form"
    await app.post(REQUEST_RESET, {"email": ADA, "redirectTo": page})
    assert outbox.link(ADA).endswith(f"?callbackURL={quote(page, safe='')}")
    reply = await app.http.get(outbox.link(ADA))
    token = outbox.token(ADA)
    assert reply.headers["location"] == f"http://trusted.example/reset?step=2&token={token}#form"
    assert (await app.http.get(outbox.link(ADA))).headers["location"].endswith(f"{token}#form")


# Accounts and sessions -----------------------------------------------------------------------------


async def test_nobody_ends_anothers_session(app: AuthApp) -> None:
    ada, eve = await sign_up(app), await sign_up(app, EVE)
    for path in ("/api/auth/revoke-session", "/api/auth/revoke-sessions", "/api/auth/revoke-other-sessions"):
        assert (await app.post(path, {"token": ada}, **bearer(eve))).json() == {"status": True} or path
    assert await app.get_session(ada) is not None
    assert await app.get_session(eve) is None


async def test_of_two_password_changes_at_once_one_holds(anywhere: AuthApp) -> None:
    token = await sign_up(anywhere)
    # So few that the delay after wrong passwords does not begin: who is late gives one.
    bodies = [{"currentPassword": PASSWORD, "newPassword": f"new-password-{n}"} for n in range(4)]
    replies = await asyncio.gather(
        *(anywhere.post("/api/auth/change-password", body, **bearer(token)) for body in bodies)
    )
    statuses = [reply.status_code for reply in replies]
    assert sorted(statuses) == [200] + [400] * 3
    assert await can_sign_in(anywhere, bodies[statuses.index(200)]["newPassword"])


async def test_a_deleted_user_leaves_nothing_but_a_database_to_delete(anywhere: AuthApp, outbox: OutboxReader) -> None:
    token = await sign_up(anywhere)
    other = await sign_up(anywhere, EVE)
    before = datetime.now(UTC).timestamp() * 1000
    replies = await asyncio.gather(
        *(anywhere.post("/api/auth/delete-user", {"password": PASSWORD}, **bearer(token)) for _ in range(5))
    )
    assert 200 in {reply.status_code for reply in replies}
    assert await anywhere.get_session(token) is None
    assert await anywhere.get_session(other) is not None
    assert [await anywhere.rows(f"SELECT count(*) FROM {t}") for t in ('"user"', "account", "session")] == [[(1,)]] * 3
    ((state, due_at_ms),) = await anywhere.rows("SELECT state, due_at_ms FROM tenant WHERE state <> 'provisioning'")
    assert state == "deleting"
    assert before - 1000 <= due_at_ms <= datetime.now(UTC).timestamp() * 1000
    assert len(await anywhere.rows("SELECT 1 FROM audit_entry WHERE action = 'user.removed'")) == 1


async def test_when_the_tenant_cannot_be_marked_the_user_stays(app: AuthApp) -> None:
    token = await sign_up(app)
    await app.write("ALTER TABLE tenant RENAME TO hidden")
    reply = await app.post("/api/auth/delete-user", {}, **bearer(token))
    assert reply.status_code == 503
    await app.write("ALTER TABLE hidden RENAME TO tenant")
    assert (await app.get_session(token))["user"]["email"] == ADA


async def test_a_link_to_delete_works_for_its_user_only(tmp_path: Path, outbox: OutboxReader) -> None:
    async with running_auth(tmp_path, hasher=QuickHasher(), confirm_deletion="mail") as app:
        ada, eve = await sign_up(app), await sign_up(app, EVE)
        reply = await app.post("/api/auth/delete-user", {}, **bearer(ada))
        assert reply.json()["message"] == "Verification email sent"
        path, link = "/api/auth/delete-user/callback", outbox.token(ADA)
        assert (await app.http.get(path, params={"token": link})).status_code == 401
        assert (await app.http.get(path, params={"token": link}, headers=bearer(eve))).status_code == 404
        posted = await app.post("/api/auth/delete-user", {"token": link}, **bearer(eve))
        assert posted.status_code == 404
        assert [await app.get_session(token) is not None for token in (ada, eve)] == [True, True]
        done = await app.post("/api/auth/delete-user", {"token": link}, **bearer(ada))
        assert done.json() == {"success": True, "message": "User deleted"}
        assert [await app.get_session(token) is not None for token in (ada, eve)] == [False, True]


async def test_wrong_passwords_count_wherever_they_are_given(app: AuthApp) -> None:
    """Who has a session but not the password guesses no more often than at the front door."""
    token = await sign_up(app)
    wrong = "wrong-password-1"
    ways: list[tuple[str, dict[str, str]]] = [
        ("/api/auth/verify-password", {"password": wrong}),
        ("/api/auth/change-password", {"currentPassword": wrong, "newPassword": ANOTHER}),
        ("/api/auth/delete-user", {"password": wrong}),
    ]
    replies = [await app.post(path, body, **bearer(token)) for path, body in ways * 2]
    assert [reply.status_code for reply in replies] == [400] * 5 + [429]
    assert not await can_sign_in(app, PASSWORD), "the right one, but too soon"
    right = await app.post("/api/auth/verify-password", {"password": PASSWORD}, **bearer(token))
    assert right.status_code == 429


async def test_a_session_of_yesterday_neither_sees_the_others_nor_deletes(app: AuthApp) -> None:
    token = await sign_up(app)
    await app.write("UPDATE session SET createdAt = '2026-01-01T00:00:00.000Z'")
    listed: httpx.Response = await app.http.get("/api/auth/list-sessions", headers=bearer(token))
    assert listed.json()["code"] == "SESSION_NOT_FRESH"
    refused = await app.post("/api/auth/delete-user", {}, **bearer(token))
    assert refused.json()["code"] == "SESSION_EXPIRED"
    assert (await app.post("/api/auth/delete-user", {"password": PASSWORD}, **bearer(token))).status_code == 200
