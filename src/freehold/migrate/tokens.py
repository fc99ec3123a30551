"""The tokens of a migration: `freehold.sql.tokens`' own, with what no file may hold refused.

Operators come in runs, as fingerprints that databases carry were made with them.
"""

import re
from collections.abc import Iterator

from freehold.migrate.faults import BadMigration, Fault
from freehold.sql.tokens import Kind, Span, is_closed, spans

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
    """Tokens in order, without white space and comments.

    Raises:
        BadMigration: a literal or comment that is not closed, or a character that SQL cannot hold.
    """
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
        if end == len(sql) and not is_closed(sql[start:]):  # it reaches to the end then
            raise _fault(sql, start, _UNCLOSED[sql[start]])
        if kind is not Kind.SPACE:
            yield span
    if run_from >= 0:
        yield Span(Kind.OTHER, run_from, end)


def _check(sql: str, span: Span) -> None:
    kind, start, end = span
    if kind is Kind.WORD or (kind is Kind.SPACE and sql[start] not in "-/"):
        found = _BAD_CHARACTER.search(sql, start, end)
        if found:
            raise _fault(sql, found.start(), _BAD[found[0]])


def _fault(sql: str, at: int, reason: str) -> BadMigration:
    return BadMigration([Fault(reason=reason, line=sql.count("\n", 0, at) + 1)])
