"""The driver's errors as PEP 249 has them, told apart as Python's own `sqlite3` does."""

from sqlalchemy.connectors.asyncio import AsyncAdapt_Error

from freehold.libsql.errors import LibsqlError, StreamLost, Unreachable

_PREFIX = "SQLite error: "


class Warning(Exception):  # noqa: A001 - the name is PEP 249's
    """Never raised; PEP 249 wants it."""


class Error(AsyncAdapt_Error):
    """Base of all. `sqlite_errorname` is the server's code, e.g. `SQLITE_CONSTRAINT`."""

    sqlite_errorname = ""


class InterfaceError(Error):
    """Wrong use of the driver."""


class DatabaseError(Error):
    """The database refused."""


class DataError(DatabaseError):
    """A value that has no place."""


class OperationalError(DatabaseError):
    """Anything that is not the program's fault, and SQL that does not fit the schema."""


class ConnectionLost(OperationalError):
    """No answer, or the server gave up the stream. An open transaction is gone."""


class IntegrityError(DatabaseError):
    """A constraint failed."""


class InternalError(DatabaseError):
    """The database is in a state it should not be in."""


class ProgrammingError(DatabaseError):
    """Not one statement, or other arguments than it has variables."""


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
    """The PEP 249 error for one that the driver raised; None for one that is not of the database."""
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
