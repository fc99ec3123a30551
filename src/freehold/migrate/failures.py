"""Why a database was not migrated, and how a database's own errors are classified."""

from freehold.errors import Conflict, Forbidden, FreeholdError, Unavailable
from freehold.libsql.protocol import Error
from freehold.migrate.types import LedgerState, Migration


class MigrationFailed(Conflict):
    """The database refused a statement of a migration; it is at the version before.

    `statement` and `line` count from 1; 0 means that it was not one of the migration's own statements.
    """

    code = "migration_failed"
    remedy = "Fix the cause that the message names, and try again."

    def __init__(self, *, migration: Migration, reason: str, statement: int = 0, line: int = 0, sql: str = "") -> None:
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
    """The ledger did not accept the row: the database is not at the version before, or has another history.

    `state` is that of the ledger, if the same answer included it.
    """

    def __init__(self, *, migration: Migration, reason: str, state: LedgerState | None) -> None:
        super().__init__(migration=migration, reason=reason)
        self.state = state


class FailedTogether(MigrationFailed):
    """One of several migrations in one transaction was refused. Sent one by one, those before it will be applied."""


class HistoryDiverged(Conflict):
    """The database's ledger has a different history than the registry; nothing was applied."""

    code = "history_diverged"
    remedy = "Check that the database belongs to this app, and that its ledger has not been edited."

    def __init__(self, *, version: int, recorded: str, given: str) -> None:
        super().__init__(
            f"version {version} of this database was made by other SQL: its ledger has {recorded}, given is "
            f"{given}; give the migrations that it was made with, and put the change in a new one"
        )
        self.version = version


class LedgerUnreadable(Conflict):
    """The ledger's table exists but is not a ledger."""

    code = "ledger_unreadable"
    remedy = "Restore the database, or rename that table."

    def __init__(self, reason: str) -> None:
        super().__init__(f"the ledger cannot be read: {reason}; restore the table freehold_ledger")


class DatabaseBusy(Unavailable):
    """Another writer holds the database; nothing was changed."""

    code = "database_busy"
    remedy = "Try again."


class DatabaseFull(Unavailable):
    """The database has no space for a migration; nothing was changed."""

    code = "database_full"
    remedy = "Delete data in it, or raise `TENANT_MAX_SIZE_MB`."


_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED", "TRANSACTION_BUSY", "TRANSACTION_TIMEOUT"}
# The migration is not the cause of these: the same call may work later.
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
    """The error to raise if circumstances are the cause, or None if the SQL itself is."""
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
    """`SQLITE_BUSY` for `SQLITE_BUSY_SNAPSHOT`: engines differ in how much of a code they report."""
    return "_".join(code.split("_")[:2]) if code.startswith("SQLITE_") else code
