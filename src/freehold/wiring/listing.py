"""The list of tenants alone, which loads in half the time of all the tenants' services."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from freehold.central.tenants.store import CentralTenants
from freehold.settings.fields import Settings
from freehold.tenants.listing import TenantListing
from freehold.wiring.foundation import open_foundation


@asynccontextmanager
async def open_listing(settings: Settings) -> AsyncIterator[TenantListing]:
    """The tenants of an existing installation. Raises as `open_services` does."""
    async with AsyncExitStack() as stack:
        base = await open_foundation(settings, stack, creates=False)
        yield TenantListing(CentralTenants(base.central))
