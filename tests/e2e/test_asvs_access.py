"""OWASP ASVS 5.0, level 2, chapter V8: a test for each requirement that applies. docs/security.md lists them."""

import re

import httpx
import pytest
from testbed.servers import Service

from tests.e2e.asvs_scene import SECURITY, AssessedService
from tests.e2e.attack_routes import ROUTES
from tests.e2e.people import PASSWORD, run_sql


@pytest.fixture(scope="module")
def scene(service: Service) -> AssessedService:
    return AssessedService(service)


PROTECTED = ("role", "banned", "banReason", "banExpires", "isAnonymous")


def test_v8_1_1_who_may_call_what_is_written_down(scene: AssessedService) -> None:
    decided = {re.sub(r":\w+\}", "}", row.route) for row in ROUTES}
    decided |= {row.target for row in ROUTES if row.is_mount}
    for path in scene.get("/schema/openapi.json").json()["paths"]:
        assert path in decided or path.rstrip("/") in decided or path.startswith("/schema"), path


def test_v8_1_2_which_fields_are_whose_is_documented() -> None:
    section = SECURITY.split("## Fields", 1)[1].split("\n## ", 1)[0]
    for field in (*PROTECTED, "emailVerified", "password"):
        assert f"`{field}`" in section, field


def test_v8_2_1_functions_of_administrators_are_theirs_only(scene: AssessedService) -> None:
    person, victim = scene.person(), scene.person()
    for path, body in (
        ("ban-user", {"userId": victim.user_id}),
        ("set-role", {"userId": person.user_id, "role": "admin"}),
        ("impersonate-user", {"userId": victim.user_id}),
        ("remove-user", {"userId": victim.user_id}),
    ):
        assert scene.auth(f"admin/{path}", body, person.token).status_code == 403
    assert scene.get("/admin/audit", person.token).status_code == 403
    assert scene.lives(victim.token)


def test_v8_2_2_another_users_things_are_out_of_reach(scene: AssessedService) -> None:
    person, other = scene.person(), scene.person()
    assert scene.auth("revoke-session", {"token": other.token}, person.token).status_code == 200  # of nothing
    assert scene.lives(other.token)
    listed = scene.get("/api/auth/list-sessions", person.token).json()
    assert {session["userId"] for session in listed} == {person.user_id}
    [account] = scene.get("/api/auth/list-accounts", other.token).json()
    unlinked = scene.auth("unlink-account", {"accountId": account["id"]}, person.token)
    assert unlinked.status_code in {400, 404}
    assert scene.sign_in(other.email).status_code == 200


def test_v8_2_3_fields_that_are_not_the_users_stay_as_they_are(scene: AssessedService) -> None:
    person = scene.person()
    for field, value in zip(PROTECTED, ("admin", True, "x", "2030-01-01T00:00:00.000Z", True), strict=True):
        signed_up = {"name": "N", "email": f"v823-{field.lower()}@example.com", "password": PASSWORD, field: value}
        assert scene.auth("sign-up/email", signed_up).status_code == 400, field
        assert scene.auth("update-user", {"name": "N", field: value}, person.token).status_code == 400, field
    assert scene.auth("update-user", {"name": "N", "emailVerified": True}, person.token).status_code in {200, 400}
    user = scene.get("/api/auth/get-session", person.token).json()["user"]
    assert (user["role"], user["banned"], user["emailVerified"]) == ("user", False, False)
    [account] = scene.get("/api/auth/list-accounts", person.token).json()
    assert not {"password", "accessToken", "refreshToken", "idToken"} & account.keys()


def test_v8_3_1_rules_hold_whatever_the_client_claims(scene: AssessedService) -> None:
    person = scene.person()
    claims = {"x-role": "admin", "x-user-id": "1", "x-forwarded-user": "admin@example.com", "cookie": "role=admin"}
    assert scene.get("/admin/audit", person.token, **claims).status_code == 403
    refused = scene.post("/api/auth/admin/set-role", {"userId": person.user_id, "role": "admin", "isAdmin": True},
                         person.token, **{"x-role": "admin"})  # fmt: skip
    assert refused.status_code == 403


def test_v8_4_1_one_tenant_does_not_reach_another(scene: AssessedService) -> None:
    mine, theirs = scene.person().credentials(), scene.person().credentials()
    secret = "INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)"
    run_sql(theirs, f"{secret} VALUES ('v841', 'theirs', 'theirs', 'noun', 0, 0)")
    reply = httpx.post(
        f"{theirs['url']}v3/pipeline",
        headers={"authorization": f"Bearer {mine['access_token']}"},
        json={"requests": [{"type": "execute", "stmt": {"sql": "SELECT * FROM dictionary_entries"}}]},
    )
    assert reply.status_code in {401, 403, 404}
    assert "theirs" not in reply.text
    assert run_sql(mine, "SELECT * FROM dictionary_entries") == []
