"""JWTs over HTTP: `/api/auth/token`, `/api/auth/jwks`, and the header of get-session."""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope

from freehold.auth.types import User
from freehold.errors import Unavailable
from freehold.http.auth.edge import AuthEdge, answers
from freehold.http.auth.replies import AuthReply, HeaderPairs, json_reply
from freehold.http.route_facts import facts

# Proxies and clients give all headers of an answer 8 to 16 kB; a name or image may be longer than that.
_MAX_HEADER_LENGTH = 4096
_HEADER = b"set-auth-jwt"
_EXPOSED = (b"access-control-expose-headers", _HEADER)

log = structlog.get_logger()


class TokenReply(msgspec.Struct, frozen=True):
    token: str


class JwksReply(msgspec.Struct, frozen=True):
    keys: Sequence[dict[str, Any]]


def jwt_routes(edge: AuthEdge) -> list[HTTPRouteHandler]:
    """What other services need to know who a user is, without asking us for each request."""

    @get("/token", operation_id="get_token", opt=facts(caller="session"), responses=answers(TokenReply))
    async def token(scope: Scope) -> AuthReply:
        """A JWT of the signed-in user, for other services; it opens nothing here."""
        signed_in = await edge.signed_in(scope)
        return json_reply(TokenReply(await edge.issuers.jwts.of_user(signed_in.user)))

    @get("/jwks", operation_id="get_jwks", responses=answers(JwksReply))
    async def jwks() -> AuthReply:
        """The public keys that check JWTs: those that sign, and those whose last token has not expired yet."""
        return json_reply(JwksReply(await edge.issuers.signing_keys.published()))

    return [token, jwks]


async def jwt_header(edge: AuthEdge, user: User) -> HeaderPairs:
    """`set-auth-jwt`; nothing if it would be too long, or cannot be had now: a session is worth more."""
    try:
        text = await edge.issuers.jwts.of_user(user)
    except Unavailable as error:
        log.warning("jwt.not_signed", reason=str(error))
        return ()
    return ((_HEADER, text.encode()), _EXPOSED) if len(text) <= _MAX_HEADER_LENGTH else ()
