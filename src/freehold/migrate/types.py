"""A migration: one ordered piece of SQL, what is read from it, and the hashes that pin it down."""

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property

import msgspec

from freehold.migrate.faults import BadMigration, Fault
from freehold.migrate.split import Statement, split

__all__ = ["GENESIS", "BadMigration", "Fault", "Migration", "chain", "chains", "normalise"]

GENESIS = ""  # the chain before version 1

_DIRECTIVE = re.compile(r"--[ \t]*(description|foreign[ _-]?keys)[ \t]*:[ \t]*(.*)", re.IGNORECASE)


class Migration(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`NNNN_name.sql`: `version` is NNNN, `name` the snake_case part, `sql` has `\\n` line ends.

    Making one checks nothing; `check.check_migration` tells whether a database may be given it.
    """

    version: int
    name: str
    sql: str

    @cached_property
    def checksum(self) -> str:
        """Hex SHA-256 of the SQL as UTF-8."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @cached_property
    def front_matter(self) -> dict[str, str]:
        """`description` and `foreign_keys` as the leading comments give them (`-- key: value`)."""
        return _front_matter(self.sql)

    @property
    def description(self) -> str:
        """What the front matter says, else the name with spaces."""
        return self.front_matter.get("description") or self.name.replace("_", " ")

    @property
    def foreign_keys_off(self) -> bool:
        """Whether it must run with foreign keys off, as a rebuild of a table that others reference must."""
        return self.front_matter.get("foreign_keys", "").lower() == "off"

    @cached_property
    def pieces(self) -> tuple[Statement, ...]:
        """Its statements with their lines. Raises `BadMigration` if it cannot be split."""
        try:
            return tuple(split(self.sql))
        except BadMigration as error:
            faults = [
                msgspec.structs.replace(fault, version=self.version, name=self.name) for fault in error.faults
            ]
            raise BadMigration(faults) from None

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL of its statements, without the closing `;`. Raises `BadMigration`."""
        return tuple(piece.sql for piece in self.pieces)


def chain(previous: str, checksum: str) -> str:
    """The hash that names the whole history up to a version: hex SHA-256 of both hashes' bytes."""
    return hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(checksum)).hexdigest()


def chains(migrations: Sequence[Migration]) -> list[str]:
    """The chain at each version, from 1 on; `migrations` must be all of them in order."""
    links: list[str] = []
    for migration in migrations:
        links.append(chain(links[-1] if links else GENESIS, migration.checksum))
    return links


def normalise(text: str) -> str:
    """The text with `\\n` line ends, so that a checkout on any system has the same checksum."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def leading_comments(sql: str) -> list[str]:
    """The `--` lines before anything else; blank lines may be between."""
    found = []
    for line in sql.split("\n"):
        stripped = line.strip()
        if stripped and not stripped.startswith("--"):
            break
        if stripped:
            found.append(stripped)
    return found


def directive(line: str) -> tuple[str, str] | None:
    """The key and value of a comment line that sets one of the known keys, else None."""
    match = _DIRECTIVE.fullmatch(line.strip())
    if match is None:
        return None
    key = "description" if match[1].lower() == "description" else "foreign_keys"
    return key, match[2].strip()


def _front_matter(sql: str) -> dict[str, str]:
    # The first of a repeated key counts; the check refuses the repetition.
    pairs = [pair for line in leading_comments(sql) if (pair := directive(line))]
    return dict(reversed(pairs))
