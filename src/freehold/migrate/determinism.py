"""Detects migrations whose rows depend on the time or on chance: such rows must not be copied to many databases.

Each tenant that replays gets times and random numbers of its own. To find out whether these appear in any row, the
migrations are replayed twice with the clock and the random numbers replaced by different constants; migrations that
use neither need no replay.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from freehold.migrate.split import tokens
from freehold.migrate.types import Migration
from freehold.sql.tokens import Kind

_CLOCKS = {"DATE", "TIME", "DATETIME", "JULIANDAY", "UNIXEPOCH", "STRFTIME", "TIMEDIFF"}
_WORDS = {"CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"}
_FRACTIONS = {"subsec", "subsecond"}  # as the first argument they also mean the current time


class Frozen(Struct, frozen=True):
    """The constants for the clock and for random numbers."""

    date: str
    time: str
    number: int


# They differ in every part; the numbers also in their sign and their remainders.
ONE = Frozen("2001-02-03", "04:05:06", -(2**62))
OTHER = Frozen("2013-12-21", "17:48:59", 2**62 + 1)


class _Call(Struct):
    """An open parenthesis: the function before it, and what was seen inside so far."""

    function: str
    commas: int = 0
    is_empty: bool = True


def freeze(migrations: Sequence[Migration], frozen: Frozen) -> list[Migration] | None:
    """The migrations with the clock and the random numbers replaced, or None if they use neither."""
    found = []
    uses_any = False
    for migration in migrations:
        statements = tuple(_freeze(sql, frozen) for sql in migration.statements)
        words = (migration.sql[start:end] for kind, start, end in tokens(migration.sql) if kind is Kind.WORD)
        uses_any |= statements != migration.statements or any(word.upper() == "RANDOMBLOB" for word in words)
        head = "-- foreign_keys: off\n" if migration.foreign_keys_off else ""
        found.append(msgspec.structs.replace(migration, sql=head + ";\n".join(statements)))
    return found if uses_any else None


def _freeze(sql: str, frozen: Frozen) -> str:
    moment = f"'{frozen.date} {frozen.time}'"
    moments = {"CURRENT_DATE": f"'{frozen.date}'", "CURRENT_TIME": f"'{frozen.time}'"}
    made: list[str] = []
    calls = [_Call("")]
    word = ""
    at = 0
    for kind, start, end in tokens(sql):
        text = sql[start:end]
        made.append(sql[at:start])
        at = end
        if kind is Kind.OTHER:
            for sign in text:
                made.append(_sign(sign, word, calls, moment, frozen.number))
                word = ""
            continue
        call = calls[-1]
        word = text.upper() if kind is Kind.WORD else ""
        if word in _WORDS:
            text = moments.get(word, moment)
        elif word == "RANDOM" and sql[end:].lstrip().startswith("("):
            text = "ifnull"
        elif kind in {Kind.STRING, Kind.QUOTED} and call.function in _CLOCKS:
            said = text[1:-1].lower()
            if said == "now":
                text = moment
            elif said in _FRACTIONS and call.is_empty:
                text = f"{moment}, {text}"
        call.is_empty = False
        made.append(text)
    return "".join([*made, sql[at:]])


def _sign(sign: str, word: str, calls: list[_Call], moment: str, number: int) -> str:
    """The text to write for an operator or a bracket; updates `calls`."""
    if sign == "(":
        calls[-1].is_empty = False
        calls.append(_Call(word))
    elif sign == ")" and len(calls) > 1:
        call = calls.pop()
        if call.function == "RANDOM" and call.is_empty:
            return f"{number}, 0)"
        if call.function == "STRFTIME" and not call.is_empty and not call.commas:
            return f", {moment})"
        if call.function in _CLOCKS and call.function != "STRFTIME" and call.is_empty:
            return f"{moment})"
    else:
        calls[-1].commas += sign == ","
        calls[-1].is_empty = False
    return sign
