"""Why a tenant's database cannot be handed out, or not as it once was."""

from freehold.errors import Conflict, Forbidden, NotFound


class DatabaseSuspended(Forbidden):
    """An operator has closed the database for now."""

    code = "database_suspended"


class DatabaseDeleting(Conflict):
    """The database is being deleted."""

    code = "database_deleting"


class DatabaseDeleted(NotFound):
    """The database was there and is gone for good."""

    code = "database_deleted"


class NoPointInTime(Conflict):
    """The database cannot be had as it was at that moment: its provider keeps no past, or none of then."""

    code = "no_point_in_time"
