"""Whether the process is up, and whether the parts it depends on respond."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from litestar import Controller, get
from litestar.di import NamedDependency, Provide
from msgspec import Struct

from freehold import __version__
from freehold.errors import FreeholdError, ProviderUnavailable, Unavailable
from freehold.http.headers import Asked
from freehold.http.operations.figures import SharedFigures
from freehold.http.operations.metrics import may_read_metrics, metrics_route
from freehold.http.route_facts import facts
from freehold.http.single_router import SingleRouter
from freehold.providers.serving import HasStanding
from freehold.wiring.services import Services

# Anyone may ask as often as they like, so each part has one probe at a time, and its result holds for a moment. A
# caller waits for a limited time; the probe is not cancelled, so at most one hangs, however many ask. On a busy machine
# a probe takes long: while it may still be in time, the good result before it holds. Time is counted in turns of the
# event loop, as waiting for the loop is no fault of the part.

Probe = Callable[[], Awaitable[None]]

_LIMIT_S = 5.0
_HOLDS_S = 1.0
_FAULT_HOLDS_S = 0.2
_TURN_S = 0.1
_PATIENCE_S = 1.0  # of a caller, if the last result is recent and good


class Readiness:
    """`probes` by the name of the part for people; each raises what is wrong."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        *,
        limit_s: float = _LIMIT_S,
        holds_s: float = _HOLDS_S,
        fault_holds_s: float = _FAULT_HOLDS_S,
    ) -> None:
        self._parts = [_Part(name, probe, limit_s, holds_s, fault_holds_s) for name, probe in probes.items()]

    async def check(self) -> None:
        """Check that all parts respond in time, or recently did. Raises `Unavailable` for the first that does not."""
        for fault in await asyncio.gather(*(part.fault() for part in self._parts)):
            if fault is not None:
                raise fault


class _Part:
    def __init__(self, name: str, probe: Probe, limit_s: float, holds_s: float, fault_holds_s: float) -> None:
        self._name = name
        self._probe = probe
        self._limit_s = limit_s
        self._holds_s = holds_s
        self._fault_holds_s = fault_holds_s
        self._turn_s = min(_TURN_S, limit_s / 2)
        self._running: asyncio.Task[Unavailable | None] | None = None
        self._waited_s = 0.0
        self._found: Unavailable | None = None
        self._found_at = float("-inf")

    async def fault(self) -> Unavailable | None:
        """What is wrong, or None."""
        since_s = time.monotonic() - self._found_at
        if self._running is None:
            if since_s < (self._holds_s if self._found is None else self._fault_holds_s):
                return self._found
            self._waited_s = 0.0
            self._running = asyncio.create_task(self._look())
        running, asked_s = self._running, 0.0
        was_well = self._found is None and since_s < self._limit_s
        while not running.done() and self._waited_s < self._limit_s:
            if was_well and asked_s >= _PATIENCE_S:
                return None
            await asyncio.wait([running], timeout=self._turn_s)
            asked_s += self._turn_s
        return running.result() if running.done() else self._late()

    async def _look(self) -> Unavailable | None:
        probing = asyncio.ensure_future(self._probe())
        try:
            while not (await asyncio.wait([probing], timeout=self._turn_s))[0]:
                self._waited_s += self._turn_s
            fault = self._late() if self._waited_s >= self._limit_s else _fault_of(self._name, probing)
        finally:
            probing.cancel()
            self._running = None
        self._found, self._found_at = fault, time.monotonic()
        return fault

    def _late(self) -> Unavailable:
        return Unavailable(f"not ready: no answer in time from {self._name}")


def _fault_of(name: str, probed: "asyncio.Future[None]") -> Unavailable | None:
    error = probed.exception()
    if error is None or isinstance(error, Unavailable):
        return error
    # Whatever it is, the part is not well.
    known = isinstance(error, FreeholdError)
    fault = ProviderUnavailable(str(error)) if known else Unavailable(f"not ready: {name} failed")
    fault.__cause__ = error
    return fault


_MOST_NAMED = 100


class ReadyReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The status, and what else is worth knowing; a service that cannot work responds with 503 instead."""

    status: str
    sqld: str = ""
    damaged: int = 0
    damaged_databases: tuple[str, ...] = ()


class DamageReport:
    """What `/ready` says about databases that cannot be opened, and about an unsupervised sqld."""

    def __init__(self, services: Services) -> None:
        self._damaged = services.damaged
        self._provider = services.provider
        self._metrics_token = services.settings.metrics_token.reveal()

    def reply(self, request: Asked) -> ReadyReply:
        """The response of a ready service; names are only for those who may read the metrics."""
        names = sorted(self._damaged())
        if not names:
            return ReadyReply(status="ready", sqld=self._sqld())
        may_know = may_read_metrics(request, self._metrics_token)
        shown = tuple(names[:_MOST_NAMED]) if may_know else ()
        return ReadyReply(status="ready", sqld=self._sqld(), damaged=len(names), damaged_databases=shown)

    def _sqld(self) -> str:
        if not isinstance(self._provider, HasStanding) or self._provider.supervision == "supervised":
            return ""
        return self._provider.supervision


class HealthController(Controller):
    """For load balancers and people; needs no credentials and reveals nothing else."""

    path = "/"
    tags = ("health",)

    @get("/health", operation_id="health", opt=facts(is_alone=True))
    async def health(self) -> dict[str, str]:
        """Return `ok` while the process is up."""
        return {"status": "ok", "version": __version__}

    @get("/ready", operation_id="ready")
    async def ready(
        self, request: Asked, readiness: NamedDependency[Readiness], damage: NamedDependency[DamageReport]
    ) -> ReadyReply:
        """Check that the central database and the provider respond; 503 with the one that does not.

        `sqld` is `unsupervised` if no supervisor is known to restart it, and `unreachable` if its supervisor does not
        respond. `damaged` is the number of users' databases that cannot be opened until an operator repairs them; all
        others are served. Only callers who may read the metrics get the names.
        """
        await readiness.check()
        return damage.reply(request)


def operations_routes(services: Services, figures: SharedFigures) -> SingleRouter:
    """Routes for operators and monitoring: `/health`, `/ready` and `/metrics`."""
    damage = DamageReport(services)
    readiness = Readiness({"the central database": services.central.check, "the provider": services.provider.check})
    return SingleRouter(
        "/",
        route_handlers=[HealthController, metrics_route(services, figures)],
        dependencies={
            "readiness": Provide(lambda: readiness, sync_to_thread=False),
            "damage": Provide(lambda: damage, sync_to_thread=False),
        },
    )
