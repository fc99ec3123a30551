"""`GET /metrics` for Prometheus. It names routes by class and tenants by state, but nobody individually."""

import asyncio
import hmac
import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from freehold.errors import Forbidden, FreeholdError, Unauthenticated
from freehold.http.headers import Asked, header
from freehold.http.middleware.request_log import BOUNDS_S, RequestCounts
from freehold.http.operations.figures import SharedFigures
from freehold.http.route_facts import facts
from freehold.log import get_logger
from freehold.providers.serving import HasStanding, Standing
from freehold.wiring.services import Services

log = get_logger()

_CENTRAL_LIMIT_S = 2.0
_TENANTS_FOR_S = 5.0
_FORWARDED = (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via")


def metrics_route(services: Services, figures: SharedFigures) -> HTTPRouteHandler:
    """The route: for callers with METRICS_TOKEN if that is set, else for this machine itself."""
    metrics = _Metrics(services, figures)
    token = services.settings.metrics_token.reveal()

    @get(
        "/metrics",
        operation_id="metrics",
        opt=facts(Unauthenticated, Forbidden, caller="metrics token", is_alone=True),
        tags=["health"],
        media_type="text/plain",
    )
    async def read_metrics(request: Asked) -> Response[bytes]:
        """Return counts and times, in Prometheus's text format."""
        _admit(request, token)
        return Response(await metrics.text(), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})

    return read_metrics


def may_read_metrics(request: Asked, token: str) -> bool:
    """Whether the caller may know what is for operators only."""
    try:
        _admit(request, token)
    except (Forbidden, Unauthenticated):
        return False
    return True


def _admit(request: Asked, token: str) -> None:
    if token:
        scheme, _, given = (header(request.scope, b"authorization") or "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not is_right:
            raise Unauthenticated("send METRICS_TOKEN as `Authorization: Bearer`")
        return
    # A request through a proxy on this machine comes from this machine, too.
    is_forwarded = any(header(request.scope, name) is not None for name in _FORWARDED)
    if is_forwarded or not _is_loopback(request.scope.get("client")):
        raise Forbidden("metrics are for this machine only; set METRICS_TOKEN to read them from elsewhere")


def _is_loopback(client: tuple[str, int] | None) -> bool:
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:
        return False


class ProcessFigures:
    """What this process counts, as Prometheus's metric families, made when they are read."""

    def __init__(self, services: Services, counts: RequestCounts) -> None:
        self._services = services
        self._counts = counts
        self._process = ProcessCollector(registry=None)

    def __call__(self) -> Iterator[Metric]:
        yield from self._of_requests()
        refusals = CounterMetricFamily("freehold_rate_limit_refusals", "Requests over a rate limit", labels=["limit"])
        for limit, count in self._counts.refusals.items():
            refusals.add_metric([limit], count)
        yield refusals
        if self._services.cache is not None:
            yield CounterMetricFamily(
                "freehold_cache_failed_commands",
                "Commands that Redis did not answer",
                self._services.cache.failed_commands,
            )
        yield GaugeMetricFamily(
            "freehold_sessions_in_memory", "Sessions kept in memory", self._services.auth.sessions.remembered
        )
        yield from self._process.collect()

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "freehold_http_requests", "Requests by class of route and status", labels=["class", "status"]
        )
        for (name, status), count in self._counts.statuses.items():
            requests.add_metric([name, str(status)], count)
        yield requests
        times = HistogramMetricFamily(
            "freehold_http_request_seconds", "Time until the answer was sent", labels=["class"]
        )
        for name, buckets in self._counts.buckets.items():
            total = 0
            bounds = []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), buckets, strict=True):
                total += count
                bounds.append((bound, total))
            times.add_metric([name], bounds, self._counts.seconds[name])
        yield times


class _Metrics(Collector):
    """Everything, when it is read: what processes count for themselves, and what they have in common."""

    def __init__(self, services: Services, figures: SharedFigures) -> None:
        self._services = services
        self._figures = figures
        self._tenants: Mapping[str, int] = {}
        self._is_central_up = False
        self._sqld: Standing | None = None
        self._read_at = float("-inf")
        self._registry = CollectorRegistry()
        self._registry.register(self)

    async def text(self) -> bytes:
        if time.monotonic() - self._read_at > _TENANTS_FOR_S:
            await self._read_tenants()
            if isinstance(self._services.provider, HasStanding):
                self._sqld = await self._services.provider.standing()
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        return ()  # so that registering does not collect

    def collect(self) -> Iterator[Metric]:
        yield from self._figures.total()
        if self._services.cache is not None:
            yield GaugeMetricFamily(
                "freehold_cache_up", "1 while Redis answers", int(self._services.cache.state == "up")
            )
        yield GaugeMetricFamily("freehold_central_up", "1 while the central database answers", int(self._is_central_up))
        tenants = GaugeMetricFamily("freehold_tenants", "Tenants by state", labels=["state"])
        for state, count in self._tenants.items():
            tenants.add_metric([state], count)
        yield tenants
        yield GaugeMetricFamily(
            "freehold_databases_damaged",
            "Databases that cannot be opened until `freehold tenants repair`",
            len(self._services.damaged()),
        )
        if self._sqld is not None:
            yield from sqld_families(self._sqld)

    async def _read_tenants(self) -> None:
        self._read_at = time.monotonic()  # first, so that concurrent callers read once
        try:
            async with asyncio.timeout(_CENTRAL_LIMIT_S):
                counts = await self._services.listing.counts()
        except (FreeholdError, TimeoutError) as error:
            log.warning("metrics.tenants_not_counted", reason=type(error).__name__)
            self._tenants, self._is_central_up = {}, False
        else:
            self._tenants = {state.value: count for state, count in counts.items()}
            self._is_central_up = True


# What `/metrics` says of sqld, if it holds the tenants.


def sqld_families(standing: Standing) -> Iterator[Metric]:
    """The metric families for one state of sqld."""
    yield GaugeMetricFamily("freehold_sqld_up", "1 while sqld answers", int(standing.is_up))
    yield GaugeMetricFamily(
        "freehold_sqld_supervised", "1 while a supervisor restarts sqld", int(standing.supervision == "supervised")
    )
    if standing.restarts is not None:
        yield CounterMetricFamily("freehold_sqld_restarts", "Restarts of sqld", standing.restarts)
    if standing.memory_bytes is not None:
        yield GaugeMetricFamily("freehold_sqld_memory_bytes", "Memory of sqld", standing.memory_bytes)
    yield GaugeMetricFamily("freehold_sqld_places", "Calls of tenants that may run on sqld at once", standing.places)
    calls = GaugeMetricFamily(
        "freehold_sqld_calls",
        "Calls of tenants on sqld; those that linger were broken off and have not ended",
        labels=["state"],
    )
    for state in ("running", "waiting", "lingering"):
        calls.add_metric([state], getattr(standing, state))
    yield calls
    yield CounterMetricFamily(
        "freehold_sqld_stopped_calls", "Calls stopped for their time, or to make room", standing.stopped
    )
    yield CounterMetricFamily(
        "freehold_sqld_stuck", "Times that calls past their limit held every place", standing.stuck
    )
    yield GaugeMetricFamily(
        "freehold_sqld_slowed_tenants", "Tenants limited to one call at a time because of that", standing.slowed
    )
    yield CounterMetricFamily(
        "freehold_sqld_forced_logs",
        "Times that streams were closed because a log had grown too long",
        standing.logs_forced,
    )
