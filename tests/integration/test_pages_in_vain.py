"""A page that calls from where it cannot work is told so where it fails, and its operator in the log."""

from pathlib import Path

import httpx
import structlog

from tests.support.auth_app import QuickHasher, running_service

PAGE = "http://localhost:5173"
BODY = {"name": "Ada", "email": "ada@example.com", "password": "correct horse battery"}
CALLED = {"host": "127.0.0.1:8000", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}


async def test_localhost_and_127_0_0_1_are_explained_in_the_log_and_in_each_401(tmp_path: Path) -> None:
    async with running_service(tmp_path, QuickHasher(), trusted_origins=(PAGE,)) as app:
        with structlog.testing.capture_logs() as lines:
            headers = {**CALLED, "origin": PAGE}
            made = await app.http.post("/api/auth/sign-up/email", json=BODY, headers=headers)
            assert made.status_code == 200
            token = made.json()["token"]
            # A browser keeps no cookie, so none comes back.
            database = await app.http.get("/databases/user", headers=headers)
            account = await app.http.get("/api/auth/list-accounts", headers=headers)
            with_token = await app.http.get("/databases/user", headers={**headers, "authorization": f"Bearer {token}"})
            same_site = await app.http.get("/databases/user", headers={"host": "localhost:8000", "origin": PAGE})
    for refused, field in ((database, "detail"), (account, "message")):
        assert refused.status_code == 401
        assert "call http://localhost:8000" in refused.json()[field]
        assert refused.headers["access-control-allow-origin"] == PAGE  # so that the page can read it
    assert with_token.status_code in {200, 202}
    assert (same_site.status_code, "localhost:8000" in same_site.text) == (401, False)
    [told] = [line for line in lines if line["event"] == "cookie.not_kept"]
    assert told["origin"] == PAGE
    assert "http://localhost:8000" in told["hint"]
    assert not [line for line in lines if line["event"] == "origin.not_trusted"]


async def test_an_origin_that_is_not_trusted_leaves_a_line_and_a_developer_reads_which_setting(tmp_path: Path) -> None:
    async with running_service(tmp_path, QuickHasher(), trusted_origins=("https://app.example",)) as app:

        async def sign_up(origin: str) -> httpx.Response:
            headers = {"origin": origin, "sec-fetch-site": "cross-site"}
            return await app.http.post("/api/auth/sign-up/email", json=BODY, headers=headers)

        with structlog.testing.capture_logs() as lines:
            refused = await sign_up(PAGE)
            await sign_up(PAGE)
            strange = await sign_up("https://evil.example")
    assert refused.status_code == strange.status_code == 403
    assert refused.json() == {"code": "INVALID_ORIGIN", "message": f"Invalid origin: {PAGE} is not in TRUSTED_ORIGINS"}
    assert strange.json()["message"] == "Invalid origin"
    told = [line for line in lines if line["event"] == "origin.not_trusted"]
    assert [line["origin"] for line in told] == [PAGE, "https://evil.example"]
    assert all("TRUSTED_ORIGINS" in line["hint"] for line in told)
