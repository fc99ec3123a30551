"""Why a tenant's database cannot be opened, or not in an earlier state."""

from freehold.errors import Conflict, Forbidden, FreeholdError, NotFound, Unavailable

_ERROR_CHARS = 500


class DatabaseSuspended(Forbidden):
    """The database is suspended; `reason` says why, if the operator gave one."""

    code = "database_suspended"
    remedy = "Ask the operator."

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            f"your database is suspended{f': {reason}' if reason else '; ask the operator of this service'}"
        )
        self.reason = reason


class DatabaseDeleting(Conflict):
    """The database is being deleted."""

    code = "database_deleting"
    remedy = "Wait until it is gone."


class DatabaseDeleted(NotFound):
    """The database was deleted."""

    code = "database_deleted"
    kind = "gone"
    remedy = "Its operator can give the user another one: `freehold tenants create`, or `restore` from an export."


class DatabaseDamaged(Unavailable):
    """The database cannot be opened until its operator repairs it; all others keep working.

    `reason` is for operators: what is wrong with `file`, one beside the data.
    """

    code = "database_damaged"
    remedy = "Repair it: [self-hosting.md](self-hosting.md#repair)."

    def __init__(self, reason: str, file: str) -> None:
        super().__init__(
            "the database is damaged and cannot be opened; its operator repairs it with `freehold tenants repair`"
        )
        self.reason = reason
        self.file = file


class NoPointInTime(Conflict):
    """The provider does not have the database's state at that time."""

    code = "no_point_in_time"
    remedy = "Restore from an export."
    where = "cli"


def describe(error: Exception) -> str:
    """Return the error for operators, as stored in the tenant's row. Only our own messages: they contain no secret."""
    if isinstance(error, TimeoutError):
        text = "it took too long"
    elif isinstance(error, FreeholdError):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}; the log has it whole"
    return text if len(text) <= _ERROR_CHARS else text[: _ERROR_CHARS - 1] + "…"
