"""The meaning of an index's, view's or trigger's definition, as words that can be compared."""

from collections.abc import Iterator, Mapping, Sequence, Set

from freehold.migrate.canonical import bare, canonical, items, named, strings_in
from freehold.migrate.names import ROWIDS
from freehold.migrate.table_text import Token, lexed
from freehold.sql.tokens import Kind

# A value follows these words, so double quotes may hold a string there; after other words they hold a name.
_BEFORE_VALUES = {
    "select", "distinct", "all", "where", "and", "or", "not", "in", "like", "glob", "match", "regexp", "between",
    "then", "when", "else", "case", "on", "by", "having", "limit", "offset", "is", "values", "set", "returning",
    "escape", "from",
}  # fmt: skip
_EVENTS = {"insert", "update", "delete"}
_ALWAYS = frozenset({*ROWIDS, "new", "old", "excluded", "main", "temp"})


def index_words(sql: str, columns: Set[str], parts: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
    """The words of a CREATE INDEX: each column with its collation and order, unless they are the default.

    `parts` are collation and order as the engine reports them; `columns` are the names of the table's columns.
    """
    words = _without_if(canonical(sql, strings_in(sql, columns | _ALWAYS | _names(sql))))
    if "(" not in words:
        return words
    found, tail = items(words)
    # The engine and the text must agree on the number of columns; otherwise only the text is used.
    if len(found) != len(parts):
        return words
    told: list[str] = []
    for item, (collation, is_descending) in zip(found, parts, strict=True):
        told += [",", *_alone(item.words)]
        told += ["collate", collation] if collation != "binary" else []
        told += ["desc"] if is_descending else []
    return (*words[: words.index("(")], "(", *told[1:], ")", *tail[:1], *bare(tail[1:]))


def _alone(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of one column without those for collation and order."""
    if words[-1:] in (("asc",), ("desc",)) and len(words) > 1:
        words = words[:-1]
    if words[-2:-1] == ("collate",):
        words = words[:-2]
    words = bare(words)
    if len(words) == 1 and words[0].startswith("'"):  # only a name can stand there
        words = (named(words[0]),)
    return words


def view_words(sql: str, names: Set[str]) -> tuple[str, ...]:
    """The words of a CREATE VIEW; `names` are the tables, views and columns that it may refer to."""
    return _without_if(canonical(sql, strings_in(sql, names | _ALWAYS | _names(sql))))


def trigger_words(sql: str, names: Set[str]) -> tuple[str, ...]:
    """The words of a CREATE TRIGGER, with BEFORE written out and without FOR EACH ROW, as both are the default."""
    words = view_words(sql, names)
    body = words.index("begin") if "begin" in words else len(words)
    head = without(words[:body], ("for", "each", "row"))
    if head[3:4] and head[3] in _EVENTS:
        head = (*head[:3], "before", *head[3:])
    return (*head, *words[body:])


def without(words: tuple[str, ...], phrase: tuple[str, ...], places: int | None = None) -> tuple[str, ...]:
    """The words without the first such phrase, if there is one that starts at one of the first `places`."""
    for at in range(len(words))[:places]:
        if words[at : at + len(phrase)] == phrase:
            return words[:at] + words[at + len(phrase) :]
    return words


def _without_if(words: tuple[str, ...]) -> tuple[str, ...]:
    return without(words, ("if", "not", "exists"), 3)


def _names(sql: str) -> frozenset[str]:
    """The names that the text itself reveals: those that are qualified, or in a place where no value can be."""
    return frozenset(_named([*lexed(sql)])) if '"' in sql else frozenset()


def _named(found: Sequence[Token]) -> Iterator[str]:
    last = len(found) - 1
    for at, token in enumerate(found):
        if token.kind is Kind.WORD:
            yield token.word
        elif token.kind is Kind.QUOTED:
            before = found[at - 1] if at else token
            is_qualified = before.is_word(".") or (at < last and found[at + 1].is_word(".", "("))
            if is_qualified or before.is_word(")") or _ends_a_term(before):
                yield token.word


def _ends_a_term(token: Token) -> bool:
    """Whether only a name can follow, such as a column's alias."""
    if token.kind is Kind.WORD:
        return token.word not in _BEFORE_VALUES
    return token.kind in (Kind.QUOTED, Kind.STRING)


def names_of(words: Sequence[str], tables: Mapping[str, Set[str]], *, but: str = "") -> frozenset[str]:
    """All names that a definition may refer to: tables, views, and the columns of those among its words but `but`."""
    own = {word for word in words if word in tables and word != but}
    return frozenset(tables).union(*(tables[name] for name in own))
