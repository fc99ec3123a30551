"""Is the process up, and can it do its work?"""

from typing import Any

from litestar import Controller, Request, get
from litestar.di import NamedDependency
from msgspec import Struct

from freehold import __version__
from freehold.http.operations.metrics import may_read_metrics
from freehold.http.operations.readiness import Readiness
from freehold.http.route_facts import facts
from freehold.providers.serving import HasStanding
from freehold.wiring.services import Services

_MOST_NAMED = 100


class ReadyReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whatever else is worth knowing goes beside `status`; what keeps the service from its work is a 503."""

    status: str
    sqld: str = ""
    damaged: int = 0
    damaged_databases: tuple[str, ...] = ()


class DamageReport:
    """What `/ready` says of databases that cannot be opened, and of an sqld that nobody looks after."""

    def __init__(self, services: Services) -> None:
        self._damaged = services.damaged
        self._provider = services.provider
        self._metrics_token = services.settings.metrics_token.reveal()

    def reply(self, request: Request[Any, Any, Any]) -> ReadyReply:
        """The answer of a service that is ready; names are for those who may read the metrics."""
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
    """For load balancers and people; needs no credentials and tells nothing else."""

    path = "/"
    tags = ("health",)

    @get("/health", operation_id="health", opt=facts(is_alone=True))
    async def health(self) -> dict[str, str]:
        """The process is up."""
        return {"status": "ok", "version": __version__}

    @get("/ready", operation_id="ready")
    async def ready(
        self,
        request: Request[Any, Any, Any],
        readiness: NamedDependency[Readiness],
        damage: NamedDependency[DamageReport],
    ) -> ReadyReply:
        """The central database and the provider answer; 503 with the one that does not.

        `sqld` is `unsupervised` when nobody is known to start it again should it end, and `unreachable` when its
        supervisor does not answer. `damaged` is how many users' databases cannot be opened until an operator repairs
        them: all others are served. Those who may read the metrics learn which.
        """
        await readiness.check()
        return damage.reply(request)
