"""Checks that migrations are sound and in order. The registry and every applier use it."""

import re
from collections.abc import Sequence

from freehold.migrate.faults import BadMigration, Fault
from freehold.migrate.types import Migration

MAX_VERSION = 9999  # the file name has four digits
_NAME = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*", re.ASCII)
_MAX_NAME_CHARS = 100


def check_migration(migration: Migration) -> list[Fault]:
    """Every reason why this migration must not be applied; empty if it is sound."""
    found = []
    if not 1 <= migration.version <= MAX_VERSION:
        found.append(_fault(migration, f"versions go from 1 to {MAX_VERSION}"))
    if not _NAME.fullmatch(migration.name) or len(migration.name) > _MAX_NAME_CHARS:
        found.append(_fault(migration, "a name is snake_case (a-z, 0-9, single _) of at most 100 characters"))
    return [*found, *migration.faults]


def check_order(migrations: Sequence[Migration]) -> list[Fault]:
    """The first place where the versions are not 1, 2, 3 and so on; empty if there is none."""
    for expected, migration in enumerate(migrations, start=1):
        if migration.version > expected:
            return [_fault(migration, f"version {expected} is missing before it")]
        if migration.version < expected:
            return [_fault(migration, f"version {expected} should stand here; versions go 1, 2, 3 in order")]
    return []


def require_sound(migrations: Sequence[Migration]) -> None:
    """Return if all are sound. Raises `BadMigration` with every fault of every migration."""
    if faults := [fault for migration in migrations for fault in check_migration(migration)]:
        raise BadMigration(faults)


def require_order(migrations: Sequence[Migration]) -> None:
    """Return if they are versions 1, 2, 3 and so on. Raises `BadMigration`."""
    if faults := check_order(migrations):
        raise BadMigration(faults)


def _fault(migration: Migration, reason: str) -> Fault:
    return Fault(reason=reason, version=migration.version, name=migration.name)
