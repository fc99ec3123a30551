"""What must be known of a statement's text before SQLite sees it."""

import functools
import re

from msgspec import Struct

from freehold.sql.tokens import Kind, tokens

_CACHED_LENGTH = 4096
_BLANK = re.compile(r"(?:[ \t\n\v\f\r;\ufeff]++|--[^\n]*+|/\*(?s:.)*?\*/)*+(?:/\*(?s:.)*+)?")
_VERBS = frozenset({"select", "values", "insert", "replace", "update", "delete"})


class Outline(Struct, frozen=True):
    """The statement's verb (of a WITH, the one that follows it), and the words of a BEGIN."""

    verb: str
    begin_words: frozenset[str] = frozenset()

    @property
    def is_insert(self) -> bool:
        return self.verb in {"insert", "replace"}

    @property
    def is_change(self) -> bool:
        return self.verb in {"insert", "replace", "update", "delete"}


def outline(sql: str) -> Outline:
    """The outline of the first statement in the text."""
    return _cached_outline(sql) if len(sql) <= _CACHED_LENGTH else _outline(sql)


def is_blank(sql: str) -> bool:
    """Whether the text holds no statement: white space, comments and semicolons only."""
    return _BLANK.fullmatch(sql) is not None


def variables(sql: str) -> list[str]:
    """The named and numbered variables with their prefixes, in order of appearance."""
    return [token.text for token in tokens(sql) if token.kind is Kind.VARIABLE and len(token.text) > 1]


def _outline(sql: str) -> Outline:
    found = tokens(sql)
    first = next((token.text for token in found if token.text != ";"), "")
    if first == "begin":
        return Outline(first, frozenset(token.text for token in found))
    if first != "with":
        return Outline(first)
    depth = 0
    for token in found:
        if token.kind is Kind.OTHER:
            depth += {"(": 1, ")": -1}.get(token.text, 0)
        elif token.kind is Kind.WORD and depth == 0 and token.text in _VERBS:
            return Outline(token.text)
    return Outline(first)


_cached_outline = functools.lru_cache(maxsize=2048)(_outline)
