"""The databases behind their hostnames, through the same gateway that serves self-hosted ones."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from freehold.http.databases.gateway import Gateway
from freehold.http.databases.replicas import Replicas
from freehold.providers.serving import REPLICA_METHODS
from freehold.twin.platform import Platform

# Browsers may call a database from any page, as they may on Turso.
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"*, Authorization"),
]


class DataPlane:
    """ASGI wrapper: requests for a database go to the gateway, all others to the Platform API."""

    def __init__(self, app: ASGIApp, platform: Platform) -> None:
        self._app = app
        self._hosts = platform.hosts
        self._replicas = Replicas(platform.engine.replicas, platform.tokens)
        self._gateway = Gateway(platform.engine.server, platform.tokens, replicas=self._replicas)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path[1:] in REPLICA_METHODS:  # such clients drop the path of a URL; their token names the database
            await self._replicas.serve(scope, receive, send, None, path[1:])
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        named = self._hosts.named_by(host, path)
        if named is None:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": list(_CORS)})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._gateway.serve(scope, receive, _with_cors(send), *named)


def _with_cors(send: Send) -> Send:
    async def send_with_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], _CORS[0]]
        await send(message)

    return send_with_cors
