"""Virtual tables: where each keeps its rows, what its arguments mean, and the commands of full-text tables.

Sources: https://www.sqlite.org/fts5.html, fts3.html, rtree.html and geopoly.html.
"""

import re
from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from freehold.lru import cached_if_short
from freehold.migrate.canonical import canonical
from freehold.migrate.names import folded, quoted
from freehold.migrate.table_text import Token, lexed
from freehold.sql.shadow import SUFFIXES
from freehold.sql.tokens import IN_WORD, Kind

_TREES = ("rtree", "rtree_i32")
_TEXTS = ("fts5", "fts4", "fts3")
_SHOWS = {"fts5vocab", "fts4aux", "fts3tokenize", "dbstat", "sqlite_stmt"}
# The defaults of options.
_USUAL = {
    "fts5": {
        "detail": "full", "columnsize": "1", "tokenize": "unicode61", "content_rowid": "rowid",
        "contentless_delete": "0", "contentless_unindexed": "0", "locale": "0", "tokendata": "0",
    },
    "fts4": {"tokenize": "simple", "matchinfo": "fts4", "order": "asc"},
    "fts3": {"tokenize": "simple"},
}  # fmt: skip
_OPTIONS_OF_FTS4 = {
    "order", "content", "matchinfo", "prefix", "compress", "uncompress", "languageid", "notindexed", "tokenize",
}  # fmt: skip
_TOKENIZE = re.compile(rf"tokenize(?!{IN_WORD})\s*=?\s*(.*)", re.IGNORECASE | re.DOTALL)
_KEPT_CHARS = 4_000


class Keeps(Enum):
    """Where a virtual table's rows are."""

    OWN = "in itself"
    OTHERS = "in another table"
    NOTHING = "nowhere"  # it can be searched, but returns no content
    SHOWS = "as a view of something"
    UNKNOWN = "unknown"


# Tables whose rows can be read and written like an ordinary table's.
READABLE = (Keeps.OWN, Keeps.OTHERS)


class VirtualColumn(Struct, frozen=True):
    """`mark` is `unindexed` for full text, `+` for an R-tree's auxiliary column."""

    name: str
    mark: str = ""


class Virtual(Struct, frozen=True):
    """`options` are those that differ from the default. Column names are in lower case; their order matters."""

    name: str
    module: str
    columns: tuple[VirtualColumn, ...]
    options: tuple[tuple[str, str], ...]
    words: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for two tables that behave alike."""
        return ("virtual", self.module, self.columns, self.options, self.words)

    def option(self, name: str) -> str | None:
        """The value of an option; None if it is left out or is the default."""
        return dict(self.options).get(name)

    @property
    def keeps(self) -> Keeps:
        """Where its rows are."""
        if self.module in _SHOWS:
            return Keeps.SHOWS
        if self.module in _TEXTS:
            content = None if self.module == "fts3" else self.option("content")
            if content is None:
                return Keeps.OWN
            return Keeps.OTHERS if content else Keeps.NOTHING
        return Keeps.OWN if self.is_tree or self.module == "geopoly" else Keeps.UNKNOWN

    @property
    def content(self) -> str:
        """The table or view whose rows it indexes, in lower case; empty if none."""
        return folded(self.option("content") or "") if self.keeps is Keeps.OTHERS else ""

    @property
    def content_rowid(self) -> str:
        """The column of its content table that holds the row's number, in lower case."""
        return folded(self.option("content_rowid") or "rowid")

    @property
    def is_text(self) -> bool:
        """Whether it is a full-text index."""
        return self.module in _TEXTS

    @property
    def is_fts5(self) -> bool:
        """Whether it is a full-text index that has settings and can be compared with its content."""
        return self.module == "fts5"

    @property
    def is_tree(self) -> bool:
        """Whether it is an R-tree."""
        return self.module in _TREES

    def shadows(self, name: str = "") -> frozenset[str]:
        """The names, in lower case, of its shadow tables if the table is called `name`."""
        owner = folded(name or self.name)
        return frozenset(f"{owner}_{suffix}" for suffix in SUFFIXES.get(self.module, ()))


def rebuild_sql(name: str) -> str:
    """The statement that rebuilds a full-text index from its content."""
    return f"INSERT INTO {quoted(name)} ({quoted(name)}) VALUES ('rebuild')"


def check_sql(name: str, *, is_compared: bool = True) -> str:
    """A statement that fails if an FTS5 index is damaged or, if `is_compared`, differs from its content."""
    return f"INSERT INTO {quoted(name)} ({quoted(name)}, rank) VALUES ('integrity-check', {int(is_compared)})"


@cached_if_short(512, _KEPT_CHARS)
def virtual_of(sql: str) -> Virtual | None:
    """The content of a CREATE VIRTUAL TABLE; None for the statement of an ordinary table."""
    found = list(lexed(sql))
    if not (len(found) > 2 and found[1].is_word("virtual")):
        return None
    using = next((at for at, token in enumerate(found) if at > 3 and token.is_word("using")), len(found) - 1)
    name = found[using - 1].word
    module = found[using + 1].word if using + 1 < len(found) else ""
    arguments = _arguments(sql, found[using + 2 :])
    if module == "fts5":
        return _fts5(name, arguments)
    if module in ("fts3", "fts4"):
        return _fts4(name, module, arguments)
    if module in _TREES or module == "geopoly":
        marks = [argument.lstrip() for argument in arguments]
        columns = [VirtualColumn(_first_name(mark.lstrip("+")), "+" if mark[:1] == "+" else "") for mark in marks]
        return Virtual(name, module, tuple(columns), ())
    return Virtual(name, module, (), (), canonical(sql)[3:])


def _arguments(sql: str, found: Sequence[Token]) -> list[str]:
    """The texts between the commas of the argument list."""
    depth, start, arguments = 0, -1, []
    for token in found:
        depth += token.is_word("(") - token.is_word(")")
        if depth == 1 and start < 0:
            start = token.end
        elif start >= 0 and (depth == 0 or (depth == 1 and token.is_word(","))):
            arguments.append(sql[start : token.start].strip())
            start = token.end
            if depth == 0:
                break
    return [argument for argument in arguments if argument]


def _fts5(name: str, arguments: Sequence[str]) -> Virtual:
    columns, options = [], []
    for argument in arguments:
        found = list(lexed(argument))
        if len(found) > 2 and found[0].kind is Kind.WORD and found[1].is_word("="):
            options.append((found[0].word, _value(argument[found[1].end :])))
        else:
            is_unindexed = any(token.is_word("unindexed") for token in found[1:])
            columns.append(VirtualColumn(found[0].word, "unindexed" if is_unindexed else ""))
    return _text(name, "fts5", columns, options)


def _fts4(name: str, module: str, arguments: Sequence[str]) -> Virtual:
    columns, options = [], []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = key.strip().lower()
        if found := _TOKENIZE.fullmatch(argument):
            options.append(("tokenize", found[1].strip()))
        elif equals and key in _OPTIONS_OF_FTS4 and module == "fts4":
            options.append((key, _value(value)))
        else:
            columns.append(VirtualColumn(_first_name(argument)))
    return _text(name, module, columns or [VirtualColumn("content")], options)


def _text(name: str, module: str, columns: Sequence[VirtualColumn], options: Sequence[tuple[str, str]]) -> Virtual:
    usual = _USUAL[module]
    told = [(key, _tidy(key, value)) for key, value in options]
    said = sorted((key, value) for key, value in told if usual.get(key) != value)
    return Virtual(name, module, tuple(columns), tuple(said))


def _tidy(key: str, value: str) -> str:
    if key == "prefix":
        return " ".join(sorted(re.split(r"[\s,]+", value.strip()), key=lambda size: (len(size), size)))
    if key == "tokenize" and not re.search("['\"]", value):
        return " ".join(value.split())
    return value


def _value(text: str) -> str:
    text = text.strip()
    if text[:1] in ("'", '"', "`") and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1].replace(text[0] * 2, text[0])
    return text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text


def _first_name(text: str) -> str:
    return next((token.word for token in lexed(text)), "")
