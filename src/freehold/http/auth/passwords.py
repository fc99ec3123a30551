"""`/api/auth`: changing a known password, and resetting a forgotten one by a link in a mail."""

from dataclasses import dataclass

from freehold.auth.email.password_resets import PasswordResets
from freehold.auth.errors import BadLink
from freehold.auth.users.accounts import Accounts
from freehold.http.auth.answers import Status, StatusMessage, TokenUser, with_query
from freehold.http.auth.bodies import KEEPS_KEYS, Field, check, optional
from freehold.http.auth.context import AuthContext, query_value
from freehold.http.auth.replies import AuthReply, json_reply, redirect
from freehold.http.auth.route import Doc, Route
from freehold.http.headers import Asked, language_of

_CHANGE_FIELDS = (
    Field("newPassword"),
    Field("currentPassword"),
    optional("revokeOtherSessions", "boolean"),
    KEEPS_KEYS,
)
_VERIFY_FIELDS = (Field("password"),)
_REQUEST_FIELDS = (Field("email", "email"), optional("redirectTo"))
_RESET_FIELDS = (Field("newPassword"), optional("token"))
_PAGE_QUERY = (optional("callbackURL"),)

_SENT = StatusMessage(True, "If this email exists in our system, check your email for the reset link")


@dataclass(frozen=True, slots=True)
class PasswordEndpoints:
    edge: AuthContext
    accounts: Accounts
    resets: PasswordResets
    public_url: str

    async def change(self, request: Asked) -> AuthReply:
        """Change the signed-in user's password.

        `revokeOtherSessions` ends all sessions and starts a new one; API keys end with them, unless `keepApiKeys`.
        """
        asking, values = await self.edge.asking(request, _CHANGE_FIELDS)
        started = await self.accounts.change_password(
            asking,
            values["currentPassword"],
            values["newPassword"],
            await self.edge.client(request.scope),
            ends_others=values.get("revokeOtherSessions", False),
            keeps_keys=values.get(KEEPS_KEYS.name, False),
        )
        if started is None:
            return json_reply(TokenUser(None, asking.user))
        return self.edge.session_kept(request.scope, started, TokenUser(started.session.token, started.user))

    async def verify(self, request: Asked) -> AuthReply:
        """Check the signed-in user's password."""
        asking, values = await self.edge.asking(request, _VERIFY_FIELDS)
        await self.accounts.check_password(asking, values["password"], await self.edge.client(request.scope))
        return json_reply(Status())

    async def request_reset(self, request: Asked) -> AuthReply:
        """Mail a link that leads to `redirectTo`. The response does not reveal whether the user exists."""
        values = check(await self.edge.accept(request), _REQUEST_FIELDS)
        language, source = language_of(request.scope), self.edge.source(request.scope)
        await self.resets.mail_link(values["email"], values.get("redirectTo", ""), language, source)
        return json_reply(_SENT)

    async def reset_page(self, request: Asked) -> AuthReply:
        """The target of the mailed link: redirects to `callbackURL` with `token` or `error`."""
        token = request.path_params["token"]
        self.edge.accept_link(request)
        page = query_value(request.scope, "callbackURL") or f"{self.public_url}/api/auth/error"
        if page.startswith("/"):
            page = self.public_url + page
        try:
            await self.resets.check_link(token)
        except BadLink:
            return redirect(with_query(page, "error", "INVALID_TOKEN"))
        return redirect(with_query(page, "token", token))

    async def reset(self, request: Asked) -> AuthReply:
        """Set `newPassword` with the link's `token`, which works once. Ends all sessions and API keys."""
        values = check(await self.edge.accept(request), _RESET_FIELDS)
        token = values.get("token") or query_value(request.scope, "token")
        if not token:
            raise BadLink
        await self.resets.reset_by_link(token, values["newPassword"], language_of(request.scope))
        return json_reply(Status())


ROUTES: tuple[Route[PasswordEndpoints], ...] = (
    Route("POST", "/change-password", PasswordEndpoints.change, "session", "sign-in",
          Doc("change_password", _CHANGE_FIELDS, TokenUser)),
    Route("POST", "/verify-password", PasswordEndpoints.verify, "session", "auth",
          Doc("verify_password", _VERIFY_FIELDS, Status)),
    Route("POST", "/request-password-reset", PasswordEndpoints.request_reset, "anyone", "mail",
          Doc("request_password_reset", _REQUEST_FIELDS, StatusMessage)),
    Route("POST", "/forget-password", PasswordEndpoints.request_reset, "anyone", "mail"),
    Route("GET", "/reset-password/{token:str}", PasswordEndpoints.reset_page, "anyone", "auth",
          Doc("reset_password_page", _PAGE_QUERY, refuses=(403,), status=302)),
    Route("POST", "/reset-password", PasswordEndpoints.reset, "anyone", "auth",
          Doc("reset_password", _RESET_FIELDS, Status)),
)  # fmt: skip
