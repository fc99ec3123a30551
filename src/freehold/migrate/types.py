"""A migration: one numbered piece of SQL, what is derived from it, and the hashes that identify it."""

import hashlib
from collections.abc import Sequence
from functools import cached_property

import msgspec
from msgspec import Struct

from freehold.migrate.faults import BadMigration, Fault
from freehold.migrate.rules import front_matter, is_brief, sql_faults
from freehold.migrate.split import Statement, split

__all__ = ["GENESIS", "BadMigration", "Fault", "Migration", "chain", "chains", "normalise"]

GENESIS = ""  # the chain before version 1


class Migration(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`NNNN_name.sql`: `version` is NNNN, `name` the snake_case part, `sql` has `\\n` line ends.

    Creating one checks nothing; `check.check_migration` says whether it may be applied.
    """

    version: int
    name: str
    sql: str

    @cached_property
    def checksum(self) -> str:
        """Hex SHA-256 of the SQL as UTF-8."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @cached_property
    def description(self) -> str:
        """The text of the line `-- description: …` at the top, otherwise the name with spaces."""
        return front_matter(self.sql).get("description") or self.name.replace("_", " ")

    @cached_property
    def foreign_keys_off(self) -> bool:
        """Whether the line `-- foreign_keys: off` is at the top: a rebuild of a referenced table needs it."""
        return front_matter(self.sql).get("foreign_keys") == "off"

    @cached_property
    def pieces(self) -> tuple[Statement, ...]:
        """Its statements with their lines. Raises `BadMigration` if it cannot be split."""
        try:
            return tuple(split(self.sql))
        except BadMigration as error:
            raise BadMigration([self._located(fault) for fault in error.faults]) from None

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """Why its SQL must not be applied; empty if it is sound."""
        try:
            return tuple(self._located(fault) for fault in sql_faults(self.sql, self.pieces))
        except BadMigration as error:
            return error.faults

    @cached_property
    def is_brief(self) -> bool:
        """Whether it is quick however much a user has stored. Raises `BadMigration`."""
        return not self.foreign_keys_off and is_brief(self.pieces)

    @cached_property
    def defers(self) -> bool:
        """Whether its text mentions constraints that are checked only when a transaction ends."""
        return "deferr" in self.sql.lower()

    @cached_property
    def statements(self) -> tuple[str, ...]:
        """The SQL of its statements, without the closing `;`. Raises `BadMigration`."""
        return tuple(piece.sql for piece in self.pieces)

    def _located(self, fault: Fault) -> Fault:
        return msgspec.structs.replace(fault, version=self.version, name=self.name)


def chain(previous: str, checksum: str) -> str:
    """The hash that names the whole history up to a version: hex SHA-256 of both hashes' bytes."""
    return hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(checksum)).hexdigest()


def chains(migrations: Sequence[Migration]) -> list[str]:
    """The chain at each version from 1; `migrations` must be all migrations in order."""
    links: list[str] = []
    for migration in migrations:
        links.append(chain(links[-1] if links else GENESIS, migration.checksum))
    return links


def normalise(text: str) -> str:
    """The text with `\\n` line ends, so that a checkout on any system has the same checksum."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class LedgerState(Struct, frozen=True):
    """The state of a database. A fresh one is at version 0 with the empty chain."""

    version: int
    chain: str
