"""What the tenants service needs from the outside."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from freehold.migrate.copying import Copied
from freehold.migrate.target import Target
from freehold.profiles import Profile
from freehold.tenants.listing import ListedTenants
from freehold.tenants.types import Claim, Database, DatabaseToken, Marked, Tenant, TenantState

Open = Callable[[str], Awaitable[Target]]  # opens a database by name, as a target for migrations


class DatabaseProvider(Protocol):
    """Where tenant databases live. `tests/contract` checks every adapter against these docstrings."""

    @property
    def name(self) -> str:
        """`local`, `sqld` or `turso`."""

    async def create(self, database_name: str) -> Database:
        """Create the database, or return it if it exists. Safe to repeat after a crash at any point.

        Raises:
            InvalidInput: the name does not match `[a-z0-9-]{1,63}`.
            ProviderUnavailable: no answer, or it cannot write; call again later.
        """

    async def find(self, database_name: str) -> Database | None:
        """Return the database, or None if it does not exist. Raises `ProviderUnavailable`."""

    async def locate(self, database_name: str) -> Database | None:
        """As `find`, but may be cached for some minutes: a database's location never changes."""

    async def delete(self, database_name: str) -> None:
        """Delete the database with its data, or do nothing without one. After `ProviderUnavailable` it may be gone."""

    def names(self) -> AsyncIterator[Sequence[str]] | None:
        """Yield the names of all databases, page by page, in no particular order.

        May include names that are not ours, because others may share the provider. None if the provider has no list;
        the central database is the only catalogue then. Reading raises `ProviderUnavailable`.
        """

    async def create_empty(self, database_name: str) -> None:
        """Create the database without any table. No database of that name may exist. Raises as `create` does."""

    async def suspend(self, database_name: str, reason: str = "") -> None:
        """Refuse every read and write until `resume`, including those of open streams and of replicas. Idempotent.

        Every client's statements fail with the code `BLOCKED`, and with the reason if the provider stores one. The data
        is kept.

        Raises:
            NotFound: no such database.
            ProviderUnavailable: no answer; whether it is suspended is unknown.
        """

    async def resume(self, database_name: str) -> None:
        """End `suspend`; does nothing if it is not suspended. Raises as `suspend` does."""

    async def fork(self, source_name: str, target_name: str) -> Database:
        """Copy the database, as of one point in time, to a new one that is not suspended. Works while suspended.

        Raises:
            NotFound: no such source.
            Conflict: the target already exists.
            ProviderUnavailable: no answer; the target may exist.
        """

    async def fork_at(self, source_name: str, target_name: str, at: datetime) -> Database:
        """As `fork`, but as the database was at `at`, an aware timestamp, or up to some seconds earlier.

        Raises:
            NotFound: no such source.
            Conflict: the target already exists.
            NoPointInTime: the provider has no history, or none of that time; there is no target.
            ProviderUnavailable: no answer; the target may exist.
        """

    async def export(self, database_name: str, path: Path, scratch_name: str) -> Copied:
        """Write the database at one point in time to a SQLite file, replacing an existing one. Works while suspended.

        The provider may create a database `scratch_name` for this; in any case, the caller has to delete it.

        Raises:
            NotFound: no such database.
            CannotBeCopied, ProviderUnavailable: the file is incomplete.
        """

    async def open(self, database_name: str) -> Target:
        """Return the database as a target with full rights. Raises `NotFound`, here or when it is first used."""

    async def mint_token(self, database_name: str, asked: Profile, subject: str, generation: int = 0) -> DatabaseToken:
        """Issue a token that opens this database only; `subject` says for whom, e.g. a session's id.

        Its profile is the narrower of the one asked for and the most that the service issues, as closely as the
        provider can enforce it; the token has the result. `generation` counts how often the database's tokens were
        revoked; the token is never of an earlier generation.

        Raises:
            NotFound: no such database, if the provider has to be asked.
            ProviderUnavailable: no answer, or a token with other rights.
        """

    async def invalidate_tokens(self, database_name: str) -> None:
        """Revoke every token that the provider has issued for the database so far. Idempotent.

        Does nothing for providers that we serve ourselves: there the gateway checks the generation.

        Raises:
            NotFound: no such database.
            ProviderUnavailable: no answer; whether they are revoked is unknown.
        """

    async def check(self) -> None:
        """Check that databases can be reached and created. Raises `ProviderUnavailable` with the reason."""


class TenantStore(ListedTenants, Protocol):
    """Read and write access to the tenants' rows in the central database. Sign-up writes new rows itself, in `auth`.

    Each method is one short transaction. All raise `CentralUnavailable` when the database does not answer.
    """

    async def of_user(self, user_id: str) -> Tenant:
        """Return the user's tenant. Raises `NotFound`."""

    async def claim_due(self, provider: str, *, due_by_ms: int, lease_until_ms: int, limit: int) -> Sequence[Claim]:
        """Claim tenants of this provider that need provisioning and are due at `due_by_ms`, the longest due first.

        A tenant has one claimer at a time, until `lease_until_ms`; then it is due again.
        """

    async def renew(self, claims: Sequence[Claim], lease_until_ms: int) -> Sequence[Claim]:
        """Extend the leases and return the claims that still hold, without those taken by others or already done."""

    async def release(self, claim: Claim, due_at_ms: int) -> None:
        """Return a claim unfinished; does nothing if it was lost."""

    async def mark_ready(self, tenant_id: str, schema_version: int, database_name: str | None = None) -> Marked:
        """Record that the database exists at this version, if that is the newest published one.

        Needs no lease, because the fact is true whoever records it. Changes only a tenant that waits for its database,
        and for the one of this name if given: it may wait for another one by now.
        """

    async def mark_failed(self, claim: Claim, error: str, retry_at_ms: int) -> bool:
        """Record why this attempt failed and when to retry; counts the attempt. False if the claim was lost."""

    async def next_due_ms(self, provider: str) -> int | None:
        """Return when the next tenant of this provider is due for provisioning, or None."""

    async def count_due(self, provider: str, due_by_ms: int) -> int:
        """Return how many tenants `claim_due` could claim."""

    async def count_missing(self) -> int:
        """Return how many users have no tenant, e.g. because another tool imported them."""

    async def add_missing(self, provider: str, limit: int) -> int:
        """Add tenants, due at once, for up to `limit` such users; return how many."""


# Migrates one database to the newest published version and returns that version. Idempotent, and safe concurrently.
BringUpToDate = Callable[[Target], Awaitable[int]]


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970, comparable between processes."""

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""


# What the operator's work on single tenants needs from the central database.


class LifecycleStore(Protocol):
    """Each method is one short transaction, including its audit event if it changes a tenant.

    All raise `CentralUnavailable` when the database does not answer.
    """

    async def find(self, reference: str) -> Tenant:
        """Return the tenant with this id, user id, user's e-mail address or database name. Raises `NotFound`."""

    async def find_copy(self, database_name: str) -> Tenant | None:
        """Return the tenant whose database this is a kept copy of, as if it had this one; None if there is none."""

    async def is_held(self, tenant: Tenant) -> bool:
        """Return whether it was taken back from a rollout to a version that it is still below."""

    async def create(self, reference: str, provider: str) -> Tenant:
        """Return the tenant of the user with this id or address, with a new database name if it has no database.

        Its new database is due at once. Changes nothing if a database exists, is due, or is still being deleted. Raises
        `NotFound` if there is no such user.
        """

    async def suspend(self, tenant: Tenant, reason: str, due_at_ms: int) -> bool:
        """Change `ready` or `suspended` to `suspended`; the provider must still be told. False in any other state."""

    async def suspended(self, tenant: Tenant) -> None:
        """Record that the provider has been told."""

    async def resume(self, tenant: Tenant) -> bool:
        """Change `suspended` to `ready`. False in any other state."""

    async def delete(self, tenant: Tenant, now_ms: int) -> bool:
        """Change any state to `deleting`, due once nobody can be working on it. False if deleting or deleted."""

    async def reserve(self, database_name: str, provider: str, tenant_id: str | None, until_ms: int) -> None:
        """Record a name before its database is created. It is discarded unless adopted or kept by then."""

    async def keep(self, database_name: str, until_ms: int) -> bool:
        """Postpone that time. False if it has passed."""

    async def discard(self, database_name: str, now_ms: int) -> None:
        """Record that the database is not needed, or no longer."""

    async def replace(
        self, tenant: Tenant, states: Collection[TenantState], database_name: str, schema_version: int
    ) -> bool:
        """Give the tenant this reserved database and discard the old one.

        A tenant that failed or whose database was deleted becomes `ready`. False if the tenant is in none of these
        states, has another database by now, or the name was discarded. Raises `NotFound` if its user no longer exists.
        """

    async def adopt(self, source: Tenant, database_name: str, schema_version: int) -> Tenant | None:
        """Create a tenant without user for this reserved database, a fork of the source's. None if it was discarded."""

    async def note_version(self, tenant: Tenant, schema_version: int) -> None:
        """Record the version in a ready tenant's ledger."""

    async def exported(self, tenant: Tenant) -> None:
        """Record that the content was exported to a file."""
