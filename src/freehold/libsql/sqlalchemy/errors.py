"""The driver's errors as those of PEP 249, classified as Python's own `sqlite3` does."""

from sqlalchemy.connectors.asyncio import AsyncAdapt_Error

from freehold.libsql.errors import LibsqlError, StreamLost, Unreachable

_PREFIX = "SQLite error: "


class Warning(Exception):  # noqa: A001 - the name is PEP 249's
    """Never raised; required by PEP 249."""


class Error(AsyncAdapt_Error):
    """Base of all. `sqlite_errorname` is the server's code, e.g. `SQLITE_CONSTRAINT`."""

    sqlite_errorname = ""


class InterfaceError(Error):
    """Wrong use of the driver."""


class DatabaseError(Error):
    """The database refused."""


class DataError(DatabaseError):
    """A value that SQL cannot hold, or that is too large."""


class OperationalError(DatabaseError):
    """Failures that are not the program's fault, and SQL that does not fit the schema."""


class ConnectionLost(OperationalError):
    """No answer, or the server has dropped the stream. An open transaction is lost."""


class IntegrityError(DatabaseError):
    """A constraint failed."""


class InternalError(DatabaseError):
    """The database is in a state it should not be in."""


class ProgrammingError(DatabaseError):
    """Not exactly one statement, or arguments that do not match its variables."""


class NotSupportedError(DatabaseError):
    """The server cannot do it."""


_BY_CODE: dict[str, type[Error]] = {
    "SQLITE_CONSTRAINT": IntegrityError,
    "SQLITE_MISMATCH": IntegrityError,
    "SQLITE_TOOBIG": DataError,
    "RESPONSE_TOO_LARGE": DataError,
    "REQUEST_TOO_LARGE": DataError,
    "SQLITE_INTERNAL": InternalError,
    "SQLITE_CORRUPT": DatabaseError,
    "SQLITE_NOTADB": DatabaseError,
    "SQLITE_MISUSE": ProgrammingError,
    "SQLITE_RANGE": ProgrammingError,
    "ARGS_INVALID": ProgrammingError,
    "ARGS_BOTH_POSITIONAL_AND_NAMED": ProgrammingError,
    "SQL_NO_STATEMENT": ProgrammingError,
    "SQL_MANY_STATEMENTS": ProgrammingError,
    "CLIENT_CLOSED": InterfaceError,
}


def translated(error: Exception) -> Error | None:
    """The PEP 249 error for one that the driver raised; None for one that is not the database's."""
    match error:
        case StreamLost() | Unreachable():
            kind: type[Error] = ConnectionLost
        case LibsqlError(code=code):
            kind = _BY_CODE.get(code) or _BY_CODE.get("_".join(code.split("_")[:2]), OperationalError)
        case OverflowError() | ValueError():
            return DataError(str(error), error)
        case TypeError():
            return ProgrammingError(str(error), error)
        case _:
            return None
    made = kind(error.explanation.removeprefix(_PREFIX), error)
    made.sqlite_errorname = error.code
    return made
