"""The HTTP application: routes, error mapping, background work. Everything it needs comes from `Services`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp

from freehold.errors import ProviderUnavailable
from freehold.http.admin import ADMIN_ROUTES
from freehold.http.auth.context import AuthContext
from freehold.http.auth.form import form_routes
from freehold.http.auth.get_session import GetSessionFastPath
from freehold.http.auth.sign_in import SignInEndpoints
from freehold.http.auth.table import auth_endpoints, auth_routes
from freehold.http.client_address import ClientAddresses, network_of
from freehold.http.databases.calls import TokenChecks
from freehold.http.databases.gateway import DatabasePaths, Gateway, gateway_routes
from freehold.http.databases.own import DATABASE_ROUTES
from freehold.http.databases.replicas import Replicas
from freehold.http.description.document import ApiDescription
from freehold.http.guards import provide_database_caller, provide_signed_in
from freehold.http.middleware.connection import Connection, connections_of
from freehold.http.middleware.connection_limits import ConnectionLimits, Connections
from freehold.http.middleware.cors import Cors
from freehold.http.middleware.large_bodies import BodyRoom, LargeBodies
from freehold.http.middleware.rate_limits import RateLimits, Rules
from freehold.http.middleware.request_log import AuditOrigins, RequestCounts, RequestLog
from freehold.http.operations.figures import SharedFigures
from freehold.http.operations.health import operations_routes
from freehold.http.operations.metrics import ProcessFigures
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.http.registry.publishing import PublishingController
from freehold.http.registry.routes import ClientReports, registry_routes
from freehold.http_worker import ALONE, HttpWorker
from freehold.log import get_logger
from freehold.memory import give_back_memory
from freehold.settings.fields import Settings
from freehold.wiring.services import Services

log = get_logger()

_MAX_BODY_BYTES = 2 * 1024 * 1024


def create_app(services: Services, gateway: Gateway | None = None, counts: RequestCounts | None = None) -> Litestar:
    """All routes on one Litestar application, which also runs the background work."""

    @contextlib.asynccontextmanager
    async def background(_app: Litestar) -> AsyncIterator[None]:
        works = (
            _work(services),
            services.operations_worker.run(),
            services.audit.keep_anchoring(),
            services.registry.keep_signed(),
            services.reports.run(),
            figures.run(),
            give_back_memory(),
        )
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    gateway = gateway or _gateway(services)
    figures = SharedFigures(services.worker, ProcessFigures(services, counts or RequestCounts()))
    edge = _edge(services)
    description = ApiDescription(Rules(services.settings), services.auth.cookies, has_gateway=gateway is not None)
    return Litestar(
        route_handlers=[
            operations_routes(services, figures),
            auth_routes(edge, auth_endpoints(edge, services, services.settings)),
            form_routes(edge),
            *DATABASE_ROUTES,
            *ADMIN_ROUTES,
            registry_routes(services.registry, ClientReports(services.reports, services.auth.cookies, edge.addresses)),
            PublishingController,
            *([] if gateway is None else [gateway_routes(gateway)]),
        ],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "audit": Provide(lambda: services.audit, sync_to_thread=False),
            "auth": Provide(lambda: services.auth, sync_to_thread=False),
            "pairs": Provide(lambda: services.pairs, sync_to_thread=False),
            "api_keys": Provide(lambda: services.api_keys, sync_to_thread=False),
            "registry": Provide(lambda: services.registry, sync_to_thread=False),
            "reports": Provide(lambda: services.reports, sync_to_thread=False),
            "tenants": Provide(lambda: services.tenants, sync_to_thread=False),
            "listing": Provide(lambda: services.listing, sync_to_thread=False),
            "lifecycle": Provide(lambda: services.lifecycle, sync_to_thread=False),
            "guest_databases": Provide(lambda: services.guest_databases, sync_to_thread=False),
            "signed_in": Provide(provide_signed_in),
            "database_caller": Provide(provide_database_caller),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=description.config(),
        request_max_body_size=_MAX_BODY_BYTES,
        lifespan=[background],
        logging_config=None,
    )


async def _work(services: Services) -> None:
    try:
        await services.provider.check()  # tidies up after a crash
    except ProviderUnavailable as error:
        log.warning("provider.unavailable", reason=str(error))
    await services.provisioner.run()


def create_asgi(services: Services, room: BodyRoom | None = None) -> ASGIApp:
    """The application as a server runs it: with rate limits, limits on bodies, CORS and the request log around it."""
    gateway = _gateway(services)
    counts = RequestCounts()
    sign_in = SignInEndpoints(_edge(services), services.jwts, services.api_keys, services.guests)
    app: ASGIApp = GetSessionFastPath(create_app(services, gateway, counts), sign_in.session_of)
    if gateway is not None:
        app = DatabasePaths(app, gateway)
    settings = services.settings
    addresses = ClientAddresses(settings.trusted_proxies)
    if settings.rate_limits == "on":
        app = RateLimits(app, services.limiter, Rules(settings), addresses, counts.note_refusal)
    room = room or create_room(services.settings, services.worker)
    app = AuditOrigins(LargeBodies(Cors(app, services.auth.origins), room, addresses), addresses)
    return RequestLog(app, counts)


def create_room(settings: Settings, worker: HttpWorker = ALONE) -> BodyRoom:
    """This process's memory for large bodies; each client address may use a quarter of it."""
    total_bytes = worker.share(settings.request_memory_mb * 1_000_000)
    return BodyRoom(total_bytes, total_bytes // 4)


def create_connections(settings: Settings, room: BodyRoom, most: int, worker: HttpWorker = ALONE) -> type[Connection]:
    """The protocol class for a process that can open `most` connections."""
    limits = ConnectionLimits(
        connections=min(worker.share(settings.max_connections), most),
        connections_each=min(worker.share(settings.max_connections_each), most),
        head_s=settings.request_head_timeout_s,
        body_s=settings.request_body_timeout_s,
        unread_bytes=worker.share(settings.request_memory_mb * 1_000_000),
    )
    addresses = ClientAddresses(settings.trusted_proxies)
    counted = Connections(limits, is_shared=addresses.is_proxy, is_short=lambda: room.is_short)
    return connections_of(counted, lambda host: host if addresses.is_proxy(host) else network_of(host))


def _edge(services: Services) -> AuthContext:
    return AuthContext(services.auth, ClientAddresses(services.settings.trusted_proxies), services.session_data)


def _gateway(services: Services) -> Gateway | None:
    if services.server is None or services.verifier is None:
        return None  # clients go to the provider themselves
    checks = TokenChecks(services.token_subjects.is_live, services.rotations.generation)
    replicas = None
    if services.replicas is not None:
        replicas = Replicas(services.replicas, services.verifier, checks=checks)
    return Gateway(services.server, services.verifier, checks, replicas=replicas)
