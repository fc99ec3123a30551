"""Tokens over HTTP: JWTs for other services, and pairs for clients that keep tokens instead of cookies.

A pair is a short-lived access token and a refresh token; responses are those of OAuth 2.0 (RFC 6749, section 5.1) plus
the user; see docs/tokens.md.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.types import Scope

from freehold.auth.errors import BadAccessToken, BadRefreshToken, EmailTaken, WrongCredentials
from freehold.auth.tokens.jwts import LIFETIME, Jwts
from freehold.auth.tokens.refresh import TokenPair, TokenPairs
from freehold.auth.tokens.signing_keys import SigningKeys
from freehold.auth.types import NewUser, User
from freehold.dates import to_iso
from freehold.errors import Unavailable
from freehold.http.auth.answers import Success
from freehold.http.auth.bodies import ABSENT, LOGIN_FIELDS, REGISTER_FIELDS, Field, check, optional, refuse_protected
from freehold.http.auth.context import AuthContext
from freehold.http.auth.replies import NO_STORE, AuthReply, HeaderPairs, json_reply
from freehold.http.auth.route import Doc, Route
from freehold.http.headers import Asked, access_token_of, presented_by
from freehold.log import get_logger

# Proxies and clients limit a response's headers to 8 to 16 kB in all; a name or image may be longer than that.
_MAX_HEADER_LENGTH = 4096
_HEADER = b"set-auth-jwt"
_EXPOSED = (b"access-control-expose-headers", _HEADER)

log = get_logger()

_REFRESH_FIELDS = (Field("refresh_token"),)
_LOGOUT_FIELDS = (optional("refresh_token"),)


class TokenReply(msgspec.Struct, frozen=True):
    token: str


class JwksReply(msgspec.Struct, frozen=True):
    keys: Sequence[dict[str, Any]]


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


@dataclass(frozen=True, slots=True)
class TokenEndpoints:
    """Sign-up and sign-in with a pair, and what other services need to identify a user without asking us."""

    edge: AuthContext
    jwts: Jwts
    signing_keys: SigningKeys
    pairs: TokenPairs

    async def token(self, request: Asked) -> AuthReply:
        """Return a JWT of the signed-in user for other services; it grants nothing here."""
        signed_in = await self.edge.signed_in(request.scope)
        return json_reply(TokenReply(await self.jwts.of_user(signed_in.user)))

    async def jwks(self, _request: Asked) -> AuthReply:
        """Return the public keys for verifying JWTs: current ones, and those whose last token has not expired yet."""
        return json_reply(JwksReply(await self.signing_keys.published()))

    async def register(self, request: Asked) -> AuthReply:
        """Create a user from `email` and `password` (also `name`); returns a pair of tokens."""
        body = await self.edge.accept(request, takes_forms=True)
        values = check(body, REGISTER_FIELDS)
        refuse_protected(body)
        new = NewUser(name=values.get("name", ""), email=values["email"], password=values["password"])
        signed_in = await self.edge.auth.sign_up(new, await self.edge.client(request.scope))
        return _pair_reply(await self.pairs.start(signed_in), status=201)

    async def login(self, request: Asked) -> AuthReply:
        """Start a session with `email` and `password`; returns a pair of tokens."""
        body = await self.edge.accept(request, takes_forms=True)
        values = check(body, LOGIN_FIELDS)
        client = await self.edge.client(request.scope)
        signed_in = await self.edge.auth.sign_in(values["email"], values["password"], client)
        return _pair_reply(await self.pairs.start(signed_in))

    async def verify(self, request: Asked) -> AuthReply:
        """Return the user of the access token and when it expires; 401 if it is not, or no longer, valid."""
        access_token = access_token_of(request.scope)
        if access_token is None:
            raise BadAccessToken("send the access token as `Authorization: Bearer`")
        signed_in, expires_at = await self.pairs.read_with_expiry(access_token)
        return json_reply(VerifyReply(signed_in.user, to_iso(expires_at)), NO_STORE)

    async def refresh(self, request: Asked) -> AuthReply:
        """Exchange a `refresh_token`, which works once, for the next pair."""
        values = check(await self.edge.accept(request, takes_forms=True), _REFRESH_FIELDS)
        return _pair_reply(await self.pairs.refresh(values["refresh_token"]))

    async def logout(self, request: Asked) -> AuthReply:
        """End the session of the access token, or of the `refresh_token`; both stop working."""
        body = await self.edge.accept(request, takes_forms=True)
        values = check({} if body is ABSENT else body, _LOGOUT_FIELDS)
        for token in await self._sessions_named(request.scope, values.get("refresh_token")):
            await self.edge.auth.sign_out(token)
        return json_reply(Success(), set_cookies=self.edge.auth.cookies.clearing)

    async def _sessions_named(self, scope: Scope, refresh_token: str | None) -> set[str]:
        """The sessions that the request's tokens of any kind belong to; an invalid token belongs to none."""
        found = {await self.pairs.session_of(refresh_token)} if refresh_token else set()
        if (access_token := access_token_of(scope)) is not None:
            with contextlib.suppress(BadAccessToken):
                found.add((await self.pairs.read(access_token)).session.token)
        elif (presented := presented_by(scope, self.edge.auth.cookies)) is not None:
            found.add(presented.token)
        return {token for token in found if token is not None}


ROUTES: tuple[Route[TokenEndpoints], ...] = (
    Route("GET", "/token", TokenEndpoints.token, "session", "auth", Doc("get_token", gives=TokenReply)),
    Route("GET", "/jwks", TokenEndpoints.jwks, "anyone", "auth", Doc("get_jwks", gives=JwksReply)),
    Route("POST", "/register", TokenEndpoints.register, "anyone", "sign-in",
          Doc("register", REGISTER_FIELDS, PairReply, (EmailTaken,), status=201)),
    Route("POST", "/login", TokenEndpoints.login, "anyone", "sign-in",
          Doc("login", LOGIN_FIELDS, PairReply, (WrongCredentials,))),
    Route("GET", "/verify", TokenEndpoints.verify, "access token", "auth",
          Doc("verify_access_token", gives=VerifyReply)),
    Route("POST", "/refresh", TokenEndpoints.refresh, "anyone", "auth",
          Doc("refresh_tokens", _REFRESH_FIELDS, PairReply, (BadRefreshToken,))),
    Route("POST", "/logout", TokenEndpoints.logout, "anyone", "auth",
          Doc("logout", _LOGOUT_FIELDS, Success)),
)  # fmt: skip


async def jwt_header(jwts: Jwts, user: User) -> HeaderPairs:
    """The header `set-auth-jwt`; none if it would be too long or cannot be signed now: the session matters more."""
    try:
        text = await jwts.of_user(user)
    except Unavailable as error:
        log.warning("jwt.not_signed", reason=str(error))
        return ()
    return ((_HEADER, text.encode()), _EXPOSED) if len(text) <= _MAX_HEADER_LENGTH else ()


def _pair_reply(pair: TokenPair, *, status: int = 200) -> AuthReply:
    content = PairReply(pair.access.text, pair.refresh_token, pair.signed_in.user)
    return json_reply(content, NO_STORE, status=status)
