"""What takes a recent sign-in, what does not, and how old a session may become; by setting."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.auth_app import AuthApp, QuickHasher, running_service

ADA, PASSWORD = "ada@example.com", "correct-horse-1"
NEW = {"newEmail": "new@example.com"}
SERIOUS: list[tuple[str, dict[str, Any], int, str]] = [
    ("change-email", NEW, 403, "SESSION_NOT_FRESH"),
    ("email-otp/request-email-change", NEW, 403, "SESSION_NOT_FRESH"),
    ("email-otp/change-email", {**NEW, "otp": "000000"}, 403, "SESSION_NOT_FRESH"),
    ("unlink-account", {"accountId": "x"}, 403, "SESSION_NOT_FRESH"),
    ("delete-user", {}, 400, "SESSION_EXPIRED"),
]


async def ada_of(app: AuthApp, days_ago: float) -> dict[str, str]:
    """Headers of a session that began then."""
    token = (await app.sign_up(ADA)).json()["token"]
    begun = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat(timespec="milliseconds")
    await app.write('UPDATE session SET "createdAt" = ?', begun)
    return {"authorization": f"Bearer {token}"}


async def test_what_is_serious_takes_a_sign_in_within_a_day(tmp_path: Path) -> None:
    async with running_service(tmp_path, QuickHasher()) as app:
        headers = await ada_of(app, 1.01)
        for path, body, status, code in SERIOUS:
            reply = await app.post(f"/api/auth/{path}", body, **headers)
            assert (reply.status_code, reply.json()["code"]) == (status, code), path
        assert not (tmp_path / "outbox.jsonl").exists(), "no mail went out either"
        listed: httpx.Response = await app.http.get("/api/auth/list-sessions", headers=headers)
        assert listed.json()["code"] == "SESSION_NOT_FRESH"
        # What shows who they are by itself, or changes nothing of how they get in, does not.
        for path, body in (
            ("update-user", {"name": "Ada L"}),
            ("api-key/create", {}),
            ("change-password", {"currentPassword": PASSWORD, "newPassword": "another-pass-22"}),
            ("delete-user", {"password": "another-pass-22"}),
        ):
            reply = await app.post(f"/api/auth/{path}", body, **headers)
            assert reply.status_code == 200, (path, reply.text)


async def test_after_signing_in_again_it_works(tmp_path: Path) -> None:
    async with running_service(tmp_path, QuickHasher()) as app:
        headers = await ada_of(app, 2)
        assert (await app.post("/api/auth/change-email", NEW, **headers)).status_code == 403
        known = {"email": ADA, "password": PASSWORD}
        token = (await app.post("/api/auth/sign-in/email", known, **headers)).json()["token"]
        fresh = {"authorization": f"Bearer {token}"}
        assert (await app.post("/api/auth/change-email", NEW, **fresh)).status_code == 200
        assert (await app.post("/api/auth/email-otp/request-email-change", NEW, **fresh)).status_code == 200


@pytest.mark.parametrize(("fresh_s", "status"), [(0, 200), (60, 403), (3 * 86_400, 200)])
async def test_how_recent_is_a_setting(tmp_path: Path, fresh_s: int, status: int) -> None:
    async with running_service(tmp_path, QuickHasher(), session_fresh_s=fresh_s) as app:
        headers = await ada_of(app, 2)
        assert (await app.post("/api/auth/change-email", NEW, **headers)).status_code == status


async def test_how_old_a_session_becomes_is_a_setting(tmp_path: Path) -> None:
    async with running_service(tmp_path, QuickHasher(), session_max_days=3) as app:
        headers = await ada_of(app, 2.5)
        found = (await app.http.get("/api/auth/get-session", headers=headers)).json()
        left = datetime.fromisoformat(found["session"]["expiresAt"]) - datetime.now(UTC)
        assert timedelta(hours=11) < left < timedelta(hours=13)
        await app.write("""UPDATE session SET "createdAt" = '2026-01-01T00:00:00.000Z'""")
        assert (await app.http.get("/api/auth/get-session", headers=headers)).json() is None
        assert await app.rows("SELECT count(*) FROM session") == [(0,)]


@pytest.mark.parametrize("strategy", ["compact", "jwt"])
async def test_the_cookie_cache_tells_front_ends_the_same_end(tmp_path: Path, strategy: Any) -> None:
    async with running_service(tmp_path, QuickHasher(), session_cookie_cache=strategy, session_max_days=3) as app:
        reply = await app.sign_up(ADA)
        cookies = dict(cookie.split(";")[0].split("=", 1) for cookie in reply.headers.get_list("set-cookie"))
        sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
        await app.write("""UPDATE session SET "createdAt" = '2026-01-01T00:00:00.000Z'""")
        reply = await app.http.get("/api/auth/get-session", headers={"cookie": sent})
        assert reply.json() is None
