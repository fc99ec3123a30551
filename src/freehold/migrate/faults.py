"""What is wrong with a migration, and where."""

from collections.abc import Sequence

from msgspec import Struct

from freehold.errors import InvalidInput

SHOWN_SQL_CHARS = 200


class Fault(Struct, frozen=True, kw_only=True):
    """Why a migration cannot be used. `code` is a rule in docs/lint.md; `line` and `statement` count from 1 (or 0)."""

    reason: str
    code: str = "FH001"
    version: int = 0
    name: str = ""
    statement: int = 0
    line: int = 0

    def __str__(self) -> str:
        parts = [f"migration {self.version} ({self.name})"] if self.version or self.name else []
        parts += [f"statement {self.statement}"] if self.statement else []
        parts += [f"line {self.line}"] if self.line else []
        return f"{', '.join(parts)}: {self.reason}" if parts else self.reason


class BadMigration(InvalidInput):
    """A migration cannot be applied safely."""

    code = "bad_migration"
    remedy = "Change the statement and line that the message, or `faults`, names."

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def shortened(sql: str) -> str:
    """The SQL as one line of at most about 200 characters, for a message."""
    line = " ".join(sql[: SHOWN_SQL_CHARS * 4].split())
    is_whole = len(line) <= SHOWN_SQL_CHARS and len(sql) <= SHOWN_SQL_CHARS * 4
    return line if is_whole else line[:SHOWN_SQL_CHARS] + "…"
