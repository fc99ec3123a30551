"""The kind of a statement by its first words, cut into words by SQLite's own rules."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from msgspec import Struct

from freehold.lru import cached_if_short
from freehold.sql.pragmas import CHECKS, OF_A_TABLE
from freehold.sql.tokens import Kind, Token, tokens

READING = frozenset({"select", "values"})
WRITING = frozenset({"insert", "replace", "update", "delete"})


class Outline(Struct, frozen=True):
    """The statement's verb (for a WITH, the one that follows it), and the words of a BEGIN."""

    verb: str
    begin_words: frozenset[str] = frozenset()

    @property
    def is_insert(self) -> bool:
        return self.verb in {"insert", "replace"}

    @property
    def is_change(self) -> bool:
        return self.verb in WRITING


class Verb(Enum):
    """What a statement does to the transaction that it runs in."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()  # of the whole transaction, not to a savepoint
    SAVEPOINT = auto()
    PRAGMA = auto()  # one that reads something
    SETTING = auto()  # a PRAGMA that sets something, ATTACH, DETACH: affects the connection from then on
    OTHER = auto()


_VERBS = {
    "begin": Verb.BEGIN,
    "commit": Verb.COMMIT,
    "end": Verb.COMMIT,
    "rollback": Verb.ROLLBACK,
    "savepoint": Verb.SAVEPOINT,
    "attach": Verb.SETTING,
    "detach": Verb.SETTING,
}
_WHOLE = frozenset({Verb.BEGIN, Verb.COMMIT, Verb.ROLLBACK})
_OF_TRANSACTIONS = frozenset(
    {"transaction", "deferred", "immediate", "exclusive", "concurrent", "readonly", "read", "write", ";"}
)
# PRAGMA name(argument) reads something for these; for others it is the same as PRAGMA name = argument.
_TELLING = OF_A_TABLE | CHECKS
_BLANK = re.compile(r"(?:[ \t\n\v\f\r;\ufeff]++|--[^\n]*+|/\*(?s:.)*?\*/)*+(?:/\*(?s:.)*+)?")


def is_blank(sql: str) -> bool:
    """Whether the text holds no statement: white space, comments and semicolons only."""
    return _BLANK.fullmatch(sql) is not None


def keyword(token: Token) -> str:
    """The token as a word, in lower case; empty for a sign, a string or a quoted name."""
    return token.text if token.kind is Kind.WORD else ""


def without_explain(words: Sequence[Token]) -> Sequence[Token]:
    """The tokens that follow EXPLAIN or EXPLAIN QUERY PLAN; all of them when they begin with neither."""
    if not words or keyword(words[0]) != "explain":
        return words
    return words[3 if [*map(keyword, words[1:3])] == ["query", "plan"] else 1 :]


def verb_of_with(words: Iterator[Token]) -> Token | None:
    """The verb after the last table expression, or None; `words`, those after WITH, are consumed up to and with it."""
    depth = 0
    before = ""
    for word in words:
        if word.kind is Kind.OTHER:
            depth += (word.text == "(") - (word.text == ")")
        elif depth == 0 and before == ")" and keyword(word) in READING | WRITING:
            return word
        before = word.text
    return None


@cached_if_short(1024)
def verb(sql: str) -> Verb:
    """The verb of one statement."""
    first, rest = _opened(sql)
    kind = _VERBS.get(first, Verb.OTHER)
    words = map(_text, rest)
    if first == "pragma":
        return _pragma(list(words))
    if kind in _WHOLE and any(word not in _OF_TRANSACTIONS for word in words):
        return Verb.OTHER  # ROLLBACK TO, or more than one statement: the server's to judge
    return kind


@cached_if_short(1024)
def reads_only(sql: str) -> bool:
    """Whether one statement certainly changes nothing; False when in doubt."""
    first, rest = _opened(sql)
    if first == "with":
        return not any(keyword(word) in WRITING for word in rest)
    return first in READING or first == "explain"


@cached_if_short(2048)
def outline(sql: str) -> Outline:
    """The outline of the first statement in the text."""
    first, rest = _opened(sql)
    if first == "begin":
        return Outline(first, frozenset(map(_text, rest)))
    following = verb_of_with(rest) if first == "with" else None
    return Outline(first if following is None else following.text)


def _pragma(words: list[str]) -> Verb:
    # [schema .] name [= value | ( value )]
    name, *rest = words[2:] if words[1:2] == ["."] else words or [""]
    if not rest or rest[0] not in {"=", "("} or (rest[0] == "(" and name in _TELLING):
        return Verb.PRAGMA
    return Verb.SETTING


def _opened(sql: str) -> tuple[str, Iterator[Token]]:
    """The first word, after empty statements, and the tokens that follow it."""
    found = tokens(sql)
    first = next((token for token in found if token != (Kind.OTHER, ";")), None)
    return "" if first is None else keyword(first), found


def _text(token: Token) -> str:
    """Words and signs as they are; a quoted name or a string is marked, so that it never equals a word."""
    return token.text if token.kind in {Kind.WORD, Kind.OTHER} else f"{token.kind.name}:{token.text}"
