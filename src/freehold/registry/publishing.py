"""The steps of publishing: compare with the published registry, rehearse, sign the rows."""

import asyncio
import re
import unicodedata
from collections.abc import Callable, Sequence

from freehold.audit.types import Event
from freehold.errors import FreeholdError, Unavailable
from freehold.migrate.apply import apply
from freehold.migrate.check import check_migration, check_order
from freehold.migrate.release_text import MAX_PARTS, is_part_name
from freehold.migrate.signature import signed_text
from freehold.migrate.snapshot import Scratch
from freehold.migrate.types import Migration, chain
from freehold.registry.published import PublishedRegistry
from freehold.registry.types import (
    AlreadyPublished,
    BadRegistry,
    PartFile,
    PublishedMigration,
    PublishedMigrationChanged,
    PublishReport,
)

MAX_PART_BYTES = 1_048_576
_NAME_CHARS = 60
_PART_NAMES = "a part is named by lower-case letters, digits, `.`, `_` and `-`, 64 at most, as in app.toml"


def rehearse(migrations: Sequence[Migration], scratch: Scratch) -> None:
    """Apply all to a new database: a published migration that fails would fail for every new tenant, forever."""

    async def replay() -> None:
        async with scratch() as target:
            await apply(target, migrations)

    try:
        asyncio.run(replay())
    except Unavailable:
        raise
    except FreeholdError as error:
        raise BadRegistry([f"tried out on a new database: {error}"]) from error


def require_sound(migrations: Sequence[Migration]) -> None:
    """Check that every applier would accept them. Raises `BadRegistry`."""
    if faults := [str(fault) for migration in migrations for fault in check_migration(migration)]:
        raise BadRegistry(faults)


def refuse_repeat(head: PublishedMigration | None, checksum: str) -> None:
    """Raise `AlreadyPublished` if this is the newest published migration again."""
    if head and head.checksum == checksum:
        raise AlreadyPublished(f"already published as version {head.version}; there is nothing left to do")


def checksums(migrations: Sequence[Migration]) -> list[str]:
    """Return each checksum. Raises `BadRegistry` if the SQL is not Unicode text."""
    try:
        return [migration.checksum for migration in migrations]
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can carry
        raise BadRegistry(["the SQL is not valid Unicode text"]) from error


def require_parts(parts: Sequence[PartFile]) -> None:
    """Check that a release can have these further parts. Raises `BadRegistry`."""
    names = [part.name for part in parts]
    faults = [f"part {part.name[:80]!r}: {_PART_NAMES}" for part in parts if not is_part_name(part.name)]
    faults += [f"part {name}: it is there twice" for name in sorted(set(names)) if names.count(name) > 1]
    faults += [
        f"part {part.name[:80]}: over the limit of {MAX_PART_BYTES} bytes"
        for part in parts
        if len(part.content) > MAX_PART_BYTES
    ]
    faults += [f"there are {len(parts)} parts, and a release has {MAX_PARTS} at most"] if len(parts) > MAX_PARTS else []
    if faults:
        raise BadRegistry(faults)


def part_events(before: Sequence[PartFile], now: Sequence[PartFile], key_id: str) -> list[Event]:
    """Return the audit events for parts that are new, changed or removed."""
    had, has = ({part.name: part.listed for part in parts} for parts in (before, now))
    events = [
        Event("registry.part_published", f"part:{name}", {"sha256": part.sha256, "key_id": key_id})
        for name, part in has.items()
        if had.get(name) != part
    ]
    return events + [Event("registry.part_removed", f"part:{name}") for name in had if name not in has]


def compare(snapshot: PublishedRegistry, migrations: Sequence[Migration]) -> PublishReport:
    """Return what publishing these would do. Raises `BadRegistry`, `PublishedMigrationChanged`."""
    if misplaced := check_order(migrations):
        raise BadRegistry([str(fault) for fault in misplaced])
    pairs = list(zip(snapshot.rows, migrations, strict=False))
    changed = [
        f"migration {row.version} was already published with other SQL; restore the file or publish a new one"
        for row, migration in pairs
        if row.checksum != migration.checksum
    ]
    if changed:
        raise PublishedMigrationChanged("\n".join(changed))
    new = migrations[snapshot.version :]
    require_sound(new)  # published ones passed the rules of their day
    return PublishReport(
        published=tuple(migration.version for migration in new),
        already=len(pairs),
        version=snapshot.version + len(new),
        without_file=tuple(row.version for row in snapshot.rows[len(migrations) :]),
    )


def signed_rows(
    previous: str, new: Sequence[tuple[Migration, str]], key_id: str, sign: Callable[[bytes], str], created_at: str
) -> list[PublishedMigration]:
    """Return the rows to append after this chain hash; `new` holds migrations with their descriptions."""
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
                key_id=key_id,
                signature=sign(signed_text(migration.version, previous)),
                created_at=created_at,
            )
        )
    return rows


def name_of(description: str, version: int) -> str:
    """Return `add_word_roots_v2` for `Add word roots (v2)`, or `migration_<version>` if there are no Latin letters."""
    plain = unicodedata.normalize("NFKD", description).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:_NAME_CHARS].rstrip("_")
    return name if name[:1].isalpha() else f"migration_{version}{'_' if name else ''}{name}"
