"""Cuts SQL into tokens, only as finely as is needed to find statements and to read their first words.

Source: https://www.sqlite.org/lang_expr.html and SQLite's own `complete.c` and `tokenize.c`.
"""

import re
from collections.abc import Iterator
from enum import IntEnum, auto
from typing import NamedTuple

from freehold.migrate.faults import BadMigration, Fault


class Kind(IntEnum):
    """What a token is."""

    WORD = auto()  # keyword, bare identifier or number
    STRING = auto()
    QUOTED = auto()  # an identifier in "..", `..` or [..]
    PARAMETER = auto()
    SEMICOLON = auto()
    OTHER = auto()  # operators and punctuation, a run of them


class Token(NamedTuple):
    """`text[start:end]` of the SQL it was cut from."""

    kind: Kind
    start: int
    end: int


# Possessive quantifiers (`*+`) keep the scan linear: an unterminated literal is scanned once, never retried.
# Characters from U+0080 on are part of words, as in SQLite.
_TOKEN = re.compile(
    r"""
      (?P<SPACE>      [ \t\n\f\r]++ | --[^\n]*+ | /\*(?s:.)*?\*/ )
    | (?P<WORD>       [A-Za-z0-9_\x80-\ufefe\uff00-\U0010ffff][A-Za-z0-9_$\x80-\ufefe\uff00-\U0010ffff]*+ )
    | (?P<STRING>     '[^']*+(?:''[^']*+)*+' )
    | (?P<QUOTED>     "[^"]*+(?:""[^"]*+)*+" | `[^`]*+(?:``[^`]*+)*+` | \[[^\]]*+\] )
    | (?P<SEMICOLON>  ; )
    | (?P<PARAMETER>  [?][0-9]*+ | [:@\#$]+[A-Za-z0-9_$\x80-\ufefe\uff00-\U0010ffff]++ )
    | (?P<UNCLOSED>   ['"`\[] | /\* )
    | (?P<BAD>        [\ufeff\x0b] )
    | (?P<OTHER>      (?:[^\sA-Za-z0-9_'"`\[;?:@\#$/\-\x80-\U0010ffff]++ | -(?!-) | /(?!\*)) | (?s:.) )
    """,
    re.VERBOSE,
)

_UNCLOSED = {
    "'": "this string is not closed; end it with ' (a quote inside is written twice)",
    '"': 'this quoted name is not closed; end it with "',
    "`": "this quoted name is not closed; end it with `",
    "[": "this quoted name is not closed; end it with ]",
    "/*": "this comment is not closed; end it with */",
}
_BAD = {
    "\ufeff": "a byte order mark; save the file as UTF-8 without one",
    "\x0b": "a vertical tab; replace it with a space",
}


def tokens(sql: str) -> Iterator[Token]:
    """Tokens in order, without white space and comments.

    Raises:
        BadMigration: a literal or comment that is not closed, or a character that SQL cannot hold.
    """
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup
        if kind == "SPACE":
            continue
        if kind in {"UNCLOSED", "BAD"}:
            text = match.group()
            reason = _UNCLOSED[text] if kind == "UNCLOSED" else _BAD[text]
            raise BadMigration([Fault(reason=reason, line=sql.count("\n", 0, match.start()) + 1)])
        assert kind is not None
        yield Token(Kind[kind], match.start(), match.end())
