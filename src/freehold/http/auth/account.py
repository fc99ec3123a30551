"""`/api/auth`: a user's own profile, sign-in methods, sessions, and deletion."""

from dataclasses import dataclass

from freehold.auth.errors import BadLink, SessionNotFresh
from freehold.auth.types import Account, Session, UserChanges
from freehold.auth.users.accounts import Accounts
from freehold.http.auth.answers import Status, SuccessMessage
from freehold.http.auth.bodies import KEEPS_KEYS, Field, check, optional, refuse_protected
from freehold.http.auth.context import AuthContext, query_value
from freehold.http.auth.errors import BadDeletionLink, EmailInUpdate, NothingToUpdate, SessionTooOld
from freehold.http.auth.replies import AuthReply, json_reply, redirect
from freehold.http.auth.route import Doc, Route
from freehold.http.headers import Asked, language_of

_UPDATE_FIELDS = (optional("name"), optional("image", "nullable"))
_DELETE_FIELDS = (optional("password"), optional("token"), optional("callbackURL"))
_LINK_QUERY = (Field("token"), optional("callbackURL"))
_REVOKE_FIELDS = (Field("token"),)
_REVOKE_ALL_FIELDS = (KEEPS_KEYS,)
_DELETED = SuccessMessage(True, "User deleted")
_MAILED = SuccessMessage(True, "Verification email sent")


@dataclass(frozen=True, slots=True)
class AccountEndpoints:
    """`confirms_by_mail`: deletion without the password needs a link from a mail."""

    edge: AuthContext
    accounts: Accounts
    confirms_by_mail: bool

    async def update(self, request: Asked) -> AuthReply:
        """Change `name` or `image` of the signed-in user."""
        body = await self.edge.accept(request)
        values = check(body, _UPDATE_FIELDS, shapes=("record",))
        asking = await self.edge.signed_in(request.scope)
        if body.get("email"):
            raise EmailInUpdate
        refuse_protected(body)
        if not values:
            raise NothingToUpdate
        await self.accounts.update(asking, UserChanges(**values))
        return self.edge.session_kept(request.scope, asking, Status())

    async def update_session(self, request: Asked) -> AuthReply:
        check(await self.edge.accept(request), (), shapes=("record",))
        await self.edge.signed_in(request.scope)
        raise NothingToUpdate  # sessions have no field that users can set

    async def list_accounts(self, request: Asked) -> AuthReply:
        """List the signed-in user's sign-in methods."""
        asking = await self.edge.signed_in(request.scope)
        return json_reply(await self.accounts.list_accounts(asking))

    async def delete(self, request: Asked) -> AuthReply:
        """Delete the signed-in user: with `password`, with the `token` from a mail, or within a day of signing in."""
        asking, values = await self.edge.asking(request, _DELETE_FIELDS)
        password, token = values.get("password"), values.get("token")
        if token:
            if password is not None:
                await self.accounts.check_password(asking, password, await self.edge.client(request.scope))
            return await self._delete_by_link(request, token, None)
        if self.confirms_by_mail and password is None:
            await self.accounts.mail_deletion_link(asking, values.get("callbackURL", ""), language_of(request.scope))
            return json_reply(_MAILED)
        try:
            await self.accounts.delete(asking, password, await self.edge.client(request.scope))
        except SessionNotFresh as error:
            raise SessionTooOld from error
        return json_reply(_DELETED, set_cookies=self.edge.auth.cookies.clearing)

    async def follow_link(self, request: Asked) -> AuthReply:
        """The target of the mailed link: deletes the signed-in user and redirects to `callbackURL`."""
        self.edge.accept_link(request)
        token = query_value(request.scope, "token") or ""
        return await self._delete_by_link(request, token, query_value(request.scope, "callbackURL"))

    async def _delete_by_link(self, request: Asked, token: str, target: str | None) -> AuthReply:
        asking = await self.edge.signed_in(request.scope)
        try:
            await self.accounts.delete_by_link(asking, token)
        except BadLink as error:
            raise BadDeletionLink from error
        clearing = self.edge.auth.cookies.clearing
        return redirect(target, set_cookies=clearing) if target else json_reply(_DELETED, set_cookies=clearing)

    async def list_sessions(self, request: Asked) -> AuthReply:
        """List the signed-in user's live sessions; the sign-in must be less than a day old."""
        asking = await self.edge.signed_in(request.scope)
        return json_reply(await self.accounts.list_sessions(asking))

    async def revoke(self, request: Asked) -> AuthReply:
        """End the session with this `token`, if it is the caller's own."""
        asking, values = await self.edge.asking(request, _REVOKE_FIELDS)
        await self.accounts.end_session(asking, values["token"])
        return json_reply(Status())

    async def revoke_all(self, request: Asked) -> AuthReply:
        """End all sessions of the signed-in user, including this one, and their API keys unless `keepApiKeys`."""
        keeps_keys = await self._keeps_keys(request)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.end_sessions(asking, keeps_keys=keeps_keys)
        return json_reply(Status())

    async def revoke_others(self, request: Asked) -> AuthReply:
        """End all sessions of the signed-in user except this one, and their API keys unless `keepApiKeys`."""
        keeps_keys = await self._keeps_keys(request)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.end_other_sessions(asking, keeps_keys=keeps_keys)
        return json_reply(Status())

    async def _keeps_keys(self, request: Asked) -> bool:
        body = await self.edge.accept(request)
        values = check(body, _REVOKE_ALL_FIELDS) if isinstance(body, dict) else {}
        return bool(values.get(KEEPS_KEYS.name, False))


ROUTES: tuple[Route[AccountEndpoints], ...] = (
    Route("POST", "/update-user", AccountEndpoints.update, "session", "auth",
          Doc("update_user", _UPDATE_FIELDS, Status)),
    Route("POST", "/update-session", AccountEndpoints.update_session, "session", "auth"),
    Route("GET", "/list-accounts", AccountEndpoints.list_accounts, "session", "auth",
          Doc("list_accounts", gives=list[Account])),
    Route("POST", "/delete-user", AccountEndpoints.delete, "session", "auth",
          Doc("delete_user", _DELETE_FIELDS, SuccessMessage, (404,))),
    Route("GET", "/delete-user/callback", AccountEndpoints.follow_link, "session", "auth",
          Doc("delete_user_by_link", _LINK_QUERY, SuccessMessage, (403, 404), leads_on=True)),
    Route("GET", "/list-sessions", AccountEndpoints.list_sessions, "session", "auth",
          Doc("list_sessions", gives=list[Session], refuses=(SessionNotFresh,))),
    Route("POST", "/revoke-session", AccountEndpoints.revoke, "session", "auth",
          Doc("revoke_session", _REVOKE_FIELDS, Status)),
    Route("POST", "/revoke-sessions", AccountEndpoints.revoke_all, "session", "auth",
          Doc("revoke_sessions", _REVOKE_ALL_FIELDS, Status)),
    Route("POST", "/revoke-other-sessions", AccountEndpoints.revoke_others, "session", "auth",
          Doc("revoke_other_sessions", _REVOKE_ALL_FIELDS, Status)),
)  # fmt: skip
