"""JWTs over HTTP: `/api/auth/token`, `/api/auth/jwks`, and the header of get-session."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.auth.tokens.jwts import Jwts
from freehold.auth.tokens.signing_keys import SigningKeys
from freehold.auth.types import User
from freehold.errors import Unavailable
from freehold.http.auth.context import AuthContext
from freehold.http.auth.replies import AuthReply, HeaderPairs, json_reply
from freehold.http.auth.route import Asked, Doc, Route
from freehold.log import get_logger

# Proxies and clients give all headers of an answer 8 to 16 kB; a name or image may be longer than that.
_MAX_HEADER_LENGTH = 4096
_HEADER = b"set-auth-jwt"
_EXPOSED = (b"access-control-expose-headers", _HEADER)

log = get_logger()


class TokenReply(msgspec.Struct, frozen=True):
    token: str


class JwksReply(msgspec.Struct, frozen=True):
    keys: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class JwtEndpoints:
    """What other services need to know who a user is, without asking us for each request."""

    edge: AuthContext
    jwts: Jwts
    signing_keys: SigningKeys

    async def token(self, request: Asked) -> AuthReply:
        """A JWT of the signed-in user, for other services; it opens nothing here."""
        signed_in = await self.edge.signed_in(request.scope)
        return json_reply(TokenReply(await self.jwts.of_user(signed_in.user)))

    async def jwks(self, _request: Asked) -> AuthReply:
        """The public keys that check JWTs: those that sign, and those whose last token has not expired yet."""
        return json_reply(JwksReply(await self.signing_keys.published()))


ROUTES: tuple[Route[JwtEndpoints], ...] = (
    Route("GET", "/token", JwtEndpoints.token, "session", "auth", Doc("get_token", gives=TokenReply)),
    Route("GET", "/jwks", JwtEndpoints.jwks, "anyone", "auth", Doc("get_jwks", gives=JwksReply)),
)


async def jwt_header(jwts: Jwts, user: User) -> HeaderPairs:
    """`set-auth-jwt`; nothing if it would be too long, or cannot be had now: a session is worth more."""
    try:
        text = await jwts.of_user(user)
    except Unavailable as error:
        log.warning("jwt.not_signed", reason=str(error))
        return ()
    return ((_HEADER, text.encode()), _EXPOSED) if len(text) <= _MAX_HEADER_LENGTH else ()
