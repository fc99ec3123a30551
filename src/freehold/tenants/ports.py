"""What the tenants service needs of the outside, in its own words."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from freehold.migrate.target import Target
from freehold.tenants.types import AccessLevel, Database, DatabaseToken, Tenant


class DatabaseProvider(Protocol):
    """Where tenant databases live. `tests/contract` holds every adapter to these words."""

    @property
    def name(self) -> str:
        """`local`, `sqld` or `turso`."""
        ...

    async def create(self, database_name: str) -> Database:
        """Create the database, or give it back if it exists. Safe to repeat after a crash at any point.

        Raises:
            InvalidInput: the name is not of `[a-z0-9-]{1,63}`.
            ProviderUnavailable: no answer, or it cannot write; call again later.
        """
        ...

    async def find(self, database_name: str) -> Database | None:
        """The database, or None if there is no such one.

        Raises:
            ProviderUnavailable: no answer.
        """
        ...

    async def delete(self, database_name: str) -> None:
        """Delete the database with all its data; no error if it is already gone.

        Raises:
            ProviderUnavailable: no answer; whether it is gone is unknown.
        """
        ...

    async def open(self, database_name: str) -> Target:
        """The database as a target for migrations, with full rights.

        Raises:
            NotFound: no such database.
        """
        ...

    async def mint_token(self, database_name: str, access_level: AccessLevel, subject: str) -> DatabaseToken:
        """A new token that opens this database only; `subject` says for whom, e.g. a session's id."""
        ...

    async def check(self) -> None:
        """Return when databases can be reached and created.

        Raises:
            ProviderUnavailable: with the reason.
        """
        ...


class TenantStore(Protocol):
    """The tenants' rows in the central database. The row itself is written with the user, by `auth`."""

    async def of_user(self, user_id: str) -> Tenant:
        """The user's tenant. Raises `NotFound`."""
        ...

    async def claim_due(self, now_ms: int, lease_ms: int, limit: int) -> Sequence[Tenant]:
        """Take tenants that are due for provisioning: their next due time moves to `now_ms + lease_ms`.

        Of two callers only one gets a tenant, until the lease is over.
        """
        ...

    async def mark_ready(self, tenant_id: str, schema_version: int) -> None:
        """Record that the database is there and at this version."""
        ...

    async def mark_failed(self, tenant_id: str, error: str, retry_at_ms: int) -> None:
        """Record why the last try failed and when to try again; counts the attempt."""
        ...

    async def next_due_ms(self) -> int | None:
        """When the next tenant is due, or None if none is."""
        ...

    async def page(self, after: str, limit: int) -> Sequence[Tenant]:
        """Tenants in order of `tenant_id`, those after the given one."""
        ...


BringUpToDate = Callable[[Target], Awaitable[int]]
