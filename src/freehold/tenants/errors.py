"""Why a tenant's database cannot be handed out, or not as it once was."""

from freehold.errors import Conflict, Forbidden, FreeholdError, NotFound, Unavailable

_ERROR_CHARS = 500


class DatabaseSuspended(Forbidden):
    """An operator has closed the database for now. `reason` is what they said to its user; it may be empty."""

    code = "database_suspended"

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            f"your database is suspended: {reason}"
            if reason
            else "your database is suspended; ask the operator of this service"
        )
        self.reason = reason


class DatabaseDeleting(Conflict):
    """The database is being deleted."""

    code = "database_deleting"


class DatabaseDeleted(NotFound):
    """The database was there and is gone for good."""

    code = "database_deleted"
    kind = "gone"


class DatabaseDamaged(Unavailable):
    """The database's engine cannot open it until its operator repairs it; all others are served.

    `reason` is for operators: what is wrong with `file`, one beside the data.
    """

    code = "database_damaged"

    def __init__(self, reason: str, file: str) -> None:
        super().__init__(
            "the database is damaged and cannot be opened; its operator repairs it with `freehold tenants repair`"
        )
        self.reason = reason
        self.file = file


class NoPointInTime(Conflict):
    """The database cannot be had as it was at that moment: its provider keeps no past, or none of then."""

    code = "no_point_in_time"


def describe(error: Exception) -> str:
    """The error for operators to read in the tenant's row. Only our own errors speak: they hold no secret."""
    if isinstance(error, TimeoutError):
        text = "it took too long"
    elif isinstance(error, FreeholdError):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}; the log has it whole"
    return text if len(text) <= _ERROR_CHARS else text[: _ERROR_CHARS - 1] + "…"
