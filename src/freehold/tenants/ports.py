"""What the tenants service needs of the outside, in its own words."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from freehold.migrate.copying import Copied
from freehold.migrate.target import Target
from freehold.profiles import Profile
from freehold.tenants.listing import ListedTenants
from freehold.tenants.types import Claim, Database, DatabaseToken, Marked, Tenant, TenantState

Open = Callable[[str], Awaitable[Target]]  # a database by its name, as a target for migrations


class DatabaseProvider(Protocol):
    """Where tenant databases live. `tests/contract` holds every adapter to these words."""

    @property
    def name(self) -> str:
        """`local`, `sqld` or `turso`."""
        ...

    async def create(self, database_name: str) -> Database:
        """Create the database, or return it if it exists. Safe to repeat after a crash at any point.

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

    async def locate(self, database_name: str) -> Database | None:
        """As `find`, but perhaps from memory, some minutes old: where it is does not change while it is there."""
        ...

    async def delete(self, database_name: str) -> None:
        """Delete the database with all its data; no error if it is already gone.

        Raises:
            ProviderUnavailable: no answer; whether it is gone is unknown.
        """
        ...

    def names(self) -> AsyncIterator[Sequence[str]] | None:
        """The names of all databases that there are, a page at a time, in no particular order.

        Others may share the place, so names that are not ours may be among them. None where the provider keeps no
        list: then the central database is the only catalogue. Reading raises `ProviderUnavailable`.
        """
        ...

    async def create_empty(self, database_name: str) -> None:
        """Create the database without a single table in it. None of that name may exist.

        Raises:
            InvalidInput, ProviderUnavailable: as `create`.
        """
        ...

    async def suspend(self, database_name: str, reason: str = "") -> None:
        """Refuse every read and write, of streams that are open and of replicas too, until `resume`. Idempotent.

        Statements fail with the code `BLOCKED`, whoever sends them, and the reason where the provider keeps one; the
        data stay.

        Raises:
            NotFound: no such database.
            ProviderUnavailable: no answer; whether it is suspended is unknown.
        """
        ...

    async def resume(self, database_name: str) -> None:
        """End `suspend`; nothing happens if it is not suspended. Raises as `suspend` does."""
        ...

    async def fork(self, source_name: str, target_name: str) -> Database:
        """Copy the database, as of one point in time, to a new one that is not suspended. Works while suspended.

        Raises:
            NotFound: no such source.
            Conflict: the target exists already.
            ProviderUnavailable: no answer; the target may be there.
        """
        ...

    async def fork_at(self, source_name: str, target_name: str, at: datetime) -> Database:
        """As `fork`, but as the database was at `at`, an aware timestamp, or up to some seconds before it.

        Raises:
            NotFound: no such source.
            Conflict: the target exists already.
            NoPointInTime: the provider keeps no past, or none of that time; there is no target.
            ProviderUnavailable: no answer; the target may be there.
        """
        ...

    async def export(self, database_name: str, path: Path, scratch_name: str) -> Copied:
        """Write the database as it is at one point in time into a SQLite file. Works while suspended.

        A file that is there is replaced. The provider may make a database `scratch_name` meanwhile; whatever
        happens, it is the caller's to delete.

        Raises:
            NotFound: no such database.
            CannotBeCopied, ProviderUnavailable: the file is not whole.
        """
        ...

    async def open(self, database_name: str) -> Target:
        """The database as a target for migrations, with full rights.

        Raises:
            NotFound: no such database; told here, or only when the target is used.
        """
        ...

    async def mint_token(self, database_name: str, asked: Profile, subject: str, generation: int = 0) -> DatabaseToken:
        """A token that opens this database only; `subject` says for whom, e.g. a session's id.

        Its profile is the one asked for or the most that the service hands out, whichever is narrower, as closely as
        the provider can enforce it; the token tells which it became.
        `generation` counts how often the database's tokens were revoked: never one of an earlier generation.

        Raises:
            NotFound: no such database, where the provider has to be asked.
            ProviderUnavailable: no answer, or a token that allows something else.
        """
        ...

    async def invalidate_tokens(self, database_name: str) -> None:
        """Revoke every token that the provider has minted for the database so far. Safe to repeat.

        Providers that we serve ourselves leave that to the generation, which the gateway looks at.

        Raises:
            NotFound: no such database.
            ProviderUnavailable: no answer; whether they are revoked is unknown.
        """
        ...

    async def check(self) -> None:
        """Return when databases can be reached and created.

        Raises:
            ProviderUnavailable: with the reason.
        """
        ...


class TenantStore(ListedTenants, Protocol):
    """The tenants' rows in the central database, to be read and changed. Sign-up writes the row itself, in `auth`.

    Each method is one short transaction. All raise `CentralUnavailable` when the database does not answer.
    """

    async def of_user(self, user_id: str) -> Tenant:
        """The user's tenant. Raises `NotFound`."""
        ...

    async def claim_due(self, provider: str, *, due_by_ms: int, lease_until_ms: int, limit: int) -> Sequence[Claim]:
        """Take tenants of this provider that are to be provisioned and due at `due_by_ms`, the longest due first.

        Of two callers only one gets a tenant, until `lease_until_ms`; then it is due again.
        """
        ...

    async def renew(self, claims: Sequence[Claim], lease_until_ms: int) -> Sequence[Claim]:
        """The claims with a longer lease, without those that were lost: someone else took it, or it is done."""
        ...

    async def release(self, claim: Claim, due_at_ms: int) -> None:
        """Give a claim back unfinished; nothing happens if it was lost."""
        ...

    async def mark_ready(self, tenant_id: str, schema_version: int, database_name: str | None = None) -> Marked:
        """Record that the database is there and at this version, if that is the newest published one.

        Needs no lease: what it records is true whoever says it. Only a tenant that waits for its database changes,
        for that of this name if one is given: it may wait for another one by now.
        """
        ...

    async def mark_failed(self, claim: Claim, error: str, retry_at_ms: int) -> bool:
        """Record why this try failed and when to try again; counts the attempt. False if the claim was lost."""
        ...

    async def next_due_ms(self, provider: str) -> int | None:
        """When the next tenant of this provider is to be provisioned, or None if none is."""
        ...

    async def count_due(self, provider: str, due_by_ms: int) -> int:
        """How many `claim_due` could take."""
        ...

    async def count_missing(self) -> int:
        """How many users have no tenant, e.g. because they were brought in by another tool."""
        ...

    async def add_missing(self, provider: str, limit: int) -> int:
        """Write tenants, due at once, for up to `limit` such users; returns how many there were."""
        ...


# Brings one database to the newest published version and gives that version. Safe to repeat and to race.
BringUpToDate = Callable[[Target], Awaitable[int]]


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, comparable between processes."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        ...


# What the operator's work on single tenants needs of the central database.


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
