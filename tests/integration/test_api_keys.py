"""API keys over HTTP: what one opens, what it does not, its limits under load, and its end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.mailed import OutboxReader

from freehold.auth.api_keys.types import NewApiKey
from freehold.dates import to_iso
from tests.support.auth_app import AuthApp, QuickHasher, running_service

SELECT = {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1"}}, {"type": "close"}]}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[AuthApp]:
    async with running_service(tmp_path, QuickHasher()) as app:
        yield app


async def sign_up(app: AuthApp, email: str = "ada@example.com") -> dict[str, str]:
    """A new user's headers; their database is there."""
    reply = await app.sign_up(email)
    assert reply.status_code == 200, reply.text
    headers = {"authorization": f"Bearer {reply.json()['token']}"}
    for _ in range(100):
        if (await app.http.get("/databases/user", headers=headers)).status_code == 200:
            return headers
        await asyncio.sleep(0.05)
    raise AssertionError("the database is not made")


async def create(app: AuthApp, headers: dict[str, str], **body: Any) -> dict[str, Any]:
    reply = await app.http.post("/api/auth/api-key/create", headers=headers, json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def owners_id(app: AuthApp) -> str:
    ((found,),) = await app.rows('SELECT id FROM "user"')
    return str(found)


async def limited(app: AuthApp, **limits: Any) -> str:
    _, text = await app.tokens.api_keys.create(await owners_id(app), NewApiKey(**limits))
    return text


async def database(app: AuthApp, key: str, **query: str) -> httpx.Response:
    return await app.http.get("/databases/user", headers={"x-api-key": key}, params=query)


async def run_sql(app: AuthApp, credentials: dict[str, Any], sql: str) -> dict[str, Any]:
    reply = await app.http.post(
        f"{credentials['url']}v3/pipeline",
        headers={"authorization": f"Bearer {credentials['access_token']}"},
        json={"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]},
    )
    if reply.status_code == 403:
        return {"type": "error"}
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()["results"][0]
    return found


async def test_a_key_reads_its_owners_database_and_does_not_write(app: AuthApp) -> None:
    headers = await sign_up(app)
    key = (await create(app, headers))["key"]
    mine = (await app.http.get("/databases/user", headers=headers)).json()
    for query in ({}, {"access_level": "read_only"}, {"access_level": "full"}):
        found = (await database(app, key, **query)).json()
        assert (found["db_name"], found["access_level"]) == (mine["db_name"], "read_only")
        assert found["profile"] == "read_only"
    assert (await run_sql(app, found, "SELECT 1"))["type"] == "ok"
    assert (await run_sql(app, found, "CREATE TABLE t (a)"))["type"] == "error"


async def test_a_key_does_what_its_scopes_say(app: AuthApp) -> None:
    await sign_up(app)
    writer = await limited(app, permissions={"databases": ["write"]})
    found = (await database(app, writer)).json()
    assert found["access_level"] == "full"
    assert found["profile"] == "rows"
    # It gets as far as the engine, which has no such table.
    assert (await run_sql(app, found, "DELETE FROM t"))["error"]["code"] == "SQLITE_ERROR"
    assert (await run_sql(app, found, "CREATE TABLE t (a)"))["error"]["code"] == "PROFILE_NEEDED"
    narrower = (await database(app, writer, access_level="none")).json()
    assert (narrower["profile"], narrower["access_level"]) == ("none", "read_only")
    assert (await database(app, writer, access_level="read_only")).json()["access_level"] == "read_only"
    for permissions in ({}, {"other": ["write"]}, {"databases": ["delete"]}):
        refused = await database(app, await limited(app, permissions=permissions))
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    odd = await limited(app)
    for text in ("[]", '"x"', "{", '{"databases": "write"}', '{"databases": [1]}'):
        await app.write("UPDATE apikey SET permissions = ? WHERE start = ?", text, odd[:6])
        assert (await database(app, odd)).status_code == 403, text


async def test_a_key_is_no_session(app: AuthApp) -> None:
    headers = await sign_up(app)
    await app.write("UPDATE \"user\" SET role = 'admin'")
    await create(app, headers)
    key = await limited(app, permissions={"databases": ["write"], "admin": ["write"], "session": ["read"]})
    shown = {"x-api-key": key}
    for method, path, body in (
        ("GET", "/api/auth/token", None),
        ("GET", "/api/auth/list-sessions", None),
        ("GET", "/api/auth/verify", None),
        ("GET", "/api/auth/api-key/list", None),
        ("POST", "/api/auth/api-key/create", {}),
        ("POST", "/api/auth/api-key/update", {"keyId": "x", "name": "y"}),
        ("POST", "/api/auth/change-password", {"currentPassword": "x", "newPassword": "correct-horse-2"}),
        ("POST", "/api/auth/delete-user", {}),
        ("POST", "/migrations/register", {"sqlScript": "SELECT 1", "description": "x"}),
        ("GET", "/admin/audit", None),
        ("GET", "/databases/guests", None),
        ("GET", "/api/v1/auth/me", None),
    ):
        reply = await app.http.request(method, path, headers=shown, json=body)
        assert reply.status_code in {401, 404}, (path, reply.text)
    for as_what in (f"Bearer {key}", f"bearer {key}"):
        reply = await app.http.get("/databases/user", headers={"authorization": as_what})
        assert reply.status_code == 401
    found = (await app.http.get("/api/auth/get-session", headers=shown)).json()
    assert found["session"]["token"] == key, "no session's token is shown to a key"


async def test_with_a_key_in_the_request_nothing_else_counts(app: AuthApp) -> None:
    headers = await sign_up(app)
    refused = await app.http.get("/databases/user", headers={**headers, "x-api-key": "x" * 64})
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_api_key")
    key = (await create(app, headers))["key"]
    found = await app.http.get("/databases/user", headers={**headers, "x-api-key": key})
    assert found.json()["access_level"] == "read_only"


async def test_nonsense_is_no_key(app: AuthApp) -> None:
    for key in ("", "short", "x" * 63, "x" * 64, "x" * 5_000, "' OR 1=1 --" + "x" * 64):
        assert (await database(app, key)).status_code == 401, key


async def test_other_peoples_keys_are_not_found(app: AuthApp) -> None:
    ada = await sign_up(app)
    key = await create(app, ada, name="mine")
    eve = {"authorization": f"Bearer {(await app.sign_up('eve@example.com')).json()['token']}"}
    found = await app.http.get(f"/api/auth/api-key/get?id={key['id']}", headers=eve)
    assert (found.status_code, found.json()["code"]) == (404, "KEY_NOT_FOUND")
    for path, body in (("update", {"name": "hers"}), ("delete", {})):
        reply = await app.http.post(f"/api/auth/api-key/{path}", headers=eve, json={"keyId": key["id"], **body})
        assert reply.status_code == 404, path
    listed = (await app.http.get("/api/auth/api-key/list", headers=eve)).json()
    assert listed == {"apiKeys": [], "total": 0}
    kept = (await app.http.get(f"/api/auth/api-key/get?id={key['id']}", headers=ada)).json()
    assert kept["name"] == "mine"


async def test_a_limit_holds_however_many_come_at_once(app: AuthApp) -> None:
    await sign_up(app)
    key = await limited(app, rate_limit_max=7, rate_limit_window_ms=3_600_000)
    replies = await asyncio.gather(*(database(app, key) for _ in range(40)))
    assert sorted(reply.status_code for reply in replies) == [200] * 7 + [429] * 33
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert refused.json()["code"] == "api_key_rate_limited"
    assert 0 < int(refused.headers["retry-after"]) <= 3_600
    uses = await limited(app, remaining=5)
    replies = await asyncio.gather(*(database(app, uses) for _ in range(20)))
    assert sorted(reply.status_code for reply in replies)[:5] == [200] * 5
    assert {reply.status_code for reply in replies} <= {200, 429, 401}
    assert (await database(app, uses)).status_code == 401, "a key without uses is gone"


ENDS = (
    'UPDATE apikey SET enabled = 0 WHERE "referenceId" = ?',
    'UPDATE apikey SET "expiresAt" = \'2020-01-01T00:00:00.000Z\' WHERE "referenceId" = ?',
    'DELETE FROM apikey WHERE "referenceId" = ?',
    'UPDATE "user" SET banned = 1 WHERE id = ?',
    'DELETE FROM "user" WHERE id = ?',
)


async def test_what_ends_a_key_ends_its_database_tokens_too(app: AuthApp) -> None:
    for number, sql in enumerate(ENDS):
        headers = await sign_up(app, f"ada-{number}@example.com")
        made = await create(app, headers)
        credentials = (await database(app, made["key"])).json()
        assert (await run_sql(app, credentials, "SELECT 1"))["type"] == "ok"
        await app.write(sql, made["referenceId"])
        assert (await database(app, made["key"])).status_code == 401, sql
        refused = await app.http.post(
            f"{credentials['url']}v3/pipeline",
            headers={"authorization": f"Bearer {credentials['access_token']}"},
            json=SELECT,
        )
        assert (refused.status_code, refused.json()["code"]) == (401, "BAD_DATABASE_TOKEN"), sql


async def test_using_a_key_is_no_news_to_other_processes(app: AuthApp) -> None:
    headers = await sign_up(app)
    key = (await create(app, headers))["key"]
    before = await app.rows("SELECT max(seq) FROM change")
    for _ in range(3):
        assert (await database(app, key)).status_code == 200
    assert await app.rows("SELECT max(seq) FROM change") == before


async def test_a_ban_that_has_run_out_ends_no_key(app: AuthApp) -> None:
    headers = await sign_up(app)
    key = (await create(app, headers))["key"]
    past = to_iso(datetime.now(UTC) - timedelta(seconds=1))
    await app.write('UPDATE "user" SET banned = 1, "banExpires" = ?', past)
    assert (await database(app, key)).status_code == 200


async def test_only_a_hash_is_kept_and_nothing_is_logged(
    app: AuthApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = await sign_up(app)
    key = (await create(app, headers, prefix="app_"))["key"]
    await database(app, key)
    await database(app, key[:-1] + "x")
    await app.http.get("/api/auth/get-session", headers={"x-api-key": key})
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    printed = capsys.readouterr()
    assert key.encode() not in stored
    assert key not in printed.out + printed.err
    assert key[:-1] not in printed.out + printed.err


async def test_nobody_hoards_keys(app: AuthApp) -> None:
    headers = await sign_up(app)
    owner = await owners_id(app)
    await asyncio.gather(*(app.tokens.api_keys.create(owner, NewApiKey()) for _ in range(99)))
    replies = await asyncio.gather(
        *(app.http.post("/api/auth/api-key/create", headers=headers, json={}) for _ in range(4))
    )
    assert sorted(reply.status_code for reply in replies) == [200, 400, 400, 400]
    assert {r.json()["code"] for r in replies if r.status_code == 400} == {"TOO_MANY_API_KEYS"}


async def test_lists_are_paged_and_sorted_by_known_fields_only(app: AuthApp) -> None:
    headers = await sign_up(app)
    for name in ("b", "c", "a"):
        await create(app, headers, name=name)
    page = "/api/auth/api-key/list?sortBy=name&sortDirection=desc&limit=2&offset=1"
    found = (await app.http.get(page, headers=headers)).json()
    assert [key["name"] for key in found["apiKeys"]] == ["b", "a"]
    assert (found["total"], found["limit"], found["offset"]) == (3, 2, 1)
    assert all("key" not in key for key in found["apiKeys"])
    for query in ("sortBy=key", "sortBy=rowid", "sortBy=name--", "sortDirection=up", "limit=-1", "offset=x",
                  "limit=99999999999999999999", "limit=\u0661"):  # fmt: skip
        refused = await app.http.get(f"/api/auth/api-key/list?{query}", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (400, "VALIDATION_ERROR"), query


async def test_an_owner_changes_a_key(app: AuthApp) -> None:
    headers = await sign_up(app)
    made = await create(app, headers, expiresIn=90_000, metadata={"team": "a"})

    async def update(**body: Any) -> httpx.Response:
        return await app.http.post("/api/auth/api-key/update", headers=headers, json={"keyId": made["id"], **body})

    assert (await update(expiresIn=None)).json()["expiresAt"] is None
    assert (await update(metadata=["x"])).json()["metadata"] == ["x"]
    assert (await update(metadata=None)).json()["metadata"] is None
    assert (await update(name="")).json()["code"] == "INVALID_NAME_LENGTH"
    assert (await update(expiresIn=1)).json()["code"] == "EXPIRES_IN_IS_TOO_SMALL"
    assert (await update(permissions=None)).json()["code"] == "SERVER_ONLY_PROPERTY"
    assert (await update(enabled=False)).json()["enabled"] is False
    assert (await database(app, made["key"])).json()["code"] == "api_key_disabled"
    assert (await update(enabled=True)).json()["enabled"] is True
    assert (await database(app, made["key"])).status_code == 200


async def test_an_administrator_who_acts_as_somebody_makes_no_key_of_theirs(app: AuthApp) -> None:
    headers = await sign_up(app)
    await app.write('UPDATE "session" SET "impersonatedBy" = "userId"')
    refused = await app.http.post("/api/auth/api-key/create", headers=headers, json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "IMPERSONATED_SESSION")


async def test_who_signed_up_with_anothers_address_loses_their_keys_when_its_owner_comes(
    app: AuthApp, tmp_path: Path
) -> None:
    owner, outbox = "ada@example.com", OutboxReader(tmp_path / "outbox.jsonl")
    for path, kind, more in (
        ("sign-in/email-otp", "sign-in", {}),
        ("email-otp/reset-password", "forget-password", {"password": "correct-horse-2"}),
    ):
        await app.write('DELETE FROM "user"')
        key = (await create(app, await sign_up(app, owner)))["key"]
        await app.post("/api/auth/email-otp/send-verification-otp", {"email": owner, "type": kind})
        body = {"email": owner, "otp": outbox.code(owner), **more}
        assert (await app.post(f"/api/auth/{path}", body)).status_code == 200
        assert (await database(app, key)).status_code == 401, path


async def test_making_and_deleting_a_key_is_in_the_audit_trail(app: AuthApp) -> None:
    headers = await sign_up(app)
    made = await create(app, headers)
    reply = await app.http.post("/api/auth/api-key/delete", headers=headers, json={"keyId": made["id"]})
    assert reply.json() == {"success": True}
    found = await app.rows("SELECT action, target FROM audit_entry WHERE action LIKE 'api_key.%' ORDER BY seq")
    target = f"key:{made['id']}"
    assert found == [("api_key.created", target), ("api_key.deleted", target)]
