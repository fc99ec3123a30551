"""Embedded replicas of libSQL over gRPC-web: a fixed list of calls, for the database that the token names.

Some clients keep the path of a database's URL and some drop it, so a call may come without a name. The namespace that a
client sends in a header is ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from litestar.types import HTTPScope, Receive, Send

from freehold.errors import Forbidden, FreeholdError, InvalidInput, NotFound, TooLarge, Unauthenticated, Unavailable
from freehold.http.databases.calls import TokenChecks, Watched, read_body, send_stream
from freehold.http.headers import header
from freehold.log import get_logger
from freehold.providers.failures import Gone
from freehold.providers.grants import Grant
from freehold.providers.serving import ReplicaCall, ReplicaMethod, ReplicaServer
from freehold.providers.tokens import BadToken, Verifier
from freehold.sql.profiles import opens_nothing
from freehold.tenants.errors import DatabaseDamaged

log = get_logger()


_CONTENT_TYPE = b"application/grpc-web+proto"
_CONTENT_TYPES = frozenset({"application/grpc-web", "application/grpc-web+proto"})
_MAX_SESSION_TOKEN = 100
# Source: the status codes of gRPC.
_INTERNAL = 13
_STATUS: dict[type[FreeholdError], int] = {
    InvalidInput: 3,
    NotFound: 5,
    Forbidden: 7,
    TooLarge: 8,
    Unavailable: 14,
    Unauthenticated: 16,
}


@dataclass(frozen=True, slots=True)
class Replicas:
    server: ReplicaServer
    verifier: Verifier
    max_body_bytes: int = 10_000_000
    checks: TokenChecks | None = None

    async def serve(
        self, scope: HTTPScope, receive: Receive, send: Send, database_name: str | None, method: str
    ) -> None:
        """Answer one call of `REPLICA_METHODS`; without a name, the token names the database."""
        try:
            await self._answer(scope, receive, send, database_name, cast(ReplicaMethod, method))
        except Gone:
            return
        except FreeholdError as error:
            await _send_error(send, error)
        except Exception as error:
            log.exception("replicas.failed", path=scope["path"], exc_info=error)
            await _send_status(send, _INTERNAL, "something went wrong on our side")

    async def _answer(
        self, scope: HTTPScope, receive: Receive, send: Send, database_name: str | None, method: ReplicaMethod
    ) -> None:
        content_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if scope["method"] != "POST" or content_type not in _CONTENT_TYPES:
            raise InvalidInput("replicas are served over gRPC-web: POST with `application/grpc-web`")
        grant = self._grant(scope, database_name)
        if grant.profile == "none":
            raise opens_nothing()
        if self.checks is not None:
            await self.checks.check(grant)
        session_token = header(scope, b"x-session-token")
        sent = session_token or ""
        if len(sent) > _MAX_SESSION_TOKEN or not sent.isascii() or not sent.isprintable():
            raise InvalidInput("the session token is not one of ours")
        body = await read_body(receive, self.max_body_bytes)
        with Watched(receive) as disconnect:
            reply = await self.server.replicate(ReplicaCall(grant, method, body, session_token), disconnect)
            if reply.rest is None:
                await _send_status(send, reply.grpc_status or _INTERNAL, reply.message)
            else:
                await send_stream(send, _CONTENT_TYPE, b"", reply.rest)

    def _grant(self, scope: HTTPScope, database_name: str | None) -> Grant:
        token = _bearer(scope)
        if database_name is not None:
            return self.verifier.verify(token, database_name)
        return self.verifier.verify_only(token)


def _bearer(scope: HTTPScope) -> str:
    value = header(scope, b"authorization") or header(scope, b"x-authorization") or ""
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise BadToken("a token is needed: give it to the client as the auth token")
    return token.strip()


async def _send_error(send: Send, error: FreeholdError) -> None:
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), _INTERNAL)
    message = str(error)
    if isinstance(error, Unavailable):
        log.warning("replicas.unavailable", code=error.code, reason=message, cause=repr(error.__cause__))
        if not isinstance(error, DatabaseDamaged):
            message = "the database does not answer now; try again later"
    await _send_status(send, status, quote(message, safe=" `:;,.'()=+"))


async def _send_status(send: Send, status: int, message: str) -> None:
    headers: Sequence[tuple[bytes, bytes]] = [
        (b"content-type", _CONTENT_TYPE),
        (b"content-length", b"0"),
        (b"grpc-status", b"%d" % status),
        (b"grpc-message", message.encode("latin-1", "replace")),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
