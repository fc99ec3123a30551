"""`/db/<name>/`: Hrana over HTTP to the tenant databases that we serve ourselves.

It checks the path, the bearer token for this database and the size of the body; the provider does the rest. Errors have
Hrana's form, `{message, code}`, because official clients show them to their users.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
from litestar import asgi
from litestar.enums import ScopeType
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from freehold.errors import FreeholdError, NotFound
from freehold.http.databases.calls import TokenChecks, Watched, read_body, send_stream, too_large
from freehold.http.databases.replicas import Replicas
from freehold.http.errors import MethodNotAllowed
from freehold.http.problems import RETRY_AFTER_S, STATUS, status_of
from freehold.libsql.protocol import Error
from freehold.log import get_logger
from freehold.providers.failures import Gone, OutcomeUnknown, Overloaded, code_of
from freehold.providers.grants import Grant
from freehold.providers.serving import ENDPOINTS, REPLICA_METHODS, Call, DatabaseServer, Endpoint
from freehold.providers.tokens import BadToken, Verifier
from freehold.sql.profiles import opens_nothing
from freehold.tenants.errors import DatabaseDamaged

log = get_logger()

_VERSIONS = frozenset({"v2", "v3"})  # clients probe these with GET
_SMALL_BODY_BYTES = 65_536
_JSON = b"application/json"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Gateway:
    """An ASGI application. `checks`, if given, decide before each call whether the token may still be used."""

    server: DatabaseServer
    verifier: Verifier
    checks: TokenChecks | None = None
    max_body_bytes: int = 10_000_000
    replicas: Replicas | None = None
    # For large bodies, so that one database's clients cannot fill the memory.
    max_bodies_bytes_each: int = 40_000_000
    _held: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:  # Hrana over WebSocket is not served; clients fall back to HTTP
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        await self.serve(scope, receive, send, *_split(scope["path"]))

    async def serve(self, scope: HTTPScope, receive: Receive, send: Send, database_name: str, endpoint: str) -> None:
        if endpoint in REPLICA_METHODS and self.replicas is not None:
            await self.replicas.serve(scope, receive, send, database_name, endpoint)
            return
        try:
            await self._answer(scope, receive, send, database_name, endpoint)
        except Gone:
            return
        except FreeholdError as error:
            await _send_error(send, error)
        except Exception as error:
            log.exception("gateway.failed", path=scope["path"], exc_info=error)
            await _send(send, 500, _encode(Error("something went wrong on our side", "INTERNAL")))

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send, database_name: str, endpoint: str) -> None:
        method = scope["method"]
        if endpoint in _VERSIONS and method in {"GET", "HEAD"}:
            await _send(send, 200, b"")
            return
        if endpoint not in ENDPOINTS:
            raise NotFound("no such path; a database is served at v2/pipeline, v3/pipeline, v1/execute, v1/batch")
        if method != "POST":
            raise MethodNotAllowed(f"use POST, not {method}")
        authorization, size = self._announced(scope)
        grant = self.verifier.verify(_bearer(authorization), database_name)
        if grant.profile == "none":
            raise opens_nothing()
        if self.checks is not None:
            await self.checks.check(grant)
        if size > self.max_body_bytes:
            raise too_large(self.max_body_bytes)
        if size <= _SMALL_BODY_BYTES:
            await self._run(receive, send, grant, cast(Endpoint, endpoint))
        else:
            with self._room(database_name, size):
                await self._run(receive, send, grant, cast(Endpoint, endpoint))

    async def _run(self, receive: Receive, send: Send, grant: Grant, endpoint: Endpoint) -> None:
        call = Call(grant, endpoint, await read_body(receive, self.max_body_bytes))
        with Watched(receive) as disconnect:
            reply = await self.server.answer(call, disconnect)
            if reply.rest is None:
                await _send(send, reply.status, reply.body)
            else:
                await send_stream(send, _JSON, reply.body, reply.rest)

    def _announced(self, scope: HTTPScope) -> tuple[bytes | None, int]:
        """The header `Authorization`, and the announced size of the body, else the largest allowed."""
        authorization, size = None, self.max_body_bytes
        for name, value in scope["headers"]:
            if name == b"authorization" and authorization is None:
                authorization = value
            elif name == b"content-length" and value.isdigit():
                size = int(value[:20])
        return authorization, size

    @contextlib.contextmanager
    def _room(self, database_name: str, size: int) -> Iterator[None]:
        """Reserve memory for a large body while it is needed."""
        if self._held[database_name] + size > self.max_bodies_bytes_each:
            raise Overloaded("too much is being sent to this database at once; try again in a moment")
        self._held[database_name] += size
        try:
            yield
        finally:
            self._held[database_name] -= size
            if not self._held[database_name]:
                del self._held[database_name]


class DatabasePaths:
    """ASGI wrapper that passes requests for databases to the gateway, before the router sees them.

    Routing takes as long as the gateway's own work, and replicas may call at the root.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            path = scope["path"]
            if path.startswith("/db/"):
                await self._gateway.serve(scope, receive, send, *_split(path[3:]))
                return
            replicas = self._gateway.replicas
            if replicas is not None and path[1:] in REPLICA_METHODS:
                await replicas.serve(scope, receive, send, None, path[1:])
                return
        await self._app(scope, receive, send)


def gateway_routes(gateway: Gateway) -> ASGIRouteHandler:
    """The gateway as a route of the application."""

    @asgi("/db", is_mount=True, copy_scope=False, opt={"exclude_from_auth": True})
    async def database_gateway(scope: Scope, receive: Receive, send: Send) -> None:
        await gateway(scope, receive, send)

    return database_gateway


def _split(path: str) -> tuple[str, str]:
    """Database name and endpoint of `/name/endpoint/`, the path below the mount.

    Some clients add a slash even if the database's URL ends with one.
    """
    database_name, _, endpoint = path[1:].partition("/")
    return (database_name, endpoint.removeprefix("/").removesuffix("/")) if path.startswith("/") else ("", "")


def _bearer(value: bytes | None) -> str:
    if value is None:
        raise BadToken("a token is needed: send `Authorization: Bearer <token>`")
    scheme, _, token = value.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise BadToken("the Authorization header must have the form `Bearer <token>`")
    return token.strip()


async def _send_error(send: Send, error: FreeholdError) -> None:
    status = database_status_of(error)
    headers: list[tuple[bytes, bytes]] = []
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in {429, 503} and not isinstance(error, OutcomeUnknown):  # which must not be repeated blindly
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    if status >= 500:
        log.warning("gateway.unavailable", code=error.code, reason=str(error), cause=repr(error.__cause__))
    # Details for operators, such as disk errors, are not for clients.
    is_private = status >= 500 and not isinstance(error, DatabaseDamaged | OutcomeUnknown)
    message = "the database does not answer now; try again later" if is_private else str(error)
    await _send(send, status, _encode(Error(message, code_of(error))), headers)


def database_status_of(error: FreeholdError | type[FreeholdError]) -> int:
    """The status as elsewhere, except that too much at once is 429."""
    kind = error if isinstance(error, type) else type(error)
    return STATUS["too many"] if issubclass(kind, Overloaded) else status_of(kind)


async def _send(send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    # A fresh list each time, as middleware adds to it in place. The official JavaScript client compares the
    # content type as a whole: no charset.
    start = [(b"content-type", _JSON), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body, "more_body": False})
