"""Refusals in our words: sqld's own, which name namespaces, keys and rights, and ours in place of statements."""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import msgspec

from freehold.errors import Forbidden, FreeholdError, InvalidInput, ProviderUnavailable
from freehold.libsql.protocol import Error
from freehold.log import get_logger
from freehold.providers.failures import NOT_UTF8, UNREADABLE, BadBaton, Overloaded, StreamExpired, error_of
from freehold.sql.profiles import reading_only
from freehold.tenants.errors import DatabaseDamaged

_ERROR_LIMIT_BYTES = 65_536
# A cursor's SQL that is not a statement comes without a code, as an "internal" error. Seen with sqld 0.24.32.
_INTERNAL = re.compile(r"Internal Error: `(SQL string .*)`", re.DOTALL)
# The result holds a text that is not valid UTF-8; what the call did before stays. Seen with sqld 0.24.32.
_NOT_UTF8 = re.compile(r"(invalid|incomplete) utf-8 (byte )?sequence")
_CODES = {
    "SQL string could not be parsed": "SQL_PARSE_ERROR",
    "SQL string does not contain any statement": "SQL_NO_STATEMENT",
    "SQL string contains more than one statement": "SQL_MANY_STATEMENTS",
}


def refusal(status: int, body: bytes) -> FreeholdError:  # noqa: PLR0911 - one for each kind
    """The error for a refusal with this HTTP status and body."""
    error = _error_in(body)
    error = our_error(error.message, error.code or _code_of_cursor(error.message))
    code = error.code or ""
    match status:
        case 401:
            return ProviderUnavailable("sqld does not take our token; is SQLD_JWT_KEY_FILE another one now?")
        case 403:
            return reading_only()
        case 429:
            return Overloaded()
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


class _AnyError(msgspec.Struct):
    message: str = ""
    error: str = ""
    code: str | None = None


def _error_in(body: bytes) -> Error:
    """The error in a body, which may be `{"message", "code"}`, `{"error"}` or plain text."""
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


# Databases that sqld cannot open because a file beside their data is damaged: told by its message, and remembered.
#
# Source: sqld 0.24.32, by truncating, overwriting and emptying those files after `kill -9`. It answers 500 to every
# call for such a namespace, for ever, and serves the others.

log = get_logger()

_MOST = 1_000
_ANY_INTERNAL = re.compile(r"Internal Error: `(.*)`", re.DOTALL)
# The replication log is written without being synced (before 0.24.33), the statistics always are.
_SIGNS = {
    "wallog": re.compile(
        r"failed to fill whole buffer|invalid replication log header|Invalid argument \(os error 22\)"
    ),
    "stats.json": re.compile(r"[^`]{1,100} at line \d+ column \d+|stream did not contain valid UTF-8"),
}


def damage_in(message: str) -> DatabaseDamaged | None:
    """The error to raise if this message says that sqld cannot open the database, or None."""
    internal = _ANY_INTERNAL.fullmatch(message)
    if internal is None:
        return None
    for file, sign in _SIGNS.items():
        if sign.fullmatch(internal[1]):
            return DatabaseDamaged(internal[1], file)
    return None


class Damages:
    """The databases found to be damaged that have not answered since, with sqld's message."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._found))

    def told(self) -> dict[str, str]:
        """sqld's message by database name."""
        return dict(self._found)

    def note(self, database_name: str, error: Exception) -> None:
        """Remember the database if the error says that it is damaged, and log it the first time."""
        if not isinstance(error, DatabaseDamaged) or database_name in self._found:
            return
        log.error("database.damaged", database=database_name, file=error.file, reason=error.reason)
        if len(self._found) < _MOST:
            self._found[database_name] = error.reason

    def forget(self, database_name: str) -> None:
        """Forget a database that answers again, or is gone."""
        if self._found.pop(database_name, None) is not None:
            log.info("database.answers_again", database=database_name)


# Statements that are refused before sqld sees them, and sqld's errors with the codes that SQLite uses.
#
# In place of a refused statement sqld gets one that it cannot prepare, whose name says why. So it fails where it would
# have run, as a step of a batch or of a cursor, described or stored, and the rest of the call continues.

_MAX_REASON = 2000
_SAID = "freehold refused"
_SQLITE_CODES = frozenset({"SQLITE_AUTH", "PROFILE_NEEDED", "SQLITE_TOOBIG"})
_REFUSED = re.compile(rf".*no such function: {_SAID} ([A-Z_]+): (.*?)(?: \(at offset \d+\))?", re.DOTALL)
# How sqld 0.24.32 reports the many errors for which SQLite has one code, and what its own parser refuses.
_VAGUE = frozenset({"SQLITE_UNKNOWN", "SQL_INPUT_ERROR"})
_UNSUPPORTED = "SQL string could not be parsed: unsupported statement"
_DUPLICATE = "SQL string could not be parsed: duplicate column name"
# A quote in a value is escaped, so this can only be an error's. sqld writes the message first.
_HINT = b'"code":"SQL'
_START = b'"message":"'
_ERROR = re.compile(rb'"message":("(?:[^"\\]|\\.)*+"),"code":"([A-Z_]*)"')
_LONGEST_ERROR_BYTES = 1_000_000


def in_place_of(error: Forbidden | Error) -> str:
    """The text that sqld gets instead of a statement that is refused for this reason."""
    found = error if isinstance(error, Error) else error_of(error)
    reason = found.message[:_MAX_REASON].encode(errors="replace").decode().replace("\0", "").replace('"', '""')
    return f'SELECT "{_SAID} {found.code}: {reason}"()'


def our_error(message: str, code: str) -> Error:
    """An error of sqld as clients see it."""
    if code in _VAGUE:
        refused = _REFUSED.fullmatch(message)
        if refused is not None and refused[1] in _SQLITE_CODES:
            return Error(refused[2], refused[1])
        is_unreadable = message.endswith("syntax error") or any(each in message for each in UNREADABLE)
        return Error(message, "SQL_PARSE_ERROR" if is_unreadable else "SQLITE_ERROR")
    if message.startswith(_UNSUPPORTED):
        return Error(message, "SQLITE_AUTH")
    return Error(message, "SQLITE_ERROR" if message.startswith(_DUPLICATE) else code)


def with_our_errors(text: bytes) -> bytes:
    """The bytes of an answer of sqld, with its errors as clients see them."""
    return _ERROR.sub(_replaced, text) if _HINT in text else text


def _replaced(found: re.Match[bytes]) -> bytes:
    try:
        message = msgspec.json.decode(found[1], type=str)
    except msgspec.MsgspecError:
        return found[0]
    error = our_error(message, found[2].decode())
    return b'"message":%s,"code":%s' % (msgspec.json.encode(error.message), msgspec.json.encode(error.code))


def cut(data: bytes) -> int:
    """The length up to which these bytes may be passed to `with_our_errors` without splitting an error in two."""
    at = data.rfind(_START)
    last = None if at < 0 else _ERROR.match(data, at)
    if at >= 0 and last is None and len(data) - at < _LONGEST_ERROR_BYTES:
        return at
    since = 0 if last is None else last.end()
    for length in range(min(len(_START), len(data) - since + 1) - 1, 0, -1):
        if data.endswith(_START[:length]):
            return len(data) - length
    return len(data)


async def streamed_with_our_errors(held: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The rest of an answer, of which `held` has come."""
    async with aclosing(chunks):
        async for chunk in chunks:
            held += chunk
            at = cut(held)
            ready, held = held[:at], held[at:]
            if ready:
                yield with_our_errors(ready)
    if held:
        yield with_our_errors(held)
