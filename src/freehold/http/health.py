"""Is the process up, and can it do its work?"""

from litestar import Controller, get
from litestar.di import NamedDependency
from msgspec import Struct

from freehold import __version__
from freehold.http.readiness import Readiness


class ReadyReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whatever else is worth knowing goes beside `status`; what keeps the service from its work is a 503."""

    status: str


class HealthController(Controller):
    """For load balancers and people; needs no credentials and tells nothing else."""

    path = "/"
    tags = ("health",)

    @get("/health", operation_id="health")
    async def health(self) -> dict[str, str]:
        """The process is up."""
        return {"status": "ok", "version": __version__}

    @get("/ready", operation_id="ready")
    async def ready(self, readiness: NamedDependency[Readiness]) -> ReadyReply:
        """The central database and the provider answer; 503 with the one that does not."""
        await readiness.check()
        return ReadyReply(status="ready")
