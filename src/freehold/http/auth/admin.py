"""`/api/auth/admin`: how administrators manage users, as in better-auth's plugin `admin`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.types import Scope

from freehold.auth.errors import EmailTaken, NoSuchField, NoSuchUser
from freehold.auth.types import Session, SignedIn, User
from freehold.auth.users.admin import UserAdmin
from freehold.auth.users.admin_types import CreatedUser, may
from freehold.http.auth import errors
from freehold.http.auth.admin_bodies import (
    LIST_QUERY,
    USER_ID,
    ban_seconds,
    edit_in,
    invalid,
    number_in,
    read,
    role_in,
    user_query,
)
from freehold.http.auth.answers import DoneReply, StatusReply, UserReply
from freehold.http.auth.bodies import ABSENT, KEEPS_KEYS, Field, optional
from freehold.http.auth.context import AuthContext, query_value, required_value
from freehold.http.auth.replies import AuthReply, json_reply
from freehold.http.auth.route import Doc, Refuses, Route
from freehold.http.headers import Asked, header, presented_by

_CREATE = (Field("email"), optional("password"), Field("name"), optional("data", "record"))
_UPDATE = (USER_ID, Field("data", "record"))
_GET_QUERY = (Field("id"),)
_ROLE = optional("role")  # a string or a list of strings; read separately
_USER = (USER_ID,)
_SET_PASSWORD = (Field("newPassword", "nonempty"), USER_ID)
_BAN = (USER_ID, optional("banReason"), optional("banExpiresIn", "number"))
_SESSION = (Field("sessionToken"),)
_SESSIONS = (USER_ID, KEEPS_KEYS)
_HAS_PERMISSION = (optional("userId"), optional("role"), optional("permissions", "record"))


# What the caller may not do, as the message and code of `NotAllowed` put it.
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


class PermissionReply(msgspec.Struct, frozen=True):
    success: bool
    error: None = None


@dataclass(frozen=True, slots=True)
class AdminEndpoints:
    """The plugin's routes, named as in its client."""

    edge: AuthContext
    admin: UserAdmin

    async def list_users(self, request: Asked) -> AuthReply:
        """List users: searched, filtered, sorted, and page by page."""
        scope = request.scope
        query = user_query(scope)
        await self._admitted(scope, "user", "list")
        try:
            page = await self.admin.list(query)
        except NoSuchField:  # as better-auth does
            return json_reply(UsersReply([], 0))
        limit = query.limit if number_in(query_value(scope, "limit")) else msgspec.UNSET
        return json_reply(UsersReply(list(page.users), page.total, limit, query.offset or msgspec.UNSET))

    async def get_user(self, request: Asked) -> AuthReply:
        """Return the user with this `id`."""
        scope = request.scope
        user_id = required_value(scope, "id")
        await self._admitted(scope, "user", "get")
        return json_reply(await self.admin.get(user_id))

    async def create_user(self, request: Asked) -> AuthReply:
        """Create a user, with or without a password."""
        body = await self.edge.accept(request)
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
            return json_reply(UserReply(await self.admin.create(new)))
        except EmailTaken as error:
            raise errors.EmailOfAnother from error

    async def update_user(self, request: Asked) -> AuthReply:
        """Change a user's fields to those in `data`."""
        found, values = await self._asking(request, _UPDATE, "user", "update")
        if "password" in values["data"]:
            raise errors.PasswordInUpdate
        edit = edit_in(values["data"])
        if not msgspec.to_builtins(edit):
            raise errors.NoDataToUpdate
        try:
            return json_reply(await self.admin.update(found.user, values["userId"], edit))
        except EmailTaken as error:
            raise errors.EmailOfAnother from error

    async def set_role(self, request: Asked) -> AuthReply:
        """Replace a user's roles."""
        body = await self.edge.accept(request)
        values = read(body, *_USER)
        if not isinstance(body.get("role"), str | list):
            raise errors.BadField("[body.role] Invalid input")
        await self._admitted(request.scope, "user", "set-role")
        return json_reply(UserReply(await self.admin.set_role(values["userId"], role_in(body["role"]))))

    async def set_user_password(self, request: Asked) -> AuthReply:
        """Give a user a new password; their sessions end."""
        _, values = await self._asking(request, _SET_PASSWORD, "user", "set-password")
        await self.admin.set_password(values["userId"], values["newPassword"])
        return json_reply(StatusReply())

    async def ban_user(self, request: Asked) -> AuthReply:
        """Lock a user out; their sessions end."""
        found, values = await self._asking(request, _BAN, "user", "ban")
        expires_in_s = ban_seconds(values.get("banExpiresIn"))
        user = await self.admin.ban(found.user, values["userId"], values.get("banReason"), expires_in_s)
        return json_reply(UserReply(user))

    async def unban_user(self, request: Asked) -> AuthReply:
        """Let a user in again."""
        _, values = await self._asking(request, _USER, "user", "ban")
        return json_reply(UserReply(await self.admin.unban(values["userId"])))

    async def list_user_sessions(self, request: Asked) -> AuthReply:
        """List a user's sessions."""
        _, values = await self._asking(request, _USER, "session", "list")
        return json_reply(SessionsReply(list(await self.admin.sessions(values["userId"]))))

    async def revoke_user_session(self, request: Asked) -> AuthReply:
        """End one session."""
        _, values = await self._asking(request, _SESSION, "session", "revoke")
        await self.admin.end_session(values["sessionToken"])
        return json_reply(DoneReply())

    async def revoke_user_sessions(self, request: Asked) -> AuthReply:
        """End a user's sessions, and their API keys unless `keepApiKeys`."""
        _, values = await self._asking(request, _SESSIONS, "session", "revoke")
        await self.admin.end_sessions(values["userId"], keeps_keys=values.get(KEEPS_KEYS.name, False))
        return json_reply(DoneReply())

    async def impersonate_user(self, request: Asked) -> AuthReply:
        """Act as a user for an hour."""
        found, values = await self._asking(request, _USER, "user", "impersonate")
        client = await self.edge.client(request.scope)
        acting = await self.admin.impersonate(found.user, values["userId"], client)
        cookies = self.edge.auth.cookies
        presented = presented_by(request.scope, cookies)
        own = cookies.setting_admin(found.session.token, is_remembered=presented is None or presented.is_remembered)
        headers, session_cookies = self.edge.session_headers(acting.session.token, remember=False)
        body = ActingReply(acting.session, acting.user)
        return json_reply(body, headers, (*cookies.clearing, own, *session_cookies))

    async def stop_impersonating(self, request: Asked) -> AuthReply:
        """Stop impersonating and return to your own session."""
        await self.edge.accept(request)
        found = await self.edge.signed_in(request.scope, errors.NobodyAdministers)
        cookies = self.edge.auth.cookies
        kept = cookies.admin_in(header(request.scope, b"cookie") or "")
        own = await self.admin.stop_impersonating(found, kept.token if kept else None)
        remember = kept is None or kept.is_remembered
        headers, session_cookies = self.edge.session_headers(own.session.token, remember=remember)
        return json_reply(ActingReply(own.session, own.user), headers, (*session_cookies, cookies.clearing_admin))

    async def remove_user(self, request: Asked) -> AuthReply:
        """Delete a user and their database."""
        found, values = await self._asking(request, _USER, "user", "delete")
        await self.admin.remove(found.user, values["userId"])
        return json_reply(DoneReply())

    async def has_permission(self, request: Asked) -> AuthReply:
        """Whether the caller may do all of `permissions`."""
        values = read(await self.edge.accept(request), *_HAS_PERMISSION)
        wanted = values.get("permissions")
        if wanted is None:
            raise errors.NoPermissions
        for resource, actions in wanted.items():
            if not isinstance(actions, list) or not all(isinstance(each, str) for each in actions):
                raise invalid(f"permissions.{resource}"[:60], "expected array of strings")
        found = await self.edge.signed_in(request.scope, errors.NobodyAdministers)
        return json_reply(PermissionReply(may(found.user.role, wanted)))

    async def _asking(
        self, request: Asked, fields: Sequence[Field], resource: str, action: str
    ) -> tuple[SignedIn, dict[str, Any]]:
        """The caller, who may do this, and these fields of the body. Raises a refusal."""
        values = read(await self.edge.accept(request), *fields)
        return await self._admitted(request.scope, resource, action), values

    async def _admitted(self, scope: Scope, resource: str, action: str) -> SignedIn:
        found = await self.edge.signed_in(scope, errors.NobodyAdministers)
        if not may(found.user.role, {resource: [action]}):
            raise errors.NotAllowed(_MAY_NOT[resource, action])
        return found


def _doc(name: str, takes: Sequence[Field], gives: Any, refuses: Refuses = ()) -> Doc:
    """Describe an administrator's route: without a session, all of them return 401 without a body."""
    return Doc(f"admin_{name}", takes, gives, refuses, bare=(401,))


ROUTES: tuple[Route[AdminEndpoints], ...] = (
    Route("GET", "/admin/list-users", AdminEndpoints.list_users, "admin", "auth",
          _doc("list_users", LIST_QUERY, UsersReply, (400,))),
    Route("GET", "/admin/get-user", AdminEndpoints.get_user, "admin", "auth",
          _doc("get_user", _GET_QUERY, User, (400, NoSuchUser))),
    Route("POST", "/admin/create-user", AdminEndpoints.create_user, "admin", "auth",
          _doc("create_user", (*_CREATE, _ROLE), UserReply)),
    Route("POST", "/admin/update-user", AdminEndpoints.update_user, "admin", "auth",
          _doc("update_user", _UPDATE, User, (NoSuchUser,))),
    Route("POST", "/admin/set-role", AdminEndpoints.set_role, "admin", "auth",
          _doc("set_role", (*_USER, _ROLE), UserReply, (NoSuchUser,))),
    Route("POST", "/admin/set-user-password", AdminEndpoints.set_user_password, "admin", "auth",
          _doc("set_user_password", _SET_PASSWORD, StatusReply, (NoSuchUser,))),
    Route("POST", "/admin/ban-user", AdminEndpoints.ban_user, "admin", "auth",
          _doc("ban_user", _BAN, UserReply, (NoSuchUser,))),
    Route("POST", "/admin/unban-user", AdminEndpoints.unban_user, "admin", "auth",
          _doc("unban_user", _USER, UserReply, (NoSuchUser,))),
    Route("POST", "/admin/list-user-sessions", AdminEndpoints.list_user_sessions, "admin", "auth",
          _doc("list_user_sessions", _USER, SessionsReply)),
    Route("POST", "/admin/revoke-user-session", AdminEndpoints.revoke_user_session, "admin", "auth",
          _doc("revoke_user_session", _SESSION, DoneReply)),
    Route("POST", "/admin/revoke-user-sessions", AdminEndpoints.revoke_user_sessions, "admin", "auth",
          _doc("revoke_user_sessions", _SESSIONS, DoneReply)),
    Route("POST", "/admin/impersonate-user", AdminEndpoints.impersonate_user, "admin", "auth",
          _doc("impersonate_user", _USER, ActingReply, (NoSuchUser,))),
    Route("POST", "/admin/stop-impersonating", AdminEndpoints.stop_impersonating, "session", "auth",
          _doc("stop_impersonating", (), ActingReply)),
    Route("POST", "/admin/remove-user", AdminEndpoints.remove_user, "admin", "auth",
          _doc("remove_user", _USER, DoneReply, (NoSuchUser,))),
    Route("POST", "/admin/has-permission", AdminEndpoints.has_permission, "session", "auth",
          _doc("has_permission", _HAS_PERMISSION, PermissionReply)),
)  # fmt: skip
