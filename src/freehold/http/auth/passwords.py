"""`/api/auth`: changing a password that is known, and replacing one that is forgotten by a link in a mail."""

from dataclasses import dataclass
from typing import Any

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from freehold.auth.email.password_resets import PasswordResets
from freehold.auth.errors import BadLink
from freehold.auth.users.accounts import Accounts
from freehold.http.auth.answers import Status, StatusMessage, TokenUser, with_query
from freehold.http.auth.bodies import KEEPS_KEYS, Field, check, documented, documented_query
from freehold.http.auth.edge import AuthEdge, answers, query_value
from freehold.http.auth.languages import language_of
from freehold.http.auth.replies import AuthReply, json_reply, redirect
from freehold.http.route_facts import facts

_CHANGE_FIELDS = (
    Field("newPassword"),
    Field("currentPassword"),
    Field("revokeOtherSessions", "boolean", is_required=False),
    KEEPS_KEYS,
)
_VERIFY_FIELDS = (Field("password"),)
_REQUEST_FIELDS = (Field("email", "email"), Field("redirectTo", is_required=False))
_RESET_FIELDS = (Field("newPassword"), Field("token", is_required=False))

_SENT = StatusMessage(True, "If this email exists in our system, check your email for the reset link")

Asked = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class _Endpoints:
    edge: AuthEdge
    accounts: Accounts
    resets: PasswordResets
    public_url: str

    async def change(self, request: Asked) -> AuthReply:
        values = check(await self.edge.accept(request), _CHANGE_FIELDS)
        asking = await self.edge.signed_in(request.scope)
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
        values = check(await self.edge.accept(request), _VERIFY_FIELDS)
        asking = await self.edge.signed_in(request.scope)
        await self.accounts.check_password(asking, values["password"], await self.edge.client(request.scope))
        return json_reply(Status())

    async def request_reset(self, request: Asked) -> AuthReply:
        values = check(await self.edge.accept(request), _REQUEST_FIELDS)
        language, source = language_of(request.scope), self.edge.source(request.scope)
        await self.resets.mail_link(values["email"], values.get("redirectTo", ""), language, source)
        return json_reply(_SENT)

    async def reset_page(self, request: Asked, token: str) -> AuthReply:
        """From the mail to the app's own page; whether the link is still good is told there."""
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
        values = check(await self.edge.accept(request), _RESET_FIELDS)
        token = values.get("token") or query_value(request.scope, "token")
        if not token:
            raise BadLink("there is no token")
        await self.resets.reset_by_link(token, values["newPassword"], language_of(request.scope))
        return json_reply(Status())


def password_routes(
    edge: AuthEdge, accounts: Accounts, resets: PasswordResets, public_url: str
) -> list[HTTPRouteHandler]:
    """What `auth_routes` takes as further routes."""
    endpoints = _Endpoints(edge, accounts, resets, public_url)

    @post(
        "/change-password",
        operation_id="change_password",
        opt=facts(caller="session"),
        operation_class=documented(_CHANGE_FIELDS),
        status_code=200,
        responses=answers(TokenUser),
    )
    async def change(request: Asked) -> AuthReply:
        """Set another password, for who is signed in.

        `revokeOtherSessions` ends all sessions and gives a new one; API keys end with them, unless `keepApiKeys`.
        """
        return await endpoints.change(request)

    @post(
        "/verify-password",
        operation_id="verify_password",
        opt=facts(caller="session"),
        operation_class=documented(_VERIFY_FIELDS),
        status_code=200,
        responses=answers(Status),
    )
    async def verify(request: Asked) -> AuthReply:
        """Whether it is the password of who is signed in."""
        return await endpoints.verify(request)

    @post(
        "/request-password-reset",
        operation_id="request_password_reset",
        operation_class=documented(_REQUEST_FIELDS),
        status_code=200,
        responses=answers(StatusMessage),
    )
    async def request_reset(request: Asked) -> AuthReply:
        """Mail a link that leads to `redirectTo`. The answer does not tell whether there is such a user."""
        return await endpoints.request_reset(request)

    @post("/forget-password", status_code=200, include_in_schema=False)
    async def request_reset_of_old(request: Asked) -> AuthReply:
        return await endpoints.request_reset(request)

    @get(
        "/reset-password/{token:str}",
        operation_id="reset_password_page",
        operation_class=documented_query(Field("callbackURL", is_required=False)),
        opt=facts(403),
        status_code=302,
    )
    async def reset_page(request: Asked, token: FromPath[str]) -> AuthReply:
        """Where the link in the mail leads: on to `callbackURL`, with `token` or `error`."""
        return await endpoints.reset_page(request, token)

    @post(
        "/reset-password",
        operation_id="reset_password",
        operation_class=documented(_RESET_FIELDS),
        status_code=200,
        responses=answers(Status),
    )
    async def reset(request: Asked) -> AuthReply:
        """Set `newPassword` with the token of the link, which works once. All sessions and API keys end."""
        return await endpoints.reset(request)

    return [change, verify, request_reset, request_reset_of_old, reset_page, reset]
