"""sqld's refusals of whole calls in our words: its own name namespaces, keys and rights."""

import re

import msgspec

from freehold.errors import FreeholdError, InvalidInput, ProviderUnavailable
from freehold.libsql.protocol import Error
from freehold.providers.failures import NOT_UTF8, BadBaton, Overloaded, StreamExpired
from freehold.providers.sqld.client.damage import damage_in
from freehold.providers.sqld.client.refused import our_error
from freehold.sql.profiles import reading_only

_ERROR_LIMIT_BYTES = 65_536
# A cursor's SQL that is no statement comes without a code, as an "internal" error. Seen with sqld 0.24.32.
_INTERNAL = re.compile(r"Internal Error: `(SQL string .*)`", re.DOTALL)
# The result holds a text that is none; all that the call did before stays. Seen with sqld 0.24.32.
_NOT_UTF8 = re.compile(r"(invalid|incomplete) utf-8 (byte )?sequence")
_CODES = {
    "SQL string could not be parsed": "SQL_PARSE_ERROR",
    "SQL string does not contain any statement": "SQL_NO_STATEMENT",
    "SQL string contains more than one statement": "SQL_MANY_STATEMENTS",
}


def refusal(status: int, body: bytes) -> FreeholdError:  # noqa: PLR0911 - one for each kind
    """What to raise for a refusal with this HTTP status and body."""
    error = _error_in(body)
    error = our_error(error.message, error.code or _code_of_cursor(error.message))
    code = error.code or ""
    match status:
        case 401:
            return ProviderUnavailable("sqld does not take our token; is SQLD_JWT_KEY_FILE another one now?")
        case 403:
            return reading_only()
        case 429:
            return Overloaded("too many requests at once; try again in a moment")
        case 400 if code == "STREAM_EXPIRED":
            return StreamExpired("the stream was idle for too long; its transaction is rolled back")
        case 400 if "baton" in error.message:
            return BadBaton(
                "the baton is not valid, was used already, or its stream ended, as all do when sqld is started again"
            )
        case 400 | 404 | 413 | 422:
            return Refusal(error.message, code or "INVALID_INPUT")
        # Failures of SQL that fail the whole call come as 500 here.
        case 500 if code.startswith(("SQL", "ARGS_", "BLOCKED", "TRANSACTION_", "RESPONSE_")):
            return Refusal(error.message, code)
        case 500 if _NOT_UTF8.search(error.message):
            return Refusal(NOT_UTF8, "INVALID_UTF8")
        case 500 if damaged := damage_in(error.message):
            return damaged
    return ProviderUnavailable(f"sqld answered with HTTP status {status}: {error.message}")


class Refusal(InvalidInput):
    """A call that sqld refuses as a whole. `code` is sqld's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class QueryTimeout(InvalidInput):
    """A call that took longer than the calls of tenants may."""

    code = "query_timeout"


class _AnyError(msgspec.Struct):
    message: str = ""
    error: str = ""
    code: str | None = None


def _error_in(body: bytes) -> Error:
    """It may be `{"message", "code"}`, `{"error"}` or plain text."""
    # A message that repeats a caller's text need not be UTF-8.
    text = body[:_ERROR_LIMIT_BYTES].decode(errors="replace")
    try:
        found = msgspec.json.decode(text, type=_AnyError)
        message = found.message or found.error or "the request was refused"
        internal = _INTERNAL.fullmatch(message)
        return Error(message if internal is None else internal[1], found.code)
    except msgspec.MsgspecError:
        return Error(" ".join(text[:500].split()) or "the request was refused")


def _code_of_cursor(message: str) -> str:
    return next((code for words, code in _CODES.items() if message.startswith(words)), "")
