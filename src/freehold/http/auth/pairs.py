"""The same sign-up and sign-in for clients that keep tokens: a short-lived access token and a refresh token.

Answers are those of OAuth 2.0 (RFC 6749, section 5.1) with the user beside them; see docs/tokens.md.
"""

import contextlib
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope

from freehold.auth.errors import BadAccessToken, BadRefreshToken, EmailTaken, WrongCredentials
from freehold.auth.tokens.jwts import LIFETIME
from freehold.auth.tokens.refresh import TokenPair
from freehold.auth.types import NewUser, User
from freehold.dates import to_iso
from freehold.http.auth.answers import Success
from freehold.http.auth.bodies import ABSENT, Field, check, documented, refuse_protected
from freehold.http.auth.edge import AuthEdge, answers
from freehold.http.auth.replies import NO_STORE, AuthReply, json_reply
from freehold.http.headers import access_token_of, presented_by
from freehold.http.route_facts import facts

_REGISTER_FIELDS = (Field("email", "email"), Field("password", "nonempty"), Field("name", is_required=False))
_LOGIN_FIELDS = (Field("email"), Field("password"))
_REFRESH_FIELDS = (Field("refresh_token"),)
_LOGOUT_FIELDS = (Field("refresh_token", is_required=False),)


class PairReply(msgspec.Struct, frozen=True):
    """`expires_in` is the access token's, in seconds."""

    access_token: str
    refresh_token: str
    user: User
    token_type: str = "Bearer"  # noqa: S105 - a kind, not a token
    expires_in: int = int(LIFETIME.total_seconds())


class VerifyReply(msgspec.Struct, frozen=True):
    user: User
    expires_at: str
    valid: bool = True


class _Endpoints:
    """Only translates: every rule is the service's."""

    def __init__(self, edge: AuthEdge) -> None:
        self._edge = edge
        self._auth = edge.auth
        self._pairs = edge.issuers.pairs

    async def register(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = await self._edge.accept(request, takes_forms=True)
        values = check(body, _REGISTER_FIELDS)
        refuse_protected(body)
        new = NewUser(name=values.get("name", ""), email=values["email"], password=values["password"])
        signed_in = await self._auth.sign_up(new, await self._edge.client(request.scope))
        return _reply(await self._pairs.start(signed_in), status=201)

    async def login(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = await self._edge.accept(request, takes_forms=True)
        values = check(body, _LOGIN_FIELDS)
        client = await self._edge.client(request.scope)
        signed_in = await self._auth.sign_in(values["email"], values["password"], client)
        return _reply(await self._pairs.start(signed_in))

    async def verify(self, scope: Scope) -> AuthReply:
        access_token = access_token_of(scope)
        if access_token is None:
            raise BadAccessToken("send the access token as `Authorization: Bearer`")
        signed_in, expires_at = await self._pairs.read_with_expiry(access_token)
        return json_reply(VerifyReply(signed_in.user, to_iso(expires_at)), NO_STORE)

    async def refresh(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = check(await self._edge.accept(request, takes_forms=True), _REFRESH_FIELDS)
        return _reply(await self._pairs.refresh(values["refresh_token"]))

    async def logout(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = await self._edge.accept(request, takes_forms=True)
        values = check({} if body is ABSENT else body, _LOGOUT_FIELDS)
        for token in await self._sessions_named(request.scope, values.get("refresh_token")):
            await self._auth.sign_out(token)
        return json_reply(Success(), set_cookies=self._auth.cookies.clearing)

    async def _sessions_named(self, scope: Scope, refresh_token: str | None) -> set[str]:
        """The sessions whose tokens of any kind the request carries. What is not valid names none."""
        found = {await self._pairs.session_of(refresh_token)} if refresh_token else set()
        if (access_token := access_token_of(scope)) is not None:
            with contextlib.suppress(BadAccessToken):
                found.add((await self._pairs.read(access_token)).session.token)
        elif (presented := presented_by(scope, self._auth.cookies)) is not None:
            found.add(presented.token)
        return {token for token in found if token is not None}


def pair_routes(edge: AuthEdge) -> list[HTTPRouteHandler]:
    """Sign-up and sign-in with a pair of tokens."""
    endpoints = _Endpoints(edge)

    @post(
        "/register",
        operation_id="register",
        opt=facts(EmailTaken),
        operation_class=documented(_REGISTER_FIELDS),
        status_code=201,
        responses=answers(PairReply, status=201),
    )
    async def register(request: Request[Any, Any, Any]) -> AuthReply:
        """Make a user from `email` and `password` (also `name`); answers with a pair of tokens."""
        return await endpoints.register(request)

    @post(
        "/login",
        operation_id="login",
        opt=facts(WrongCredentials),
        operation_class=documented(_LOGIN_FIELDS),
        status_code=200,
        responses=answers(PairReply),
    )
    async def login(request: Request[Any, Any, Any]) -> AuthReply:
        """Start a session with `email` and `password`; answers with a pair of tokens."""
        return await endpoints.login(request)

    @get(
        "/verify",
        operation_id="verify_access_token",
        opt=facts(caller="access token"),
        responses=answers(VerifyReply),
    )
    async def verify(scope: Scope) -> AuthReply:
        """Whose access token this is, and until when; 401 if it is not valid (any more)."""
        return await endpoints.verify(scope)

    @post(
        "/refresh",
        operation_id="refresh_tokens",
        opt=facts(BadRefreshToken),
        operation_class=documented(_REFRESH_FIELDS),
        status_code=200,
        responses=answers(PairReply),
    )
    async def refresh(request: Request[Any, Any, Any]) -> AuthReply:
        """The next pair for a `refresh_token`, which is good for once."""
        return await endpoints.refresh(request)

    @post(
        "/logout",
        operation_id="logout",
        operation_class=documented(_LOGOUT_FIELDS),
        status_code=200,
        responses=answers(Success),
    )
    async def logout(request: Request[Any, Any, Any]) -> AuthReply:
        """End the session of the access token, or of the `refresh_token`; both are of no use afterwards."""
        return await endpoints.logout(request)

    return [register, login, verify, refresh, logout]


def _reply(pair: TokenPair, *, status: int = 200) -> AuthReply:
    content = PairReply(pair.access.text, pair.refresh_token, pair.signed_in.user)
    return json_reply(content, NO_STORE, status=status)
