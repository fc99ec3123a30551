"""The central database as the catalogue of all databases: what `reconcile` asks of it and corrects in it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from freehold.tenants.types import Tenant, TenantState


class Catalogue(Protocol):
    """Each method is one short transaction. All raise `CentralUnavailable` when the database does not answer."""

    async def known(self, database_names: Sequence[str]) -> Mapping[str, TenantState | None]:
        """Those of the names that are in use, deleted tenants' too, and the state of the tenant if there is one."""
        ...

    async def page(
        self, *, after: str = "", limit: int = 500, state: TenantState | None = None
    ) -> Sequence[Tenant]:
        """Tenants in order of `tenant_id`, those after the given one."""
        ...

    async def counts(self) -> Mapping[TenantState, int]:
        """How many tenants are in each state; states without any are left out."""
        ...

    async def record_version(self, tenant: Tenant, schema_version: int) -> bool:
        """Record what a ready tenant's ledger says. False if it has another database or state by now."""
        ...

    async def is_held(self, tenant: Tenant) -> bool:
        """Whether it was taken back from a rollout to a version that it is still below."""
        ...

    async def provision_again(self, tenant: Tenant, reason: str) -> bool:
        """A ready tenant has no database: it waits for one again, due at once. False as above."""
        ...

    async def hurry(self, provider: str, now_ms: int) -> int:
        """Make the tenants that failed due at once; gives how many that were."""
        ...

    async def in_work_until_ms(self, provider: str) -> int:
        """When the last lease on a tenant that waits for its database ends; 0 when there is none."""
        ...
