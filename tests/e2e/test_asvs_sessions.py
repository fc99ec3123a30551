"""OWASP ASVS 5.0, level 2, chapter V7: a test for each requirement that applies. docs/security.md lists them."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from testbed.servers import Service

from freehold.auth.sessions.sessions import EXTEND_AFTER, LIFETIME, MAX_AGE, SHORT_LIFETIME
from freehold.dates import to_iso
from tests.e2e.asvs_scene import SECURITY, AssessedService
from tests.e2e.people import PASSWORD, Person


@pytest.fixture(scope="module")
def scene(service: Service) -> AssessedService:
    return AssessedService(service)


def ago(**span: float) -> str:
    return to_iso(datetime.now(UTC) - timedelta(**span))


SESSIONS = SECURITY.split("## Sessions", 1)[-1].split("\n## ", 1)[0]


def test_v7_1_1_how_long_sessions_live_is_documented() -> None:
    for span in (LIFETIME, SHORT_LIFETIME, EXTEND_AFTER, MAX_AGE):
        days = span.days
        assert f"{days} day" in SESSIONS, days
    assert "SP 800-63B" in SESSIONS


def test_v7_1_2_how_many_sessions_there_may_be_is_documented() -> None:
    assert "any number of sessions" in SESSIONS


def test_v7_1_3_what_other_providers_have_to_do_with_sessions_is_documented() -> None:
    assert "identity provider" in SESSIONS


def test_v7_2_1_tokens_are_verified_by_the_service(scene: AssessedService) -> None:
    token = scene.person().token
    assert scene.lives(token)
    for forged in (token[:-1] + ("A" if token[-1] != "A" else "B"), token.swapcase(), f"{token}.signature", "x" * 32):
        assert not scene.lives(forged)
        assert scene.get("/databases/user", forged).status_code == 401


def test_v7_2_2_a_session_is_made_for_each_sign_in(scene: AssessedService) -> None:
    person = scene.person()
    tokens = {person.token, *(scene.sign_in(person.email).json()["token"] for _ in range(3))}
    assert len(tokens) == 4


def test_v7_2_3_a_token_cannot_be_guessed(scene: AssessedService) -> None:
    tokens = [scene.auth("sign-in/anonymous").json()["token"] for _ in range(20)]
    assert len(set(tokens)) == len(tokens)
    assert all(len(token) == 32 and token.isalnum() for token in tokens)  # 190 bits
    assert len(set("".join(tokens))) > 55  # of 62


def test_v7_2_4_signing_in_again_ends_the_session_before(scene: AssessedService) -> None:
    person = scene.person()
    known = {"email": person.email, "password": PASSWORD}
    with httpx.Client(base_url=scene.service.url, headers={"origin": scene.service.url}, timeout=30) as browser:
        before = browser.post("/api/auth/sign-in/email", json=known).json()["token"]
        after = browser.post("/api/auth/sign-in/email", json=known).json()["token"]
    assert (scene.lives(before), scene.lives(after)) == (False, True)
    assert scene.lives(person.token), "which is somewhere else"


def test_v7_3_1_a_session_that_is_not_used_ends(scene: AssessedService) -> None:
    person = scene.person()
    scene.age(person.token, expiresAt=ago(seconds=1))
    assert not scene.lives(person.token)
    assert timedelta(days=7) >= LIFETIME


def test_v7_3_2_a_session_ends_however_much_it_is_used(scene: AssessedService) -> None:
    person = scene.person()
    pair = scene.auth("login", {"email": person.email, "password": PASSWORD}).json()
    used = Person(person.url, person.email, person.user_id, pair["access_token"])
    credentials = used.credentials()
    assert scene.lives(person.token)
    [(other,)] = scene.rows('SELECT token FROM session WHERE "userId" = ? AND token <> ?', person.user_id, person.token)
    for token in (person.token, other):
        scene.age(token, createdAt=ago(days=400))
    # With all that came of it.
    body = {"requests": [{"type": "close"}]}
    bearer = {"authorization": f"Bearer {credentials['access_token']}"}
    assert httpx.post(f"{credentials['url']}v3/pipeline", headers=bearer, json=body).status_code == 401
    assert not scene.lives(person.token)
    assert scene.auth("refresh", {"refresh_token": pair["refresh_token"]}).status_code == 401
    assert scene.get("/databases/user", pair["access_token"]).status_code == 401
    listed = scene.get("/api/auth/list-sessions", scene.sign_in(person.email).json()["token"]).json()
    assert len(listed) == 1


def test_v7_4_1_a_session_that_was_ended_is_of_no_use(scene: AssessedService) -> None:
    person = scene.person()
    pair = scene.auth("login", {"email": person.email, "password": PASSWORD}).json()
    credentials = person.credentials()
    assert scene.auth("sign-out", None, person.token).status_code == 200
    assert not scene.lives(person.token)
    assert scene.get("/databases/user", person.token).status_code == 401
    used = httpx.post(
        f"{credentials['url']}v3/pipeline",
        headers={"authorization": f"Bearer {credentials['access_token']}"},
        json={"requests": [{"type": "close"}]},
    )
    assert used.status_code == 401
    # The other session goes on until it is ended too, with all its tokens.
    assert scene.get("/databases/user", pair["access_token"]).status_code == 200
    assert scene.auth("logout", {"refresh_token": pair["refresh_token"]}).status_code == 200
    assert scene.get("/databases/user", pair["access_token"]).status_code == 401
    assert scene.auth("refresh", {"refresh_token": pair["refresh_token"]}).status_code == 401


@pytest.mark.parametrize("how", ["ban-user", "remove-user"])
def test_v7_4_2_all_sessions_of_who_is_disabled_or_deleted_end(scene: AssessedService, how: str) -> None:
    person = scene.person()
    tokens = [person.token, *(scene.sign_in(person.email).json()["token"] for _ in range(2))]
    assert all(map(scene.lives, tokens))
    assert scene.auth(f"admin/{how}", {"userId": person.user_id}, scene.admin().token).status_code == 200
    assert not any(map(scene.lives, tokens))


def test_v7_4_3_a_new_password_can_end_all_other_sessions(scene: AssessedService) -> None:
    person = scene.person()
    other = scene.sign_in(person.email).json()["token"]
    body = {"currentPassword": PASSWORD, "newPassword": "another-horse-2", "revokeOtherSessions": True}
    kept = scene.auth("change-password", body, person.token).json()["token"]
    assert (scene.lives(kept), scene.lives(other), scene.lives(person.token)) == (True, False, False)


def test_v7_4_5_administrators_can_end_sessions(scene: AssessedService) -> None:
    person, admin = scene.person(), scene.admin()
    other = scene.sign_in(person.email).json()["token"]
    ended = scene.auth("admin/revoke-user-session", {"sessionToken": other}, admin.token)
    assert ended.status_code == 200
    assert (scene.lives(person.token), scene.lives(other)) == (True, False)
    assert scene.auth("admin/revoke-user-sessions", {"userId": person.user_id}, admin.token).status_code == 200
    assert not scene.lives(person.token)


def test_v7_5_1_changing_the_address_takes_a_recent_sign_in(scene: AssessedService) -> None:
    person = scene.person()
    scene.age(person.token, createdAt=ago(days=3))
    for path in ("change-email", "email-otp/request-email-change"):
        changed = scene.auth(path, {"newEmail": "v751@example.com"}, person.token)
        assert (changed.status_code, changed.json()["code"]) == (403, "SESSION_NOT_FRESH")
    # The password is changed by whoever gives the present one, which is a sign-in of its own.
    body = {"currentPassword": PASSWORD, "newPassword": "another-horse-2"}
    assert scene.auth("change-password", {**body, "currentPassword": "no"}, person.token).status_code == 400
    assert scene.auth("change-password", body, person.token).status_code == 200


def test_v7_5_2_users_see_and_end_their_sessions(scene: AssessedService) -> None:
    person = scene.person()
    other = scene.sign_in(person.email).json()["token"]
    listed = scene.get("/api/auth/list-sessions", person.token).json()
    assert {session["token"] for session in listed} == {person.token, other}
    assert scene.auth("revoke-session", {"token": other}, person.token).status_code == 200
    assert not scene.lives(other)
    scene.age(person.token, createdAt=ago(days=2))
    # Nobody sees them who has not signed in within the last day.
    assert scene.get("/api/auth/list-sessions", person.token).status_code == 403


def test_v7_6_1_sessions_here_and_at_an_identity_provider_are_apart_as_documented() -> None:
    assert "neither ends the other" in SESSIONS


def test_v7_6_2_no_session_is_begun_without_the_users_action(scene: AssessedService) -> None:
    """Not by a page elsewhere, which has the visitor's browser post a form or follow a link."""
    person = scene.person()
    known = {"email": person.email, "password": PASSWORD}
    cross_site = {"origin": "http://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    refused = httpx.post(f"{scene.service.url}/api/auth/sign-in/email", data=known, headers=cross_site)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    for path in ("sign-in/email", "sign-up/email", "sign-in/anonymous", "sign-in/email-otp"):
        assert scene.get(f"/api/auth/{path}").status_code == 404
