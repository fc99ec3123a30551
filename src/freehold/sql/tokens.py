"""Cuts SQL into tokens exactly where SQLite does. It never fails: SQLite itself refuses invalid text later.

Source: SQLite's `tokenize.c` (the same rules in 3.45, which sqld bundles, and today's).
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum, auto
from typing import NamedTuple

# Reading a long text in Python holds the interpreter lock, in whatever thread. `breathe` calls the pause that `paced`
# set for the thread, if any.

_local = threading.local()
EVERY = 64  # tokens between two pauses: about 100 µs


def breathe() -> None:
    """Let other threads run, if this thread is `paced`."""
    if pause := getattr(_local, "pause", None):
        pause()


@contextlib.contextmanager
def paced(pause: Callable[[], None]) -> Iterator[None]:
    """Inside this context, reading in this thread calls `pause` now and then."""
    before = getattr(_local, "pause", None)
    _local.pause = pause
    try:
        yield
    finally:
        _local.pause = before


class Kind(IntEnum):
    """What a token is."""

    WORD = auto()  # keyword, bare identifier or number
    QUOTED = auto()  # an identifier in "..", `..` or [..]; `text` is without quotes
    STRING = auto()  # '..'; `text` is without quotes
    VARIABLE = auto()  # ?, ?1, :a, @a, $a
    OTHER = auto()  # one character of anything else
    SPACE = auto()  # white space or a comment; only `spans` yields it
    SEMICOLON = auto()  # a `;`, where `migrate.split` needs it apart from OTHER


class Token(NamedTuple):
    """One token; words in lower case, since SQLite folds ASCII case only to compare."""

    kind: Kind
    text: str


class Span(NamedTuple):
    """`sql[start:end]` is a token, or the space between two of them."""

    kind: Kind
    start: int
    end: int


# Reading them takes Python a second or less.
MAX_TOKENS = 200_000


class TooManyTokens(Exception):
    """The text has more than `MAX_TOKENS` tokens."""


# A character that may be in a word. Written as those that may not, all in ASCII: `re` compiles ranges up to U+10FFFF
# for milliseconds, in each process that starts.
IN_WORD = r"[^\x00-\x23\x25-/:-@\[-^`{-\x7f]"
# And one that may begin it.
BEGINS_WORD = r"(?!\ufeff)[^\x00-/:-@\[-^`{-\x7f]"

# A byte order mark is white space where a token may start, and part of a word elsewhere. A variable may end in
# Tcl's `(..)`, which swallows quotes. An unclosed literal or comment reaches to the end.
_PARTS = rf"""
      (?P<space>    [ \t\n\v\f\r\ufeff]++ | --[^\n]*+ | /\*(?s:.)*?\*/ | /\*(?s:.)*+ )
    | (?P<word>     {BEGINS_WORD}{IN_WORD}*+ )
    | (?P<string>   '[^']*+(?:''[^']*+)*+(?:'|\Z) )
    | (?P<quoted>   "[^"]*+(?:""[^"]*+)*+(?:"|\Z) | `[^`]*+(?:``[^`]*+)*+(?:`|\Z) | \[[^\]]*+(?:\]|\Z) )
    | (?P<variable> [?][0-9]*+ | [:@\#$](?:{IN_WORD}|::)++(?:\([^ \t\n\v\f\r)]*+\)?)? )
"""
_TOKEN = re.compile(rf"{_PARTS} | (?P<other> (?s:.) )", re.VERBOSE)
_STATEMENT = re.compile(rf"(?:{re.sub('[?]P<[a-z]+>', '?:', _PARTS)} | [^;] )++", re.VERBOSE)
_LAST = EVERY - 1
# By the number of the group; space is no token.
_KINDS = (None, None, Kind.WORD, Kind.STRING, Kind.QUOTED, Kind.VARIABLE, Kind.OTHER)


def tokens(sql: str) -> Iterator[Token]:
    """Tokens in order, without white space and comments. Pauses now and then, see `paced`."""
    for number, found in enumerate(_TOKEN.finditer(sql)):
        if number % EVERY == _LAST:
            breathe()
        kind = _KINDS[found.lastindex or 0]
        if kind is Kind.WORD:
            yield Token(kind, found[0].lower())
        elif kind is Kind.STRING or kind is Kind.QUOTED:
            yield Token(kind, _unquote(found[0]))
        elif kind is not None:
            yield Token(kind, found[0])


def statements(sql: str) -> Iterator[str]:
    """The text of each statement, or of each part of a trigger, as ended by `;`. Faster than reading the tokens."""
    for number, found in enumerate(_STATEMENT.finditer(sql)):
        if number % EVERY == _LAST:
            breathe()
        yield found[0]


def statement_spans(sql: str) -> Iterator[tuple[int, int]]:
    """Where each of `statements` starts and ends, for texts of moderate length."""
    for found in _STATEMENT.finditer(sql):
        yield found.span()


def spans(sql: str) -> Iterator[Span]:
    """A text of moderate length as tokens and space. An unclosed token reaches to the end: see `is_closed`."""
    for found in _TOKEN.finditer(sql):
        yield Span(_KINDS[found.lastindex or 0] or Kind.SPACE, *found.span())


def is_closed(text: str) -> bool:
    """Whether this string, quoted name or comment is closed; True for anything else."""
    if text.startswith("/*"):
        return len(text) > 3 and text.endswith("*/")
    if text.startswith("["):
        return text.endswith("]")
    return text[:1] not in {"'", '"', "`"} or text.count(text[0]) % 2 == 0


def placed(sql: str) -> Iterator[tuple[Token, int, int]]:
    """Tokens with where each starts and ends, for texts of moderate length."""
    places = (found for found in _TOKEN.finditer(sql) if _KINDS[found.lastindex or 0] is not None)
    for token, found in zip(tokens(sql), places, strict=True):
        yield token, *found.span()


def counted(words: Iterable[Token]) -> Iterator[Token]:
    """Yield the same tokens. Raises `TooManyTokens`."""
    for number, word in enumerate(words):
        if number >= MAX_TOKENS:
            raise TooManyTokens
        yield word


def variables(sql: str) -> list[tuple[int, int]]:
    """Where each variable (`?`, `?1`, `:a`, `@a`, `$a`) starts and ends, in order."""
    return [match.span() for match in _TOKEN.finditer(sql) if match.lastgroup == "variable"]


def _unquote(text: str) -> str:
    quote = text[0]
    if quote == "[":
        return text[1:].removesuffix("]")
    inner = text[1:-1] if len(text) > 1 and text.endswith(quote) else text[1:]
    return inner.replace(quote * 2, quote)
