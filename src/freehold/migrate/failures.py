"""Why a database was not migrated, and how a database's own error is read."""

from freehold.errors import Conflict, Forbidden, FreeholdError, Unavailable
from freehold.libsql.protocol import Error
from freehold.migrate.types import LedgerState, Migration


class MigrationFailed(Conflict):
    """The database refused a migration; it is at the version before, as if nothing had been tried.

    `statement` and `line` count from 1; 0 means that it was none of the migration's own statements.
    """

    code = "migration_failed"

    def __init__(
        self, *, migration: Migration, reason: str, statement: int = 0, line: int = 0, sql: str = ""
    ) -> None:
        where = f", statement {statement}, line {line}" if statement else ""
        shown = f" in `{sql}`" if sql else ""
        super().__init__(
            f"migration {migration.version} ({migration.name}){where}: {reason}{shown}; "
            f"the database is still at version {migration.version - 1}: correct it and apply it again"
        )
        self.version = migration.version
        self.name = migration.name
        self.statement = statement
        self.line = line
        self.sql = sql
        self.reason = reason


class LedgerRefused(MigrationFailed):
    """The ledger did not take the row: the database is not at the version before, or not by this history.

    `state` is where the ledger stands, if the same answer told.
    """

    def __init__(self, *, migration: Migration, reason: str, state: LedgerState | None) -> None:
        super().__init__(migration=migration, reason=reason)
        self.state = state


class FailedTogether(MigrationFailed):
    """One of several migrations in one transaction was refused: tried one by one, those before it will stay."""


class HistoryDiverged(Conflict):
    """The ledger records another history than the given migrations; nothing was applied on top of it."""

    code = "history_diverged"

    def __init__(self, *, version: int, recorded: str, given: str) -> None:
        super().__init__(
            f"version {version} of this database was made by other SQL: its ledger has {recorded}, given is "
            f"{given}; give the migrations that it was made with, and put the change in a new one"
        )
        self.version = version


class LedgerUnreadable(Conflict):
    """There is a ledger, or something under its name, that cannot be read as one."""

    code = "ledger_unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the ledger cannot be read: {reason}; restore the table freehold_ledger")


class DatabaseBusy(Unavailable):
    """Somebody else held the write lock for too long; nothing was changed."""

    code = "database_busy"


class DatabaseFull(Unavailable):
    """The database has no room for it; nothing was changed."""

    code = "database_full"


_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED", "TRANSACTION_BUSY", "TRANSACTION_TIMEOUT"}
# The migration is not to blame for these: the same call may work later.
_OUTAGE = {
    "SQLITE_CANTOPEN",
    "SQLITE_INTERRUPT",
    "SQLITE_IOERR",
    "SQLITE_NOLFS",
    "SQLITE_NOMEM",
    "SQLITE_PROTOCOL",
    "STREAM_EXPIRED",
}
_READ_ONLY = {"SQLITE_READONLY", "BLOCKED"}


def circumstance(error: Error) -> FreeholdError | None:
    """The error to raise when circumstances are to blame, or None when the SQL itself is."""
    code = primary_code(error.code or "")
    if code in _BUSY or "database is locked" in error.message:
        return DatabaseBusy(f"the database is busy ({error.message}); try again")
    if code == "SQLITE_FULL":
        return DatabaseFull(
            f"the database is full ({error.message}); nothing was changed; free room in it, or raise its limit"
        )
    if code in _OUTAGE:
        return Unavailable(f"the database cannot write now ({error.message}); nothing was changed, try again")
    if code in _READ_ONLY:
        return Forbidden(f"the database may not be written to ({error.message})")
    return None


def primary_code(code: str) -> str:
    """`SQLITE_BUSY` for `SQLITE_BUSY_SNAPSHOT`: engines differ in how much of it they tell."""
    return "_".join(code.split("_")[:2]) if code.startswith("SQLITE_") else code
