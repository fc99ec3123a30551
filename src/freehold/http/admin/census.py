"""`GET /admin/registry/census`: which versions are in use, for administrators."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from freehold.http.guards import require_admin
from freehold.registry.client_versions import LIVE_DAYS, Census, ClientVersions
from freehold.registry.service import Registry

Days = Annotated[int, QueryParameter(ge=1, le=180, description="Devices count that were seen so lately.")]


class CensusController(Controller):
    """What contract migrations wait for."""

    path = "/admin/registry"
    tags = ("admin",)

    @get("/census", operation_id="registry_census", guards=[require_admin])
    async def census(
        self,
        registry: NamedDependency[Registry],
        reports: NamedDependency[ClientVersions],
        days: Days = LIVE_DAYS,
    ) -> Census:
        """Users, and devices without one, by the app and schema version that they told; tenants by state."""
        return await reports.census((await registry.snapshot()).version, days)
