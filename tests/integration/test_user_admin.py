"""What administrators do with users, where no recording tells: rights that end, odd input, two at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.auth_app import AuthApp, QuickHasher, running_auth


@dataclass
class AdminAndUser:
    app: AuthApp
    admin: dict[str, Any]
    user: dict[str, Any]

    @property
    def user_id(self) -> str:
        return str(self.user["user"]["id"])

    @property
    def admin_id(self) -> str:
        return str(self.admin["user"]["id"])

    async def ask(self, path: str, token: str | None = None, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token or self.admin['token']}"}
        return await self.app.http.post(f"/api/auth/admin/{path}", json=body, headers=headers)

    async def find(self, **query: Any) -> Any:
        headers = {"authorization": f"Bearer {self.admin['token']}"}
        reply = await self.app.http.get("/api/auth/admin/list-users", params=query, headers=headers)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def lives(self, token: str) -> bool:
        return await self.app.get_session(token) is not None


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[AdminAndUser]:
    async with running_auth(tmp_path, hasher=QuickHasher()) as app:
        admin = (await app.sign_up("admin@example.com", name="Admin")).json()
        await app.write("""UPDATE "user" SET role = 'admin'""")
        yield AdminAndUser(app, admin, (await app.sign_up("user@example.com", name="User")).json())


async def test_rights_that_end_end_the_impersonations_begun_with_them(scene: AdminAndUser) -> None:
    boss = (await scene.app.sign_up("boss@example.com", name="Boss")).json()
    ends: list[tuple[str, dict[str, Any]]] = [
        ("set-role", {"role": "user"}),
        ("ban-user", {}),
        ("revoke-user-sessions", {}),
        ("update-user", {"data": {"role": "editor"}}),
        ("remove-user", {}),
    ]
    for path, body in ends:
        await scene.ask("unban-user", userId=boss["user"]["id"])
        await scene.ask("set-role", userId=boss["user"]["id"], role="admin")
        sign_in = {"email": "boss@example.com", "password": "correct-horse-1"}
        token = (await scene.app.post("/api/auth/sign-in/email", sign_in)).json()["token"]
        acting = (await scene.ask("impersonate-user", token, userId=scene.user_id)).json()["session"]["token"]
        assert await scene.lives(acting)
        assert (await scene.ask(path, userId=boss["user"]["id"], **body)).status_code == 200
        assert not await scene.lives(acting), path
    assert await scene.lives(scene.user["token"])  # the user's own


async def test_an_impersonator_is_no_administrator_meanwhile(scene: AdminAndUser) -> None:
    acting = (await scene.ask("impersonate-user", userId=scene.user_id)).json()["session"]["token"]
    for path in ("impersonate-user", "set-role", "ban-user", "remove-user"):
        refused = await scene.ask(path, acting, userId=scene.admin_id, role="admin")
        assert refused.status_code == 403, path
    headers = {"authorization": f"Bearer {acting}"}
    stopped = await scene.app.post("/api/auth/admin/stop-impersonating", **headers)
    assert (stopped.status_code, stopped.json()) == (400, {"message": "Failed to find admin session"})


async def test_stopping_needs_the_cookie_of_the_same_administrator(scene: AdminAndUser) -> None:
    """Another administrator's kept session, put there by whoever can set cookies, gives nothing."""
    other = (await scene.app.sign_up("other@example.com", name="Other")).json()
    await scene.ask("set-role", userId=other["user"]["id"], role="admin")
    acting = await scene.ask("impersonate-user", userId=scene.user_id)
    stolen = await scene.ask("impersonate-user", other["token"], userId=scene.user_id)

    def cookie(reply: httpx.Response, name: str) -> str:
        found = [each for each in reply.headers.get_list("set-cookie") if each.startswith(name)]
        return found[-1].split(";")[0]

    mixed = f"{cookie(acting, 'better-auth.session_token')}; {cookie(stolen, 'better-auth.admin_session')}"
    refused = await scene.app.post("/api/auth/admin/stop-impersonating", cookie=mixed, origin=scene.app.url)
    assert refused.status_code == 400
    right = f"{cookie(acting, 'better-auth.session_token')}; {cookie(acting, 'better-auth.admin_session')}"
    stopped = await scene.app.post("/api/auth/admin/stop-impersonating", cookie=right, origin=scene.app.url)
    assert stopped.json()["user"]["id"] == scene.admin_id
    assert not await scene.lives(acting.json()["session"]["token"])


async def test_a_banned_user_is_nobody_to_act_as(scene: AdminAndUser) -> None:
    await scene.ask("ban-user", userId=scene.user_id, banExpiresIn=60)
    refused = await scene.ask("impersonate-user", userId=scene.user_id)
    assert (refused.status_code, refused.json()["code"]) == (403, "BANNED_USER")
    await scene.app.write("""UPDATE "user" SET "banExpires" = '2020-01-01T00:00:00.000Z' WHERE banned""")
    assert (await scene.ask("impersonate-user", userId=scene.user_id)).status_code == 200


async def test_a_new_password_ends_all_sessions_and_makes_a_way_in(scene: AdminAndUser) -> None:
    made = (await scene.ask("create-user", name="No password", email="none@example.com")).json()["user"]
    refused = {"email": "none@example.com", "password": ""}
    assert (await scene.app.post("/api/auth/sign-in/email", refused)).status_code == 401
    assert (await scene.ask("set-user-password", userId=made["id"], newPassword="correct-horse-2")).is_success
    body = {"email": "none@example.com", "password": "correct-horse-2"}
    token = (await scene.app.post("/api/auth/sign-in/email", body)).json()["token"]
    assert (await scene.ask("set-user-password", userId=made["id"], newPassword="correct-horse-3")).is_success
    assert not await scene.lives(token)
    assert (await scene.app.post("/api/auth/sign-in/email", body)).status_code == 401
    rows = await scene.app.rows('SELECT count(*) FROM account WHERE "userId" = ?', made["id"])
    assert rows == [(1,)]


async def test_a_removed_users_tenant_is_left_for_deletion(scene: AdminAndUser) -> None:
    assert (await scene.ask("remove-user", userId=scene.user_id)).json() == {"success": True}
    state = await scene.app.rows("SELECT state, due_at_ms > 0 FROM tenant WHERE user_id = ?", scene.user_id)
    assert state == [("deleting", 1)]
    assert not await scene.lives(scene.user["token"])
    oneself = await scene.ask("remove-user", userId=scene.admin_id)
    assert (oneself.status_code, oneself.json()["code"]) == (400, "YOU_CANNOT_REMOVE_YOURSELF")


async def test_every_user_who_is_made_gets_a_tenant(scene: AdminAndUser) -> None:
    created = len(scene.app.created)
    made = (await scene.ask("create-user", name="N", email="n@example.com", role=["a", "b"])).json()["user"]
    assert made["role"] == "a,b"
    assert await scene.app.rows("SELECT state FROM tenant WHERE user_id = ?", made["id"]) == [("provisioning",)]
    assert len(scene.app.created) == created + 1


async def test_two_who_make_the_same_user_at_once(scene: AdminAndUser) -> None:
    replies = await asyncio.gather(
        *(scene.ask("create-user", name="N", email="Same@example.com", password="correct-horse-1") for _ in range(8))
    )
    assert sorted(reply.status_code for reply in replies) == [200] + [400] * 7
    assert await scene.app.rows("""SELECT count(*) FROM "user" WHERE email = 'same@example.com'""") == [(1,)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"searchValue": "USER@"}, ["user"]),
        ({"searchValue": "100%", "searchField": "name"}, ["percent"]),
        ({"searchValue": "a_b", "searchField": "name"}, ["a_b"]),
        ({"searchValue": ".com", "searchOperator": "ends_with", "limit": 2}, ["admin", "user"]),
        ({"searchValue": "dmi", "searchOperator": "starts_with"}, []),
        ({"filterField": "role", "filterValue": "user", "filterOperator": "ne"}, ["admin"]),
        ({"filterField": "banned", "filterValue": "true"}, ["banned"]),
        ({"filterField": "emailVerified", "filterValue": "false", "searchValue": "admin"}, ["admin"]),
        ({"filterField": "email", "filterOperator": "in",
          "filterValue": ["user@example.com", "banned@example.com"]}, ["user", "banned"]),
        ({"filterField": "createdAt", "filterOperator": "gt", "filterValue": "2999-01-01"}, []),
        ({"filterField": "name", "filterOperator": "contains", "filterValue": "perc"}, ["percent"]),
        ({"filterField": "nothing", "filterValue": "x"}, []),
        ({"filterField": "password", "filterValue": "x"}, []),
        ({"sortBy": "email", "limit": 2}, ["a_b", "admin"]),
        ({"sortBy": "email", "sortDirection": "desc", "limit": 1, "offset": 1}, ["percent"]),
        ({"sortBy": "1; DROP TABLE user"}, []),
        ({"limit": "x", "offset": "-1"}, ["admin", "user", "percent", "a_b", "banned"]),
        ({"offset": "99999999999999999999"}, ["admin", "user", "percent", "a_b", "banned"]),
    ],
)  # fmt: skip
async def test_users_are_found(scene: AdminAndUser, query: dict[str, Any], expected: list[str]) -> None:
    for name, text in {"percent": "100% percent", "a_b": "a_b", "banned": "axb"}.items():
        found = (await scene.ask("create-user", name=text, email=f"{name}@example.com")).json()["user"]
    await scene.ask("ban-user", userId=found["id"])
    page = await scene.find(**query)
    assert [user["email"].removesuffix("@example.com") for user in page["users"]] == expected
    if "limit" not in query:
        assert page["total"] == len(expected)


ODD: list[tuple[str, dict[str, Any]]] = [
    ("create-user", {"name": "N", "email": "not-an-address"}),
    ("create-user", {"name": "N", "email": "x@example.com", "password": "short"}),
    ("create-user", {"name": "N", "email": "x@example.com", "password": "x" * 129}),
    ("create-user", {"name": "N", "email": "x@example.com", "role": 1}),
    ("create-user", {"name": "N", "email": "x@example.com", "role": []}),
    ("create-user", {"name": "N", "email": "x@example.com", "role": "x" * 300}),
    ("create-user", {"name": "N", "email": "x@example.com", "data": []}),
    ("create-user", {"name": "N", "email": "x@example.com", "data": {"image": 1}}),
    ("create-user", {"name": "N", "email": "x@example.com", "data": {"banExpires": "soon"}}),
    ("create-user", {"name": "N\0", "email": "x@example.com"}),
    ("update-user", {"data": {"name": None}}),
    ("update-user", {"data": {"email": "not-an-address"}}),
    ("update-user", {"data": {"email": "admin@example.com"}}),
    ("update-user", {"data": {"banned": "yes"}}),
    ("update-user", {"data": {"id": "other", "createdAt": "2020"}}),
    ("set-role", {"role": None}),
    ("set-role", {"role": ["admin", 1]}),
    ("set-role", {"role": "a\nb"}),
    ("ban-user", {"banExpiresIn": -1}),
    ("ban-user", {"banExpiresIn": 1e300}),
    ("ban-user", {"banExpiresIn": "1"}),
    ("ban-user", {"banReason": 1}),
    ("has-permission", {"permissions": {"user": "list"}}),
    ("has-permission", {"permission": {"user": ["list"]}}),
]


@pytest.mark.parametrize(("path", "body"), ODD)
async def test_odd_input_changes_nothing(scene: AdminAndUser, path: str, body: dict[str, Any]) -> None:
    everything = 'SELECT * FROM "user" ORDER BY id'
    before = await scene.app.rows(everything)
    reply = await scene.ask(path, **{"userId": scene.user_id, **body})
    assert reply.status_code == 400, reply.text
    assert await scene.app.rows(everything) == before


async def test_nobody_raises_themself(scene: AdminAndUser) -> None:
    token = scene.user["token"]
    for path, body in [*ODD, ("set-role", {"role": "admin"}), ("update-user", {"data": {"role": "admin"}})]:
        if path != "has-permission":
            reply = await scene.ask(path, token, **{"userId": scene.user_id, **body})
            assert reply.status_code in {400, 403}, (path, body)
    assert (await scene.app.rows('SELECT role FROM "user" WHERE id = ?', scene.user_id)) == [("user",)]


class SlowHasher(QuickHasher):
    """Says when a password is being checked, and waits until it may go on."""

    def __init__(self) -> None:
        self.checking, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.checking.set()
        await self.go_on.wait()
        return await super().verify(password, password_hash)


@pytest.mark.parametrize(
    ("path", "body"), [("ban-user", {}), ("set-user-password", {"newPassword": "another-horse-2"}), ("remove-user", {})]
)
async def test_what_comes_while_a_password_is_checked_counts(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    hasher = SlowHasher()
    async with running_auth(tmp_path, hasher=hasher) as app:
        admin = (await app.sign_up("admin@example.com")).json()
        await app.write("""UPDATE "user" SET role = 'admin'""")
        user = (await app.sign_up("user@example.com")).json()
        scene = AdminAndUser(app, admin, user)
        hasher.go_on.clear()
        known = {"email": "user@example.com", "password": "correct-horse-1"}
        signing_in = asyncio.create_task(app.post("/api/auth/sign-in/email", known))
        await hasher.checking.wait()
        assert (await scene.ask(path, userId=scene.user_id, **body)).status_code == 200
        hasher.go_on.set()
        assert (await signing_in).status_code in {401, 403}
        assert await app.rows('SELECT count(*) FROM session WHERE "userId" = ?', scene.user_id) == [(0,)]


async def test_permissions_are_all_or_nothing(scene: AdminAndUser) -> None:
    for wanted, expected in (
        ({"user": ["list", "ban"]}, True),
        ({"user": ["list", "impersonate-admins"]}, False),
        ({"user": ["list"], "planet": ["rule"]}, False),
        ({"planet": []}, False),
        ({}, False),
    ):
        reply = await scene.ask("has-permission", permissions=wanted)
        assert reply.json() == {"error": None, "success": expected}, wanted
