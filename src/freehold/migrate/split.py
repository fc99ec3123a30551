"""Cuts a script into statements. SQLite itself is asked where a statement ends."""

import sqlite3

from msgspec import Struct

from freehold.migrate.faults import BadMigration, Fault
from freehold.migrate.tokens import tokens
from freehold.sql.tokens import Kind

MAX_SCRIPT_BYTES = 1024 * 1024


class Statement(Struct, frozen=True):
    """One statement without its closing `;`. `line` (from 1) is where its first token stands."""

    sql: str
    line: int


def split(sql: str) -> list[Statement]:
    """Give the statements of a script in order; pieces that hold only comments vanish.

    Takes time in proportion to the script, whatever it holds.

    Raises:
        BadMigration: over 1 MiB, not text, or a literal, comment or trigger that is not closed.
    """
    _require_text(sql)
    found: list[Statement] = []
    start = end = -1  # of the statement at hand, from its first token to its last
    line, counted = 1, 0  # the line that position `counted` stands on
    # A trigger's body holds `;` and ends with `; END ;` alone. Only there SQLite is asked again: to ask at
    # every `;` would take quadratic time.
    in_trigger = after_semicolon = at_end_word = False
    for kind, token_start, token_end in tokens(sql):
        if kind is not Kind.SEMICOLON:
            if start < 0:
                start = token_start
                line, counted = line + sql.count("\n", counted, start), start
            at_end_word = after_semicolon and sql[token_start:token_end].upper() == "END"
            after_semicolon = False
        elif start < 0:
            continue
        elif (at_end_word or not in_trigger) and sqlite3.complete_statement(sql[start:token_end]):
            found.append(Statement(sql[start:end], line))
            start = -1
            in_trigger = at_end_word = False
            continue
        else:
            in_trigger = after_semicolon = True
            at_end_word = False
        end = token_end
    if start >= 0:
        if not sqlite3.complete_statement(sql[start:end] + ";"):
            raise BadMigration([Fault(reason="this trigger is not closed; end it with `; END;`", line=line)])
        found.append(Statement(sql[start:end], line))
    return found


def _require_text(sql: str) -> None:
    try:
        size_bytes = len(sql.encode())
    except UnicodeEncodeError as error:
        raise _at(sql, error.start, "this is not valid Unicode text; save it as UTF-8") from None
    if size_bytes > MAX_SCRIPT_BYTES:
        reason = f"the script has {size_bytes} bytes, over the limit of {MAX_SCRIPT_BYTES}; divide it"
        raise BadMigration([Fault(reason=reason)])
    if (found := sql.find("\x00")) >= 0:
        raise _at(sql, found, "a NUL character ends SQL text, wherever it stands; remove it")


def _at(sql: str, position: int, reason: str) -> BadMigration:
    return BadMigration([Fault(reason=reason, line=sql.count("\n", 0, position) + 1)])
