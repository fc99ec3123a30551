"""What the operator's work on single tenants needs of the central database."""

from collections.abc import Collection
from typing import Protocol

from freehold.tenants.types import Tenant, TenantState


class LifecycleStore(Protocol):
    """Each method is one short transaction, with its entry in the audit trail where something happens to a tenant.

    All raise `CentralUnavailable` when the database does not answer.
    """

    async def find(self, reference: str) -> Tenant:
        """The tenant of this id, user id, user's e-mail address or database name. Raises `NotFound`."""
        ...

    async def find_copy(self, database_name: str) -> Tenant | None:
        """The tenant whose database this is a copy of, kept for a while, as if it had that one; None without any."""
        ...

    async def is_held(self, tenant: Tenant) -> bool:
        """Whether it was taken back from a rollout to a version that it is still below."""
        ...

    async def create(self, reference: str, provider: str) -> Tenant:
        """The tenant of the user of this id or address, with a new name for a database if it has none (any more).

        It waits for it, due at once. Nothing changes if there is one, or will be, or if it is still being deleted.
        Raises `NotFound` if there is no such user.
        """
        ...

    async def suspend(self, tenant: Tenant, reason: str, due_at_ms: int) -> bool:
        """`ready` or `suspended` becomes `suspended`, with the provider still to be told. False if it is neither."""
        ...

    async def suspended(self, tenant: Tenant) -> None:
        """The provider has been told."""
        ...

    async def resume(self, tenant: Tenant) -> bool:
        """`suspended` becomes `ready`. False if it is not."""
        ...

    async def delete(self, tenant: Tenant, now_ms: int) -> bool:
        """Any state becomes `deleting`, due when nobody can be at work on it. False if it is being or was deleted."""
        ...

    async def reserve(self, database_name: str, provider: str, tenant_id: str | None, until_ms: int) -> None:
        """Note a name before its database is made. Unless it is adopted or kept by then, it is discarded."""
        ...

    async def keep(self, database_name: str, until_ms: int) -> bool:
        """Put that moment off. False if it came."""
        ...

    async def discard(self, database_name: str, now_ms: int) -> None:
        """The database is not needed (any more)."""
        ...

    async def replace(
        self, tenant: Tenant, states: Collection[TenantState], database_name: str, schema_version: int
    ) -> bool:
        """Give the tenant this reserved database; the old one is discarded.

        One that failed, or whose database was deleted, is `ready` then. False if the tenant is in none of these
        states, has another database by now, or the name was given up. Raises `NotFound` if its user is gone.
        """
        ...

    async def adopt(self, source: Tenant, database_name: str, schema_version: int) -> Tenant | None:
        """A new tenant, of no user, with this reserved database, a fork of the source's. None if it was given up."""
        ...

    async def note_version(self, tenant: Tenant, schema_version: int) -> None:
        """What the ledger of a ready tenant says."""
        ...

    async def exported(self, tenant: Tenant) -> None:
        """The content went into a file."""
        ...
