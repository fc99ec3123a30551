"""Why a tenant's database cannot be handed out, or not as it once was."""

from freehold.errors import Conflict, Forbidden, NotFound, Unavailable


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
