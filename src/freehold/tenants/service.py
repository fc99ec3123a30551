"""A tenant's database as its user and the operator see it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from freehold.dates import to_iso
from freehold.errors import NotFound, ProviderUnavailable
from freehold.log import get_logger
from freehold.profiles import Profile
from freehold.tenants.errors import DatabaseDeleted, DatabaseDeleting, DatabaseSuspended
from freehold.tenants.ports import DatabaseProvider, TenantStore
from freehold.tenants.types import PendingDatabase, ReadyDatabase, Tenant, TenantState, UserDatabase

_PAGE = 500
# Creating a database takes milliseconds; after a failure, the next attempt may be later than this.
_PAUSES_S = (0.03, 0.06, 0.12, 0.24)
_RETRY_AFTER_S = {TenantState.PROVISIONING: 1, TenantState.FAILED: 5}

log = get_logger()


async def never_rotated(_database_name: str) -> int:
    """Return the generation of a database whose tokens were never revoked."""
    return 0


@dataclass(frozen=True, slots=True)
class Tenants:
    """Issues tokens for databases. `generation` returns how often a database's tokens were revoked."""

    store: TenantStore
    provider: DatabaseProvider
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    generation: Callable[[str], Awaitable[int]] = never_rotated

    async def database_of(self, user_id: str, subject: str, asked: Profile = "full") -> UserDatabase:
        """Return the user's database with a new token for this subject, e.g. a session, or that it is pending.

        The token has the requested profile, or the most that the service issues.

        Raises:
            NotFound: the user has no tenant.
            DatabaseSuspended, DatabaseDeleting, DatabaseDeleted: it cannot be used, or no longer.
            ProviderUnavailable: it cannot be reached at the moment.
        """
        tenant = await self._soon_made(user_id)
        match tenant.state:
            case TenantState.PROVISIONING | TenantState.FAILED:
                return PendingDatabase(tenant=tenant, retry_after_s=_RETRY_AFTER_S[tenant.state])
            case TenantState.READY:
                return await self._ready(tenant, subject, asked)
            case TenantState.SUSPENDED:
                raise DatabaseSuspended(tenant.error or "")
            case TenantState.DELETING:
                raise DatabaseDeleting("your database is being deleted")
            case TenantState.DELETED:
                raise DatabaseDeleted("your database was deleted")

    async def _soon_made(self, user_id: str) -> Tenant:
        """Return the tenant, waiting briefly while its database is being created: quicker than a second request."""
        tenant = await self.store.of_user(user_id)
        for pause_s in _PAUSES_S:
            if tenant.state is not TenantState.PROVISIONING:
                break
            await self.sleep(pause_s)
            tenant = await self.store.of_user(user_id)
        return tenant

    async def count_missing(self) -> int:
        """Return how many users have no tenant yet, e.g. because another tool imported them."""
        return await self.store.count_missing()

    async def add_missing(self) -> int:
        """Add a tenant, due for provisioning, for every user who has none; return how many."""
        added = 0
        while page := await self.store.add_missing(self.provider.name, _PAGE):
            added += page
        return added

    async def _ready(self, tenant: Tenant, subject: str, asked: Profile) -> ReadyDatabase:
        if tenant.provider != self.provider.name:
            # The same name at another provider would be a different database.
            log.error("tenant.provider_not_served", tenant_id=tenant.tenant_id, provider=tenant.provider)
            raise ProviderUnavailable("your database lives where this service does not reach at the moment")
        try:
            database = await self.provider.locate(tenant.database_name)
            generation = await self.generation(tenant.database_name)
            token = await self.provider.mint_token(tenant.database_name, asked, subject, generation)
        except ProviderUnavailable as error:
            # The provider's message is for operators: it may contain paths and hosts.
            raise ProviderUnavailable("your database cannot be reached at the moment; try again later") from error
        except NotFound:
            database = None
        if database is None:
            log.error("tenant.database_missing", tenant_id=tenant.tenant_id, database=tenant.database_name)
            raise ProviderUnavailable("your database cannot be found at the moment; try again later")
        if database.is_suspended:  # being resumed or suspended right now, or by someone at the provider
            raise DatabaseSuspended
        log.info(  # who may hold a token until when; the token itself is stored nowhere
            "database_token.issued",
            tenant_id=tenant.tenant_id,
            subject=subject,
            profile=token.profile,
            expires_at=to_iso(token.expires_at),
        )
        return ReadyDatabase(tenant=tenant, database=database, token=token)
