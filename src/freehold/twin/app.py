"""The twin as one ASGI application: the Platform API, the databases behind their hostnames, faults around both."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, Router, delete, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import JSONBody
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct

from freehold import __version__
from freehold.http.databases.gateway import Gateway
from freehold.http.databases.replicas import Replicas
from freehold.keys import load_or_create_key
from freehold.providers.serving import REPLICA_METHODS
from freehold.settings.fields import BadSettings
from freehold.twin import refusals
from freehold.twin.catalogue import Catalogue
from freehold.twin.databases import DatabasesController, empty
from freehold.twin.engine import running_engine
from freehold.twin.faults import PATH, Fault, Faults, Faulty
from freehold.twin.groups import GroupsController
from freehold.twin.hosts import Hosts, Place
from freehold.twin.organizations import OrganizationsController, PlatformController
from freehold.twin.platform import Drawn, Platform
from freehold.twin.refusals import Refusal
from freehold.twin.tokens import DatabaseTokens

_MAX_BODY_BYTES = 2 * 1024 * 1024


class FaultsInput(Struct, frozen=True, kw_only=True):
    """Faults to add. `seed` makes their chance repeatable."""

    faults: Sequence[Fault] = ()
    seed: int | None = None


class FaultsAnswer(Struct, frozen=True):
    """Faults that may still happen."""

    faults: list[Fault]


def create_twin(platform: Platform, token: str, faults: Faults | None = None) -> ASGIApp:
    """The application. `token` is the platform token that is always valid."""
    faults = faults or Faults()
    app = Litestar(
        route_handlers=[
            DatabasesController,
            GroupsController,
            OrganizationsController,
            PlatformController,
            Router(PATH, route_handlers=[list_faults, add_faults, clear_faults], include_in_schema=False),
        ],
        dependencies={
            "platform": Provide(lambda: platform, sync_to_thread=False),
            "faults": Provide(lambda: faults, sync_to_thread=False),
            "drawn": Provide(_drawn, sync_to_thread=False),
        },
        guards=[_Guard(platform, token)],
        exception_handlers={Exception: refusals.answer},
        openapi_config=OpenAPIConfig(
            title="Turso Platform API, the local twin",
            version=__version__,
            path="/__schema",
            render_plugins=[JsonRenderPlugin()],
        ),
        request_max_body_size=_MAX_BODY_BYTES,
        logging_config=None,
    )
    return Faulty(DataPlane(app, platform), faults)


@get("/", operation_id="listFaults")
async def list_faults(faults: NamedDependency[Faults]) -> FaultsAnswer:
    """Faults that may still happen."""
    return FaultsAnswer(faults.active)


@post("/", operation_id="addFaults", status_code=200)
async def add_faults(faults: NamedDependency[Faults], data: JSONBody[FaultsInput]) -> FaultsAnswer:
    """Request faults."""
    faults.add(data.faults, data.seed)
    return FaultsAnswer(faults.active)


@delete("/", operation_id="clearFaults", status_code=200)
async def clear_faults(faults: NamedDependency[Faults]) -> Response[str]:
    """Remove all faults."""
    faults.clear()
    return empty()


def _drawn(request: Request[Any, Any, Any]) -> Drawn:
    found: Drawn = request.scope.get("faults", {})  # type: ignore[assignment]
    return found


class _Guard:
    """A platform token, and the organization's name in the path."""

    def __init__(self, platform: Platform, token: str) -> None:
        self._platform = platform
        self._digest = _digest(token)

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        if connection.url.path.startswith("/__schema"):
            return
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._is_good(_digest(token.strip())):
            raise Refusal(401, "unauthorized: could not parse jwt id: token is not valid")
        slug = connection.path_params.get("organization_slug", self._platform.organization)
        if slug != self._platform.organization:
            raise Refusal(404, "organization not found")

    def _is_good(self, digest: str) -> bool:
        known = [self._digest, *(each.digest for each in self._platform.catalogue.api_tokens.values())]
        return any([hmac.compare_digest(digest, each) for each in known])  # noqa: C419 - all are compared


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


# The databases behind their hostnames, through the same gateway that serves self-hosted ones.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinOptions:
    """Where the twin keeps its data, and how it is reached."""

    folder: Path
    port: int
    sqld: Path
    organization: str
    token: str
    place: Place


@asynccontextmanager
async def open_twin(options: TwinOptions, faults: Faults | None = None) -> AsyncIterator[ASGIApp]:
    """The whole twin, ready to be served, with its sqld running until the end.

    Raises:
        BadSettings, BadKeyFile: the folder cannot be used.
        Unavailable: sqld does not start.
    """
    try:
        await asyncio.to_thread(options.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings([f"--data-dir: cannot make `{options.folder}`: {error.strerror}"]) from error
    folder = await asyncio.to_thread(options.folder.resolve)
    key = await asyncio.to_thread(load_or_create_key, folder / "key.pem")
    async with running_engine(options.sqld, folder / "sqld", key) as engine:
        catalogue = await asyncio.to_thread(Catalogue, folder / "catalogue.db")
        try:
            await catalogue.prepare()
            platform = Platform(
                options.organization,
                catalogue,
                engine,
                DatabaseTokens(catalogue, key),
                Hosts(options.organization, options.port, options.place),
            )
            yield create_twin(platform, options.token, faults)
        finally:
            await asyncio.to_thread(catalogue.close)
