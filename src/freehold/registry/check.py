"""Whether migrations may be published: their versions, their names, and what the migration core says of each."""

import re
from collections.abc import Sequence

import msgspec

from freehold.migrate.types import BadMigration, Migration

NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


def check_history(migrations: Sequence[Migration]) -> list[str]:
    """A line for every fault of a whole history; none means that it can be published."""
    faults = [
        f"migration {migration.version} stands where version {expected} must; versions are 1, 2, 3 without gaps"
        for expected, migration in enumerate(migrations, start=1)
        if migration.version != expected
    ]
    for migration in migrations:
        faults += check_migration_text(migration)
    return faults


def check_migration_text(migration: Migration, label: str = "") -> list[str]:
    """A line for every fault of one migration, each starting with `label`, else with its version and name."""
    label = label or f"migration {migration.version} ({migration.name})"
    if not NAME.fullmatch(migration.name):
        return [f"{label}: the name must be snake_case, e.g. `add_decks`"]
    try:
        _ = migration.statements
    except BadMigration as error:
        return [
            f"{label}: {msgspec.structs.replace(fault, version=0, name='')}".replace(
                ": statement", ", statement", 1
            )
            for fault in error.faults
        ]
    return []
