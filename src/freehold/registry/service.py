"""Publishing migrations, and telling who needs which."""

import asyncio
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from freehold.errors import FreeholdError, Unavailable
from freehold.migrate.apply import apply
from freehold.migrate.check import check_migration, check_order
from freehold.migrate.signature import signed_text
from freehold.migrate.snapshot import Scratch, sqlite_scratch
from freehold.migrate.types import Migration, chain, normalise
from freehold.registry.cache import SnapshotCache
from freehold.registry.ports import RegistryStore, Signer
from freehold.registry.snapshot import Snapshot
from freehold.registry.types import (
    AlreadyPublished,
    BadRegistry,
    ClientAhead,
    PublishedMigration,
    PublishedMigrationChanged,
    PublishReport,
    RegistryKey,
    RegistryMoved,
    Verdict,
)

log = structlog.get_logger()

_PUBLISH_TRIES = 5
_NAME_CHARS = 60


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Registry:
    """The schema registry: only published migrations are served, and a published one never changes."""

    store: RegistryStore
    cache: SnapshotCache
    signer: Signer
    now: Callable[[], datetime] = _now
    # Gives a new empty database, of the tenants' engine if possible: what cannot be applied is never published.
    scratch: Scratch = sqlite_scratch

    async def snapshot(self) -> Snapshot:
        """All that is published now, in one consistent and checked piece.

        Raises:
            RegistryTampered: the central rows do not fit their signatures; nothing is served then.
            CentralUnavailable: the central database does not answer.
        """
        return await self.cache.get()

    async def head(self) -> PublishedMigration | None:
        """The newest published migration, or None."""
        return (await self.snapshot()).head

    async def full(self) -> tuple[PublishedMigration, ...]:
        """Every published migration, oldest first."""
        return (await self.snapshot()).rows

    async def after(self, version: int) -> tuple[PublishedMigration, ...]:
        """What a database at this version still has to apply, oldest first."""
        return (await self.snapshot()).after(version)

    async def migrations(self) -> tuple[Migration, ...]:
        """The same as `full` in the migration core's words, to be applied."""
        return (await self.snapshot()).migrations

    async def keys(self) -> tuple[RegistryKey, ...]:
        """The public keys that published migrations are signed with."""
        return (await self.snapshot()).keys

    async def verify(self, client_version: int) -> Verdict:
        """How a client at this version stands.

        Raises:
            ClientAhead: its version was never published here. That is not "up to date": the registry was rolled
                back or is another one, and the client must not go on migrating.
        """
        snapshot = await self.snapshot()
        if client_version > snapshot.version:
            raise ClientAhead(
                f"the database is at version {client_version}, but the newest published is {snapshot.version}; "
                "update the service or connect to the right one, and migrate nothing until then"
            )
        return Verdict(
            current_version=snapshot.version,
            client_version=client_version,
            required=snapshot.after(client_version),
        )

    async def plan(self, migrations: Sequence[Migration]) -> PublishReport:
        """What `publish` would do now, without doing it.

        Raises:
            BadRegistry: they cannot be published as they are.
            PublishedMigrationChanged: one is published already with other SQL.
        """
        return await asyncio.to_thread(_compare, await self.snapshot(), migrations)

    async def publish(self, migrations: Sequence[Migration]) -> PublishReport:
        """Append those that are not published yet, all or none. `migrations` starts at version 1.

        Safe to repeat, and for several publishers at once: one wins, the others find its rows already there.

        Raises:
            BadRegistry: they cannot be published as they are.
            PublishedMigrationChanged: one is published already with other SQL.
            RegistryMoved: others kept publishing in between; try again.
        """
        for _ in range(_PUBLISH_TRIES):
            snapshot = await self.snapshot()
            report = await asyncio.to_thread(_compare, snapshot, migrations)
            if not report.published:
                return report
            try:
                await self._append(
                    snapshot, [(each, each.description) for each in migrations[snapshot.version :]]
                )
            except RegistryMoved:
                continue
            return report
        raise RegistryMoved("others are publishing at the same time; try again in a moment")

    async def register(self, sql_script: str, description: str) -> PublishedMigration:
        """Publish one migration as the next version; its name is made from the description.

        A repeated request is told apart by its SQL: the newest migration's SQL again is `AlreadyPublished`, so
        that a retry after a lost answer never publishes twice.

        Raises:
            BadRegistry: the SQL or the description cannot be published.
            AlreadyPublished: the newest migration has this SQL.
            RegistryMoved: another one was published at the same moment; look at it before trying again.
        """
        snapshot = await self.snapshot()
        version = snapshot.version + 1
        description = " ".join(description.split())
        if not description:
            raise BadRegistry(["description: say in a few words what the migration does"])
        migration = Migration(version=version, name=_name_of(description, version), sql=normalise(sql_script))
        checksum = await asyncio.to_thread(_checksum, migration)
        _refuse_repeat(snapshot.head, checksum)
        await asyncio.to_thread(_require_sound, [migration])
        try:
            rows = await self._append(snapshot, [(migration, description)])
        except RegistryMoved:
            _refuse_repeat(await self.head(), checksum)  # perhaps by the same request, sent twice
            raise
        return rows[0]

    async def _append(
        self, snapshot: Snapshot, new: Sequence[tuple[Migration, str]]
    ) -> Sequence[PublishedMigration]:
        await asyncio.to_thread(
            _rehearse, [*snapshot.migrations, *(migration for migration, _ in new)], self.scratch
        )
        created_at = self.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        rows = await asyncio.to_thread(_signed, snapshot.chain, new, self.signer, created_at)
        key = RegistryKey(key_id=self.signer.key_id, public_key=self.signer.public_key, created_at=created_at)
        await self.store.append(rows, key, after=snapshot.chain)
        for row in rows:
            log.info("registry.migration_published", version=row.version, name=row.name, key_id=row.key_id)
        return rows


def _rehearse(migrations: Sequence[Migration], scratch: Scratch) -> None:
    """Apply all to a new database. A published migration that fails would fail for every new tenant, for ever."""

    async def replay() -> None:
        async with scratch() as target:
            await apply(target, migrations)

    try:
        asyncio.run(replay())
    except Unavailable:
        raise
    except FreeholdError as error:
        raise BadRegistry([f"tried out on a new database: {error}"]) from error


def _require_sound(migrations: Sequence[Migration]) -> None:
    if faults := [str(fault) for migration in migrations for fault in check_migration(migration)]:
        raise BadRegistry(faults)


def _refuse_repeat(head: PublishedMigration | None, checksum: str) -> None:
    if head and head.checksum == checksum:
        raise AlreadyPublished(f"already published as version {head.version}; there is nothing left to do")


def _checksum(migration: Migration) -> str:
    try:
        return migration.checksum
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can carry
        raise BadRegistry(["the SQL is not valid Unicode text"]) from error


def _compare(snapshot: Snapshot, migrations: Sequence[Migration]) -> PublishReport:
    if misplaced := check_order(migrations):
        raise BadRegistry([str(fault) for fault in misplaced])
    pairs = list(zip(snapshot.rows, migrations, strict=False))
    changed = [row.version for row, migration in pairs if row.checksum != migration.checksum]
    if changed:
        raise PublishedMigrationChanged(
            "\n".join(
                f"migration {version} was already published with other SQL; restore the file or publish a new one"
                for version in changed
            )
        )
    new = migrations[snapshot.version :]
    _require_sound(new)  # what is published already was sound by the rules of its day
    published = tuple(migration.version for migration in new)
    return PublishReport(
        published=published,
        already=len(pairs),
        version=snapshot.version + len(published),
        without_file=tuple(row.version for row in snapshot.rows[len(migrations) :]),
    )


def _signed(
    previous: str, new: Sequence[tuple[Migration, str]], signer: Signer, created_at: str
) -> list[PublishedMigration]:
    rows = []
    for migration, description in new:
        previous = chain(previous, migration.checksum)
        rows.append(
            PublishedMigration(
                version=migration.version,
                name=migration.name,
                description=description,
                sql=migration.sql,
                checksum=migration.checksum,
                chain=previous,
                key_id=signer.key_id,
                signature=signer.sign(signed_text(migration.version, previous)),
                created_at=created_at,
            )
        )
    return rows


def _name_of(description: str, version: int) -> str:
    """`Add word roots (v2)` is `add_word_roots_v2`; a description without Latin letters is named by its number."""
    plain = unicodedata.normalize("NFKD", description).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:_NAME_CHARS].rstrip("_")
    if not name or not name[0].isalpha():
        name = f"migration_{version}" + (f"_{name}" if name else "")
    return name
