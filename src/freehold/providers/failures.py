"""The failures of single statements as Hrana errors: a message for people and a code for programs."""

import apsw

from freehold.errors import FreeholdError, InvalidInput, ProviderUnavailable, Unavailable
from freehold.libsql.protocol import Error
from freehold.sql.guard import RefusedSql

MAX_VALUE_BYTES = 8_000_000
NOT_UTF8 = "a text is not valid UTF-8; read it with CAST(... AS BLOB)"
_MEGABYTE = 1_000_000
UNREADABLE = ("incomplete input", "unrecognized token")


class SqlFailure(Exception):
    """One statement failed; the rest of the request continues."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.error = Error(message=message, code=code)


class Overloaded(Unavailable):
    """Too many concurrent requests."""

    code = "too_many_requests"
    message = "too many requests at once; try again in a moment"
    remedy = "Close open streams, and try again after `Retry-After`."


class GoesOn(Overloaded):
    """The tenant has a statement that runs past its limit and cannot be stopped."""

    def __init__(self) -> None:
        super().__init__(
            "a statement of this database goes on past its limit and cannot be stopped; nothing else starts here "
            "until it has ended"
        )


class QueryTimeout(InvalidInput):
    """A statement or call exceeded the tenant's time limit, and was stopped or given up."""

    code = "query_timeout"
    remedy = "Ask for less at a time. On sqld, check what it did before you repeat it; on files it is undone."


class OutcomeUnknown(ProviderUnavailable):
    """The database's engine ended during the call, which may or may not have taken effect."""

    code = "outcome_unknown"
    message = "the database's engine ended while this ran; look whether it was carried out before you try again"
    remedy = "Read what it would have changed, then try again if it did not; an open transaction was rolled back."


class BadBaton(InvalidInput):
    """The baton does not belong to a stream of this database and token, or has already been used."""

    code = "bad_baton"
    message = "the baton is not valid"
    remedy = "Start over without a baton."


class StreamExpired(InvalidInput):
    """The stream was idle for too long, or was closed to make room for others; its transaction was rolled back."""

    code = "stream_expired"
    remedy = "Start over."


class Gone(Unavailable):
    """The client went away before its answer was ready."""

    message = "the client went away"


def megabytes(size_bytes: int) -> str:
    """A size in megabytes, for messages."""
    whole = size_bytes / _MEGABYTE
    return f"{whole:.0f} MB" if whole >= 1 else f"{size_bytes // 1000} kB"


def code_of(error: FreeholdError) -> str:
    """An error's code as a database's clients see it: for SQL that nobody may run it is SQLite's."""
    return "SQLITE_AUTH" if isinstance(error, RefusedSql) else error.code.upper()


def error_of(error: FreeholdError) -> Error:
    """An error as a database's clients see it, with `code_of` it."""
    return Error(str(error), code_of(error))


def failure_of(error: Exception) -> SqlFailure:  # noqa: PLR0911 - one for each kind
    """The failure for an error of SQLite or of its binding; its message says what to do where SQLite's does not."""
    match error:
        case apsw.TooBigError():
            return SqlFailure(f"{error}; one value may have {megabytes(MAX_VALUE_BYTES)}", "SQLITE_TOOBIG")
        case apsw.NoMemError() | MemoryError():
            return SqlFailure("the statement needs more memory than there is for it now", "SQLITE_NOMEM")
        case apsw.BindingsError():
            return SqlFailure(str(error), "ARGS_INVALID")
        case KeyError():
            return SqlFailure(f"no value for the parameter `{error.args[0]}`", "ARGS_INVALID")
        case UnicodeDecodeError():
            return SqlFailure(NOT_UTF8, "INVALID_UTF8")
        case UnicodeEncodeError():
            return SqlFailure("a text holds half of a surrogate pair", "SQL_PARSE_ERROR")
    return SqlFailure(str(error) or type(error).__name__, _code_of(error))


def _code_of(error: Exception) -> str:
    """The name of SQLite's primary result code, or the code for SQL that could not be parsed."""
    if isinstance(error, apsw.SQLError):
        is_syntax = str(error).endswith("syntax error") or str(error).startswith(UNREADABLE)
        return "SQL_PARSE_ERROR" if is_syntax else "SQLITE_ERROR"
    return str(apsw.mapping_result_codes.get(getattr(error, "result", -1), "SQLITE_MISUSE"))
