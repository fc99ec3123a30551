"""Is the process up, and can it do its work?"""

import asyncio

from litestar import Controller, get
from litestar.di import NamedDependency

from freehold import __version__
from freehold.bootstrap import Services
from freehold.errors import Unavailable

_LIMIT_S = 2.0


class HealthController(Controller):
    """For load balancers and people; needs no credentials and tells nothing else."""

    path = "/"
    tags = ("health",)

    @get("/health", operation_id="health")
    async def health(self) -> dict[str, str]:
        """The process is up."""
        return {"status": "ok", "version": __version__}

    @get("/ready", operation_id="ready")
    async def ready(self, services: NamedDependency[Services]) -> dict[str, str]:
        """The central database and the provider answer; 503 with the one that does not."""
        try:
            async with asyncio.timeout(_LIMIT_S):
                await services.central.check()
                await services.provider.check()
        except TimeoutError as error:
            raise Unavailable(
                "not ready: no answer in time from the central database or the provider"
            ) from error
        return {"status": "ready"}
