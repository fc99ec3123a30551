"""Administration with better-auth's official client, unmodified, against the running service."""

import json
from typing import Any

import pytest
from testbed.servers import ROOT, Service, run_node

from tests.e2e.people import PASSWORD

_SCRIPT = ROOT / "tests/e2e/node/better_auth_admin.mjs"


@pytest.fixture(scope="module")
def told(service: Service) -> dict[str, Any]:
    made = service.run("users", "create-admin", "admin@example.com", "--password-stdin", stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    done = run_node(_SCRIPT, service.url, "admin@example.com", PASSWORD)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_users_are_made_found_and_changed(told: dict[str, Any]) -> None:
    made = told["createUser"]["user"]
    assert (made["email"], made["role"], made["image"]) == ("made@example.com", "user", "http://i.example/1")
    assert told["duplicate"]["code"] == "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL"
    assert [user["id"] for user in told["listUsers"]["users"]] == [made["id"]]
    assert (told["listUsers"]["total"], told["listUsers"]["limit"]) == (1, 10)
    assert told["getUser"] == made
    assert told["updateUser"]["name"] == "Renamed"
    assert told["setRole"]["user"]["role"] == "user,editor"


def test_a_password_that_is_set_replaces_the_old_one(told: dict[str, Any]) -> None:
    assert told["setPassword"] == {"status": True}
    assert told["oldPassword"]["code"] == "INVALID_EMAIL_OR_PASSWORD"
    assert told["newPassword"]["user"]["email"] == "made@example.com"


def test_only_administrators_may(told: dict[str, Any]) -> None:
    assert (told["forbidden"]["status"], told["forbidden"]["code"]) == (403, "YOU_ARE_NOT_ALLOWED_TO_LIST_USERS")
    assert told["mayNot"]["success"] is False
    assert told["may"]["success"] is True


def test_sessions_are_listed_and_ended_at_once(told: dict[str, Any]) -> None:
    assert len(told["sessions"]["sessions"]) == 1
    assert told["sessionAfterRevoke"] is None
    assert told["sessionAfterRevokeAll"] is None


def test_a_banned_user_does_not_get_in(told: dict[str, Any]) -> None:
    assert (told["ban"]["user"]["banned"], told["ban"]["user"]["banReason"]) == (True, "spam")
    assert (told["bannedSignIn"]["status"], told["bannedSignIn"]["code"]) == (403, "BANNED_USER")
    assert told["unban"]["user"]["banned"] is False


def test_an_administrator_acts_as_somebody_and_is_themself_again(told: dict[str, Any]) -> None:
    made, admin = told["createUser"]["user"], told["signIn"]["user"]
    assert told["sessionAsOther"]["user"]["id"] == made["id"]
    assert told["sessionAsOther"]["session"]["impersonatedBy"] == admin["id"]
    assert "better-auth.admin_session" in told["cookiesAsOther"]
    assert told["notAdminNow"]["status"] == 403
    assert told["sessionAsSelf"]["user"]["id"] == admin["id"]
    assert told["sessionAsSelf"]["session"]["impersonatedBy"] is None
    assert "better-auth.admin_session" not in told["cookiesAsSelf"]


def test_a_removed_user_is_gone_and_the_trail_tells_who_did_what(told: dict[str, Any], service: Service) -> None:
    assert told["removeUser"] == {"success": True}
    assert told["goneUser"]["code"] == "USER_NOT_FOUND"
    user, admin = told["createUser"]["user"]["id"], told["signIn"]["user"]["id"]
    listed = service.run("audit", "list", "--target", f"user:{user}", "--json")
    entries = [json.loads(line) for line in listed.stdout.splitlines()]
    by_admin = [entry["action"] for entry in entries if entry["actor"] == f"user:{admin}"]
    assert by_admin == [
        "user.created", "user.updated", "user.role_changed", "user.password_changed", "user.session_revoked",
        "user.sessions_revoked", "user.banned", "user.unbanned", "user.impersonated", "user.session_revoked",
        "user.removed",
    ]  # fmt: skip
    assert "spam" in listed.stdout
    assert "another-pass-1" not in listed.stdout
