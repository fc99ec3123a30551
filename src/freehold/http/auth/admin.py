"""`/api/auth/admin`: users in the hands of administrators, as better-auth's plugin `admin` has them."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope

from freehold.auth.errors import EmailTaken, NoSuchField, NoSuchUser
from freehold.auth.types import Session, SignedIn, User
from freehold.auth.users.admin import UserAdmin
from freehold.auth.users.admin_types import CreatedUser
from freehold.auth.users.permissions import may
from freehold.http.auth.admin_bodies import (
    USER_ID,
    DocumentedQuery,
    ban_seconds,
    changes_nothing,
    edit_in,
    invalid,
    number_in,
    read,
    role_in,
    user_query,
)
from freehold.http.auth.answers import UserReply
from freehold.http.auth.bodies import ABSENT, KEEPS_KEYS, Field, documented, documented_query
from freehold.http.auth.edge import AuthEdge, answers, query_value
from freehold.http.auth.replies import AuthReply, Refusal, json_reply
from freehold.http.headers import header, presented_by
from freehold.http.route_facts import Caller, facts

_CREATE = (
    Field("email"),
    Field("password", is_required=False),
    Field("name"),
    Field("data", "record", is_required=False),
)
_UPDATE = (USER_ID, Field("data", "record"))
_SET_ROLE = (USER_ID,)
_ROLE = Field("role", is_required=False)  # a text or several; read by itself
_SET_PASSWORD = (Field("newPassword", "nonempty"), USER_ID)
_BAN = (USER_ID, Field("banReason", is_required=False), Field("banExpiresIn", "number", is_required=False))
_SESSION = (Field("sessionToken"),)
_SESSIONS = (USER_ID, KEEPS_KEYS)
_HAS_PERMISSION = (
    Field("userId", is_required=False),
    Field("role", is_required=False),
    Field("permissions", "record", is_required=False),
)

_BARE = (401,)
_FOR_EVERYBODY = frozenset({"stop-impersonating", "has-permission"})

# What is said to who may not: what it was, and the rest of the code.
_MAY_NOT = {
    ("user", "list"): "list users",
    ("user", "get"): "get user",
    ("user", "create"): "create users",
    ("user", "update"): "update users",
    ("user", "set-role"): "change users role",
    ("user", "set-password"): "set users password",
    ("user", "ban"): "ban users",
    ("user", "impersonate"): "impersonate users",
    ("user", "delete"): "delete users",
    ("session", "list"): "list users sessions",
    ("session", "revoke"): "revoke users sessions",
}


class UsersReply(msgspec.Struct, frozen=True):
    users: list[User]
    total: int
    limit: int | msgspec.UnsetType = msgspec.UNSET
    offset: int | msgspec.UnsetType = msgspec.UNSET


class SessionsReply(msgspec.Struct, frozen=True):
    sessions: list[Session]


class ActingReply(msgspec.Struct, frozen=True):
    session: Session
    user: User


class DoneReply(msgspec.Struct, frozen=True):
    success: bool = True


class StatusReply(msgspec.Struct, frozen=True):
    status: bool = True


class PermissionReply(msgspec.Struct, frozen=True):
    success: bool
    error: None = None


class _Endpoints:
    def __init__(self, edge: AuthEdge, admin: UserAdmin) -> None:
        self._edge = edge
        self._admin = admin

    async def list_users(self, scope: Scope) -> AuthReply:
        query = user_query(scope)
        await self._admitted(scope, "user", "list")
        try:
            page = await self._admin.list(query)
        except NoSuchField:  # better-auth answers so
            return json_reply(UsersReply([], 0))
        limit = query.limit if number_in(query_value(scope, "limit")) else msgspec.UNSET
        return json_reply(UsersReply(list(page.users), page.total, limit, query.offset or msgspec.UNSET))

    async def get_user(self, scope: Scope) -> AuthReply:
        user_id = query_value(scope, "id")
        if user_id is None:
            raise Refusal(
                400, "VALIDATION_ERROR", "[query.id] Invalid input: expected string, received undefined"
            )
        await self._admitted(scope, "user", "get")
        return json_reply(await self._admin.get(user_id))

    async def create_user(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = await self._edge.accept(request)
        values = read(body, *_CREATE)
        await self._admitted(request.scope, "user", "create")
        more = dict(values.get("data") or {})
        if (role := body.get("role", more.get("role", ABSENT))) is not ABSENT:
            more["role"] = role
        new = CreatedUser(
            name=values["name"],
            email=values["email"],
            password=values.get("password"),
            more=edit_in(more, takes_names=False),
        )
        try:
            return json_reply(UserReply(await self._admin.create(new)))
        except EmailTaken as error:
            raise _taken() from error

    async def update_user(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), *_UPDATE)
        found = await self._admitted(request.scope, "user", "update")
        if "password" in values["data"]:
            raise Refusal(
                400,
                "PASSWORD_CANNOT_BE_UPDATED_VIA_UPDATE_USER",
                "Password cannot be updated through update-user. Use the set-user-password endpoint instead",
            )
        edit = edit_in(values["data"])
        if changes_nothing(edit):
            raise Refusal(400, "NO_DATA_TO_UPDATE", "No data to update")
        try:
            return json_reply(await self._admin.update(found.user, values["userId"], edit))
        except EmailTaken as error:
            raise _taken() from error

    async def set_role(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = await self._edge.accept(request)
        values = read(body, *_SET_ROLE)
        if not isinstance(body.get("role"), str | list):
            raise Refusal(400, "VALIDATION_ERROR", "[body.role] Invalid input")
        await self._admitted(request.scope, "user", "set-role")
        return json_reply(UserReply(await self._admin.set_role(values["userId"], role_in(body["role"]))))

    async def set_user_password(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), *_SET_PASSWORD)
        await self._admitted(request.scope, "user", "set-password")
        await self._admin.set_password(values["userId"], values["newPassword"])
        return json_reply(StatusReply())

    async def ban_user(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), *_BAN)
        found = await self._admitted(request.scope, "user", "ban")
        expires_in_s = ban_seconds(values.get("banExpiresIn"))
        user = await self._admin.ban(found.user, values["userId"], values.get("banReason"), expires_in_s)
        return json_reply(UserReply(user))

    async def unban_user(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), USER_ID)
        await self._admitted(request.scope, "user", "ban")
        return json_reply(UserReply(await self._admin.unban(values["userId"])))

    async def list_user_sessions(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), USER_ID)
        await self._admitted(request.scope, "session", "list")
        return json_reply(SessionsReply(list(await self._admin.sessions(values["userId"]))))

    async def revoke_user_session(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), *_SESSION)
        await self._admitted(request.scope, "session", "revoke")
        await self._admin.end_session(values["sessionToken"])
        return json_reply(DoneReply())

    async def revoke_user_sessions(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), *_SESSIONS)
        await self._admitted(request.scope, "session", "revoke")
        await self._admin.end_sessions(values["userId"], keeps_keys=values.get(KEEPS_KEYS.name, False))
        return json_reply(DoneReply())

    async def impersonate_user(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), USER_ID)
        found = await self._admitted(request.scope, "user", "impersonate")
        client = await self._edge.client(request.scope)
        acting = await self._admin.impersonate(found.user, values["userId"], client)
        cookies = self._edge.auth.cookies
        presented = presented_by(request.scope, cookies)
        own = cookies.setting_admin(
            found.session.token, is_remembered=presented is None or presented.is_remembered
        )
        headers, session_cookies = self._edge.session_headers(acting.session.token, remember=False)
        body = ActingReply(acting.session, acting.user)
        return json_reply(body, headers, (*cookies.clearing, own, *session_cookies))

    async def stop_impersonating(self, request: Request[Any, Any, Any]) -> AuthReply:
        await self._edge.accept(request)
        found = await self._signed_in(request.scope)
        cookies = self._edge.auth.cookies
        kept = cookies.admin_in(header(request.scope, b"cookie") or "")
        own = await self._admin.stop_impersonating(found, kept.token if kept else None)
        remember = kept is None or kept.is_remembered
        headers, session_cookies = self._edge.session_headers(own.session.token, remember=remember)
        return json_reply(
            ActingReply(own.session, own.user), headers, (*session_cookies, cookies.clearing_admin)
        )

    async def remove_user(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), USER_ID)
        found = await self._admitted(request.scope, "user", "delete")
        await self._admin.remove(found.user, values["userId"])
        return json_reply(DoneReply())

    async def has_permission(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = read(await self._edge.accept(request), *_HAS_PERMISSION)
        wanted = values.get("permissions")
        if wanted is None:
            raise Refusal(400, "", "invalid permission check. no permission(s) were passed.")
        for resource, actions in wanted.items():
            if not isinstance(actions, list) or not all(isinstance(each, str) for each in actions):
                raise invalid(f"permissions.{resource}"[:60], "expected array of strings")
        found = await self._signed_in(request.scope)
        return json_reply(PermissionReply(may(found.user.role, wanted)))

    async def _signed_in(self, scope: Scope) -> SignedIn:
        found = await self._edge.maybe_signed_in(scope)
        if found is None:
            raise Refusal(401, "", "")
        return found

    async def _admitted(self, scope: Scope, resource: str, action: str) -> SignedIn:
        found = await self._signed_in(scope)
        if not may(found.user.role, {resource: [action]}):
            words = f"You are not allowed to {_MAY_NOT[resource, action]}"
            raise Refusal(403, words.upper().replace(" ", "_"), words)
        return found


def admin_handlers(edge: AuthEdge, admin: UserAdmin) -> list[HTTPRouteHandler]:
    """The routes of the plugin, each under the name that its client has for it."""
    does = _Endpoints(edge, admin)

    @get(
        "/admin/list-users",
        operation_id="admin_list_users",
        opt=facts(400, caller="admin", bare=_BARE),
        operation_class=DocumentedQuery,
        responses=answers(UsersReply),
    )
    async def list_users(scope: Scope) -> AuthReply:
        """Users, searched, filtered, sorted, and page by page."""
        return await does.list_users(scope)

    @get(
        "/admin/get-user",
        operation_id="admin_get_user",
        operation_class=documented_query(Field("id")),
        opt=facts(400, NoSuchUser, caller="admin", bare=_BARE),
        responses=answers(User),
    )
    async def get_user(scope: Scope) -> AuthReply:
        """The user whose `id` is asked for."""
        return await does.get_user(scope)

    posted = [
        ("create-user", does.create_user, (*_CREATE, _ROLE), UserReply, "Make a user, with a password or without."),
        ("update-user", does.update_user, _UPDATE, User, "Change what `data` says of a user."),
        ("set-role", does.set_role, (*_SET_ROLE, _ROLE), UserReply, "Replace a user's roles."),
        ("set-user-password", does.set_user_password, _SET_PASSWORD, StatusReply,
         "Give a user a new password; their sessions end."),
        ("ban-user", does.ban_user, _BAN, UserReply, "Lock a user out; their sessions end."),
        ("unban-user", does.unban_user, (USER_ID,), UserReply, "Let a user in again."),
        ("list-user-sessions", does.list_user_sessions, (USER_ID,), SessionsReply, "A user's sessions."),
        ("revoke-user-session", does.revoke_user_session, _SESSION, DoneReply, "End one session."),
        ("revoke-user-sessions", does.revoke_user_sessions, _SESSIONS, DoneReply,
         "End a user's sessions, and their API keys unless `keepApiKeys`."),
        ("impersonate-user", does.impersonate_user, (USER_ID,), ActingReply, "Act as a user for an hour."),
        ("stop-impersonating", does.stop_impersonating, (), ActingReply, "Be oneself again."),
        ("remove-user", does.remove_user, (USER_ID,), DoneReply, "Delete a user and their database."),
        ("has-permission", does.has_permission, _HAS_PERMISSION, PermissionReply,
         "Whether who asks may do all of `permissions`."),
    ]  # fmt: skip
    return [list_users, get_user, *(_posted(*each) for each in posted)]


def _posted(name: str, does: Any, fields: tuple[Field, ...], reply: type, words: str) -> HTTPRouteHandler:
    caller: Caller = "session" if name in _FOR_EVERYBODY else "admin"
    refused = (NoSuchUser,) if USER_ID in fields and not name.endswith("sessions") else ()

    async def handler(request: Request[Any, Any, Any]) -> AuthReply:
        answer: AuthReply = await does(request)
        return answer

    handler.__doc__ = words
    return post(
        f"/admin/{name}",
        operation_id=f"admin_{name.replace('-', '_')}",
        opt=facts(*refused, caller=caller, bare=_BARE),
        operation_class=documented(fields),
        status_code=200,
        responses=answers(reply),
    )(handler)


def _taken() -> Refusal:
    """400 here, where sign-up has 422."""
    return Refusal(400, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL", "User already exists. Use another email.")
