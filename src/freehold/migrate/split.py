"""Cuts a script into tokens and statements. SQLite itself decides where a statement ends."""

import re
import sqlite3
from collections.abc import Iterator

from msgspec import Struct

from freehold.migrate.faults import BadMigration, Fault
from freehold.sql.tokens import Kind, Span, is_closed, spans

MAX_SCRIPT_BYTES = 1024 * 1024


class Statement(Struct, frozen=True):
    """One statement without its closing `;`. `line` (from 1) is that of its first token."""

    sql: str
    line: int


def split(sql: str) -> list[Statement]:
    """Return the statements of a script in order; pieces that hold only comments are left out.

    The time is proportional to the length of the script, whatever its content.

    Raises:
        BadMigration: it is over 1 MiB, not text, or has a literal, comment or trigger that is not closed.
    """
    _require_text(sql)
    found: list[Statement] = []
    start = end = -1  # of the current statement, from its first token to its last
    line, counted = 1, 0  # the line of position `counted`
    # A trigger's body contains `;` and ends only with `; END ;`. SQLite is asked again only there: asking at every
    # `;` would take quadratic time.
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


# The tokens of a migration: those of `freehold.sql.tokens`, without what no file may contain.
#
# Operators come in runs, since the fingerprints stored in databases were computed from these.

_UNCLOSED = {
    "'": "this string is not closed; end it with ' (a quote inside is written twice)",
    '"': 'this quoted name is not closed; end it with "',
    "`": "this quoted name is not closed; end it with `",
    "[": "this quoted name is not closed; end it with ]",
    "/": "this comment is not closed; end it with */",
}
_BAD = {
    "\ufeff": "a byte order mark; save the file as UTF-8 without one",
    "\x0b": "a vertical tab; replace it with a space",
}
_BAD_CHARACTER = re.compile("[\ufeff\x0b]")
_ALONE = frozenset(";?:@#$/-\x1c\x1d\x1e\x1f")


def tokens(sql: str) -> Iterator[Span]:
    """Tokens in order, without space and comments. Raises `BadMigration` for what is not closed or not allowed."""
    may_be_bad = _BAD_CHARACTER.search(sql) is not None
    run_from, end = -1, 0
    for span in spans(sql):
        kind, start, end = span
        if may_be_bad:
            _check(sql, span)
        if kind is Kind.OTHER and sql[start] not in _ALONE:
            if run_from < 0:
                run_from = start
            continue
        if run_from >= 0:
            yield Span(Kind.OTHER, run_from, start)
            run_from = -1
        if kind is Kind.OTHER and sql[start] == ";":
            yield Span(Kind.SEMICOLON, start, end)
            continue
        if end == len(sql) and not is_closed(sql[start:]):  # an unclosed token reaches to the end
            raise _at(sql, start, _UNCLOSED[sql[start]])
        if kind is not Kind.SPACE:
            yield span
    if run_from >= 0:
        yield Span(Kind.OTHER, run_from, end)


def _check(sql: str, span: Span) -> None:
    kind, start, end = span
    is_comment = kind is Kind.SPACE and sql[start] in "-/"
    if kind in (Kind.WORD, Kind.SPACE) and not is_comment and (found := _BAD_CHARACTER.search(sql, start, end)):
        raise _at(sql, found.start(), _BAD[found[0]])
