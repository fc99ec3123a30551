"""Statements that are refused before sqld sees them, and sqld's errors with the codes that SQLite uses.

In the place of a refused statement sqld gets one that it cannot prepare, whose name says why. So it fails where it
would have run, as a step of a batch or of a cursor, described or stored, and the rest of the call goes on.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from freehold.errors import Forbidden
from freehold.libsql.protocol import Error
from freehold.providers.failures import UNREADABLE, error_of

_MAX_REASON = 2000
_SAID = "freehold refused"
_CODES = frozenset({"SQLITE_AUTH", "PROFILE_NEEDED", "SQLITE_TOOBIG"})
_REFUSED = re.compile(rf".*no such function: {_SAID} ([A-Z_]+): (.*?)(?: \(at offset \d+\))?", re.DOTALL)
# How sqld 0.24.32 reports the many errors for which SQLite has one code, and what its own parser refuses.
_VAGUE = frozenset({"SQLITE_UNKNOWN", "SQL_INPUT_ERROR"})
_UNSUPPORTED = "SQL string could not be parsed: unsupported statement"
_DUPLICATE = "SQL string could not be parsed: duplicate column name"
# A quote in a value is escaped, so this is nothing but an error's. sqld writes the message first.
_HINT = b'"code":"SQL'
_START = b'"message":"'
_ERROR = re.compile(rb'"message":("(?:[^"\\]|\\.)*+"),"code":"([A-Z_]*)"')
_LONGEST_ERROR_BYTES = 1_000_000


def in_place_of(error: Forbidden | Error) -> str:
    """What sqld gets instead of a statement that is refused for this reason."""
    found = error if isinstance(error, Error) else error_of(error)
    reason = (
        found.message[:_MAX_REASON].encode(errors="replace").decode().replace("\0", "").replace('"', '""')
    )
    return f'SELECT "{_SAID} {found.code}: {reason}"()'


def our_error(message: str, code: str) -> Error:
    """An error of sqld as clients get it."""
    if code in _VAGUE:
        refused = _REFUSED.fullmatch(message)
        if refused is not None and refused[1] in _CODES:
            return Error(refused[2], refused[1])
        is_unreadable = message.endswith("syntax error") or any(each in message for each in UNREADABLE)
        return Error(message, "SQL_PARSE_ERROR" if is_unreadable else "SQLITE_ERROR")
    if message.startswith(_UNSUPPORTED):
        return Error(message, "SQLITE_AUTH")
    return Error(message, "SQLITE_ERROR" if message.startswith(_DUPLICATE) else code)


def with_our_errors(text: bytes) -> bytes:
    """The bytes of an answer of sqld, with its errors as clients get them."""
    return _ERROR.sub(_replaced, text) if _HINT in text else text


def _replaced(found: re.Match[bytes]) -> bytes:
    try:
        message = msgspec.json.decode(found[1], type=str)
    except msgspec.MsgspecError:
        return found[0]
    error = our_error(message, found[2].decode())
    return b'"message":%s,"code":%s' % (
        msgspec.json.encode(error.message),
        msgspec.json.encode(error.code),
    )


def cut(data: bytes) -> int:
    """Up to where `with_our_errors` may be given these bytes, as more follow: an error is not cut in two."""
    at = data.rfind(_START)
    last = None if at < 0 else _ERROR.match(data, at)
    if at >= 0 and last is None and len(data) - at < _LONGEST_ERROR_BYTES:
        return at
    since = 0 if last is None else last.end()
    for length in range(min(len(_START), len(data) - since + 1) - 1, 0, -1):
        if data.endswith(_START[:length]):
            return len(data) - length
    return len(data)


async def streamed_with_our_errors(
    held: bytes, chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
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
