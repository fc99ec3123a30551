"""Giving one tenant its database: three steps, each of which may be repeated."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from freehold.backoff import SLOWLY, SOON
from freehold.errors import FreeholdError, Unavailable
from freehold.tenants.ports import BringUpToDate, DatabaseProvider, TenantStore
from freehold.tenants.types import Tenant, TenantState

# Migrations published while we work are rare; that many in a row mean that we do not see the registry's end.
_ROUNDS = 5
_ERROR_CHARS = 500


@dataclass(frozen=True, slots=True)
class Provision:
    """Makes the database, brings it to the newest version and records that it is ready."""

    store: TenantStore
    provider: DatabaseProvider
    bring_up_to_date: BringUpToDate
    take_waiting: Callable[[Tenant], Awaitable[str | None]] | None = None

    async def run(self, tenant: Tenant) -> int:
        """The version that the database is at. Safe to call again after any failure, and twice at once.

        Raises:
            CentralUnavailable: nothing is recorded; the lease runs out and somebody calls again.
            ProviderUnavailable: nothing is recorded either.
            FreeholdError: a migration that fails on this database, and says why.
        """
        # No transaction is open here: a slow provider must not hold the central write lock.
        tenant = await self._with_database(tenant)
        target = await self.provider.open(tenant.database_name)
        for _ in range(_ROUNDS):
            version = await self.bring_up_to_date(target)
            marked = await self.store.mark_ready(tenant.tenant_id, version, tenant.database_name)
            if marked == "not_pending":
                await self._take_back(tenant)
            if marked != "behind":
                return version
        raise Unavailable(f"newer migrations than {version} are published, but the database stays there")

    async def _with_database(self, tenant: Tenant) -> Tenant:
        """The tenant, once there is its database: one that was waiting, if it is new and there is one, or its own."""
        if self.take_waiting is not None and not tenant.attempts:
            name = await self.take_waiting(tenant)
            if name is not None:
                return msgspec.structs.replace(tenant, database_name=name)
        await self.provider.create(tenant.database_name)
        return tenant

    async def _take_back(self, tenant: Tenant) -> None:
        """Its user was deleted, or it got another database, while we worked: whoever did that may have looked for
        ours before it was there.
        """
        found = await self.store.of_user(tenant.user_id)
        is_going = found.state in (TenantState.DELETING, TenantState.DELETED)
        if is_going or found.database_name != tenant.database_name:
            await self.provider.delete(tenant.database_name)


def describe(error: Exception) -> str:
    """The error for operators to read in the tenant's row. Only our own errors speak: they hold no secret."""
    if isinstance(error, TimeoutError):
        text = "it took too long"
    elif isinstance(error, FreeholdError):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}; the log has it whole"
    return text if len(text) <= _ERROR_CHARS else text[: _ERROR_CHARS - 1] + "…"


def retry_delay_s(error: Exception, failures: int, random: Callable[[], float]) -> float:
    """Seconds until the next try: soon when it may be over in a moment, slowly when somebody must repair it."""
    backoff = SOON if isinstance(error, Unavailable | TimeoutError) else SLOWLY
    return backoff.delay_s(failures, random)
