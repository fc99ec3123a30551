"""SQL text without what has no meaning: comments, white space, the case of names and keywords, quotes around names.

Engines store a migration's definitions in different forms: SQLite quotes a table's name when it is renamed, Turso's
engine rewrites every definition. Two texts with the same canonical words are the same definition.
"""

import re
from collections.abc import Iterator, Sequence, Set
from functools import lru_cache

from msgspec import Struct

from freehold.migrate.names import folded, literal
from freehold.migrate.split import tokens
from freehold.sql.tokens import Kind, Span

_AROUND_SIGNS = re.compile(r"\s*([(),])\s*")
# Without capitals; for how it is written see `freehold.sql.tokens`.
_PLAIN = re.compile(r"[^\x00-^`{-\x7f][^\x00-\x23\x25-/:-^`{-\x7f]*")
# How a table constraint begins: a column may be called `check`, but is then followed by other words.
_CONSTRAINTS = {("primary", "key"), ("foreign", "key"), ("unique", "("), ("check", "(")}
_NAMED_CONSTRAINTS = {"primary", "unique", "check", "foreign"}
# Words that a DEFAULT may consist of without being a string.
_VALUES = {"null", "true", "false", "current_time", "current_date", "current_timestamp"}


class Item(Struct, frozen=True):
    """One column or constraint between the parentheses of a CREATE TABLE."""

    words: tuple[str, ...]

    @property
    def column(self) -> str:
        """The column's name in lower case; empty for a table constraint."""
        words = self.words
        is_named = words[0] == "constraint" and words[2:3] and words[2] in _NAMED_CONSTRAINTS
        return "" if is_named or words[:2] in _CONSTRAINTS else unwrapped(words[0])


def canonical(sql: str, strings: Set[str] = frozenset()) -> tuple[str, ...]:
    """The words of a statement: names and keywords in lower case, strings as they are, each sign on its own.

    Turso's engine writes `<>` as `!=`, `==` as `=` and LEFT JOIN as LEFT OUTER JOIN; here they are the same.
    `strings` are the double-quoted texts, quotes included, that are strings and not names.
    """
    return _kept_words(sql, frozenset(strings)) if len(sql) <= _KEPT_CHARS else _words(sql, strings)


def _words(sql: str, strings: Set[str]) -> tuple[str, ...]:
    found: list[str] = []
    for kind, start, end in tokens(sql):
        text = sql[start:end]
        if kind is Kind.QUOTED and text in strings:
            found.append(literal(text[1:-1].replace('""', '"')))
        elif kind is Kind.QUOTED:
            found.append(_name(text[1:-1].replace(text[0] * 2, text[0])))
        elif kind is Kind.OTHER:
            same = text.replace("!=", "<>").replace("==", "=")
            found += [sign for sign in same if not sign.isspace()]
        else:
            word = text if kind is Kind.STRING else folded(text)
            if word == "join" and found[-1:] in (["outer"], ["inner"]):
                found.pop()
            found.append(word)
    while found and found[-1] == ";":
        found.pop()
    return tuple(found)


# Many databases have the same schema. The cached texts may come from anyone, so the cache is small.
_kept_words = lru_cache(maxsize=1024)(_words)
_KEPT_CHARS = 2_000


def strings_in(sql: str, names: Set[str]) -> frozenset[str]:
    """The double-quoted texts, quotes included, that are strings, since they are not among `names` (in lower case).

    Source: https://www.sqlite.org/quirks.html, section 8.
    """
    if '"' not in sql:
        return frozenset()
    quoted = {sql[start:end] for kind, start, end in tokens(sql) if kind is Kind.QUOTED and sql[start] == '"'}
    return frozenset(text for text in quoted if folded(text[1:-1].replace('""', '"')) not in names)


def unwrapped(word: str) -> str:
    """The name behind a canonical word."""
    return word[1:-1] if word.startswith("\x02") else word


def named(word: str) -> str:
    """The name that a canonical word stands for, if any: a string may be a name as well, as in FROM 't'."""
    return folded(word[1:-1].replace("''", "'")) if word[:1] == "'" else unwrapped(word)


def items(words: Sequence[str]) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The columns and constraints of a CREATE TABLE, and the words after its closing parenthesis."""
    if "(" not in words or "select" in words[: words.index("(")]:
        return (), ()
    depth, start, found = 0, words.index("(") + 1, []
    for at in range(start - 1, len(words)):
        depth += (words[at] == "(") - (words[at] == ")")
        if (words[at] == "," and depth == 1) or depth == 0:
            found.append(Item(tuple(words[start:at])))
            start = at + 1
        if depth == 0:
            break
    return tuple(item for item in found if item.words), tuple(words[start:])


def default_text(item_text: str) -> str | None:
    """The expression after DEFAULT in a column's text; None if there is none."""
    found = iter(tokens(item_text))
    depth = 0
    for kind, start, end in found:
        text = item_text[start:end]
        depth += text.count("(") - text.count(")") if kind is Kind.OTHER else 0
        if kind is Kind.WORD and text.lower() == "default" and not depth:
            return _expression(item_text, list(found))
    return None


def _expression(sql: str, found: Sequence[Span]) -> str | None:
    if not found:
        return None
    kind, start, end = found[0]
    if kind is Kind.QUOTED:  # a string here, and a name anywhere else
        return literal(sql[start + 1 : end - 1].replace(sql[start] * 2, sql[start]))
    if kind is Kind.STRING:
        return sql[start:end]
    if sql[start] == "(":
        return sql[start : _closed(sql, found)]
    for following in found[1:]:  # 1.5, x'00' and -1e-3 are several tokens, with no space between
        if following.start > end and sql[start:end].strip("+-"):
            break
        end = following.end
    text = sql[start:end]
    is_string = kind is Kind.WORD and not text[0].isdigit() and text.lower() not in _VALUES and "'" not in text
    return literal(text) if is_string else text


def _closed(sql: str, found: Sequence[Span]) -> int:
    """The position after the parenthesis that closes the first one."""
    depth = 0
    for kind, start, end in found:
        for at in range(start, end) if kind is Kind.OTHER else ():
            depth += (sql[at] == "(") - (sql[at] == ")")
            if not depth:
                return at + 1
    return len(sql)


def renamed(sql: str, name: str) -> str:
    """The CREATE TABLE statement with another name, already quoted. `sql` is as stored in the schema table."""
    is_next = False
    for kind, start, end in tokens(sql):
        if is_next:  # CREATE TABLE name: the engine has left out IF NOT EXISTS
            return f"{sql[:start]}{name}{sql[end:]}"
        is_next = kind is Kind.WORD and sql[start:end].lower() == "table"
    return sql


def clauses(words: Sequence[str], keyword: str) -> Iterator[tuple[str, ...]]:
    """The words in the parentheses after each `keyword` of an item, e.g. of its CHECKs."""
    at = 0
    while at < len(words) - 1:
        if words[at] == keyword and words[at + 1] == "(":
            end = closing(words, at + 1)
            yield tuple(words[at + 2 : end])
            at = end
        at += 1


def bare(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words without parentheses around all of them: some engines keep those of a default."""
    while words[:1] == ("(",) and closing(words, 0) == len(words) - 1:
        words = words[1:-1]
    return words


def default_words(text: str) -> tuple[str, ...]:
    """The words of a DEFAULT as the engine reports it: a single name is a string, as is anything in double quotes."""
    found = list(tokens(text))
    if len(found) == 1 and found[0].kind in (Kind.QUOTED, Kind.WORD):
        words = canonical(_expression(text, found) or text)
    else:
        words = canonical(text, strings_in(text, frozenset()))
    return bare(words)


def type_words(kind: str, words: Sequence[str]) -> str:
    """A column's type with its numbers, `varchar(20)`: Turso's engine omits them from its answer."""
    at = 1 + len(kind.split())
    if "(" not in kind and kind and words[at : at + 1] == ("(",):
        kind += "".join(words[at : closing(words, at) + 1])
    return _AROUND_SIGNS.sub(r"\1", kind)


def closing(words: Sequence[str], opening: int) -> int:
    """The index of the parenthesis that closes the one at `opening`."""
    depth = 0
    for at in range(opening, len(words)):
        depth += (words[at] == "(") - (words[at] == ")")
        if depth == 0:
            return at
    return len(words)


def _name(name: str) -> str:
    """The name as a word; one that is a name only in quotes is marked, so that it equals no other word."""
    name = folded(name)
    return name if _PLAIN.fullmatch(name) else f"\x02{name}\x03"
