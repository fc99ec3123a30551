"""What only the text of a CREATE TABLE says: what constraints do on conflict, and which keys wait for the commit.

The engine's own answers leave these out. Source of the grammar: https://www.sqlite.org/lang_createtable.html.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from freehold.lru import cached_if_short
from freehold.migrate.canonical import bare, canonical, strings_in
from freehold.migrate.names import ROWIDS, folded
from freehold.migrate.split import tokens
from freehold.sql.tokens import Kind

# How a constraint begins. None of these can be a column's name unless it is quoted.
_TABLE_CONSTRAINTS = {"constraint", "primary", "unique", "check", "foreign"}
_CONSTRAINTS = _TABLE_CONSTRAINTS | {
    "not", "null", "default", "collate", "references", "generated", "as", "deferrable",
}  # fmt: skip
# What a constraint does by default.
_USUAL = "abort"
_KEPT_CHARS = 4_000  # the text may come from anyone


class Token(Struct, frozen=True):
    """`word` is a keyword, a name or a string, in lower case and without quotes."""

    kind: Kind
    word: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords or signs."""
        return self.kind in (Kind.WORD, Kind.OTHER) and self.word in words


class ColumnText(Struct, frozen=True):
    """`text` is the whole definition. `not_null_conflict` and `collation` are empty for the default."""

    text: str
    collation: str = ""
    not_null_conflict: str = ""
    generated: tuple[str, ...] = ()
    is_stored: bool = False


class KeyText(Struct, frozen=True):
    """A PRIMARY KEY or UNIQUE. `columns` may be in any order; `conflict` is empty for the default."""

    is_primary: bool
    columns: tuple[str, ...]
    conflict: str


class ReferenceText(Struct, frozen=True):
    """One foreign key. `parent_columns` are empty if it refers to the primary key."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    is_deferred: bool


class TableText(Struct, frozen=True):
    """`checks` are canonical words, sorted; `options` are the words after the closing parenthesis."""

    columns: Mapping[str, ColumnText]
    keys: tuple[KeyText, ...]
    checks: tuple[tuple[str, ...], ...]
    references: tuple[ReferenceText, ...]
    is_autoincrement: bool
    options: tuple[str, ...]


@cached_if_short(512, _KEPT_CHARS)
def table_text(sql: str) -> TableText:
    """The content of a CREATE TABLE as stored in the schema table."""
    found = list(lexed(sql))
    name = found[2].word if len(found) > 2 else ""
    pieces, tail = _pieces(found)
    columns = {piece[0].word for piece in pieces if not _is_constraint(piece)}
    reader = _Reader(sql, strings_in(sql, columns | {name, *ROWIDS}))
    for piece in pieces:
        reader.read(piece)
    options = {token.word for token in tail if token.is_word("strict", "without")}
    return TableText(
        reader.columns,
        tuple(reader.keys),
        tuple(sorted(reader.checks)),
        tuple(reader.references),
        reader.is_autoincrement,
        tuple(sorted(options)),
    )


def lexed(sql: str) -> Iterator[Token]:
    """The tokens with each sign on its own."""
    for kind, start, end in tokens(sql):
        text = sql[start:end]
        if kind is Kind.OTHER:
            for at, sign in enumerate(text, start=start):
                if not sign.isspace():
                    yield Token(kind, sign, at, at + 1)
        elif kind in (Kind.QUOTED, Kind.STRING):
            inner = text[1:-1] if text[0] == "[" else text[1:-1].replace(text[0] * 2, text[0])
            yield Token(kind, folded(inner), start, end)
        else:
            yield Token(kind, folded(text), start, end)


def _pieces(found: Sequence[Token]) -> tuple[list[Sequence[Token]], Sequence[Token]]:
    """The tokens between the commas, and those after the closing parenthesis."""
    depth, start = 0, -1
    pieces: list[Sequence[Token]] = []
    for at, token in enumerate(found):
        depth += token.is_word("(") - token.is_word(")")
        if depth == 1 and start < 0:
            start = at + 1
        elif (depth == 1 and token.is_word(",")) or (depth == 0 and start >= 0):
            pieces.append(found[start:at])
            start = at + 1
            if depth == 0:
                return [piece for piece in pieces if piece], found[start:]
    return [], ()


def _is_constraint(piece: Sequence[Token]) -> bool:
    return piece[0].kind is Kind.WORD and piece[0].word in _TABLE_CONSTRAINTS


class _Reader:
    """Reads columns and constraints in order: a DEFERRABLE belongs to the foreign key before it."""

    def __init__(self, sql: str, strings: frozenset[str]) -> None:
        self._sql = sql
        self._strings = strings
        self.columns: dict[str, ColumnText] = {}
        self.keys: list[KeyText] = []
        self.checks: list[tuple[str, ...]] = []
        self.references: list[ReferenceText] = []
        self.is_autoincrement = False

    def read(self, piece: Sequence[Token]) -> None:
        """Read one column or table constraint."""
        name = "" if _is_constraint(piece) else piece[0].word
        self._piece, self._at = piece, 1 if name else 0
        self._skip_to_constraint()
        self._column = ColumnText(self._text(0, len(piece)))
        while self._at < len(piece):
            self._constraint(name)
        if name:
            self.columns[name] = self._column

    def _constraint(self, name: str) -> None:  # noqa: PLR0912 - one branch for each kind
        if self._take("constraint"):
            self._at += 1
        elif self._take("primary", "key"):
            self._key(name, is_primary=True)
        elif self._take("unique"):
            self._key(name, is_primary=False)
        elif self._take("check"):
            begun, end = self._parentheses()
            self.checks.append(self._words(begun, end))
            self._conflict()
        elif self._take("foreign", "key"):
            columns = self._names()
            if self._take("references"):
                self._reference(columns)
        elif self._take("references"):
            self._reference((name,))
        elif self._take("not", "deferrable"):
            self._initially()
            self._defer(is_deferred=False)
        elif self._take("deferrable"):
            self._defer(is_deferred=self._initially())
        elif self._take("not", "null"):
            self._column = replace(self._column, not_null_conflict=self._conflict())
        elif self._take("default"):
            if not self._is_next("("):
                self._at += 1  # NULL is no constraint here
            self._skip_to_constraint()
        elif self._take("collate"):
            collation = self._next()
            self._column = replace(self._column, collation="" if collation == "binary" else collation)
        elif self._take("generated", "always", "as") or self._take("as"):
            begun, end = self._parentheses()
            words = self._words(begun, end)
            self._column = replace(self._column, generated=words, is_stored=self._take("stored"))
        else:
            self._at += 1
            self._skip_to_constraint()

    def _key(self, name: str, *, is_primary: bool) -> None:
        columns = [name]
        if name:
            _ = self._take("asc") or self._take("desc")
        else:
            begun, end = self._parentheses()
            inner = self._piece[begun:end]
            self.is_autoincrement |= any(token.is_word("autoincrement") for token in inner)
            columns = [token.word for at, token in enumerate(inner) if at == 0 or inner[at - 1].is_word(",")]
        self.keys.append(KeyText(is_primary, tuple(sorted(columns)), self._conflict()))
        self.is_autoincrement |= is_primary and self._take("autoincrement")

    def _reference(self, columns: tuple[str, ...]) -> None:
        parent = self._next()
        to = self._names() if self._is_next("(") else ()
        self.references.append(ReferenceText(columns, parent, to, is_deferred=False))
        self._skip_to_constraint()

    def _defer(self, *, is_deferred: bool) -> None:
        if self.references:
            self.references[-1] = replace(self.references[-1], is_deferred=is_deferred)

    def _initially(self) -> bool:
        return self._take("initially") and self._next() == "deferred"

    def _conflict(self) -> str:
        if not self._take("on", "conflict"):
            return ""
        found = self._next()
        return "" if found == _USUAL else found

    def _names(self) -> tuple[str, ...]:
        begun, end = self._parentheses()
        return tuple(token.word for token in self._piece[begun:end] if not token.is_word(","))

    def _parentheses(self) -> tuple[int, int]:
        """The range inside the next parentheses; reading continues after them."""
        depth, begun = 0, self._at + 1
        while self._at < len(self._piece):
            token = self._piece[self._at]
            depth += token.is_word("(") - token.is_word(")")
            self._at += 1
            if depth <= 0:
                return begun, self._at - 1
        return min(begun, self._at), self._at

    def _skip_to_constraint(self) -> None:
        depth = 0
        while self._at < len(self._piece):
            token = self._piece[self._at]
            is_action = self._at > 0 and self._piece[self._at - 1].is_word("set")  # ON DELETE SET NULL, SET DEFAULT
            if depth == 0 and token.kind is Kind.WORD and token.word in _CONSTRAINTS and not is_action:
                return
            depth += token.is_word("(") - token.is_word(")")
            self._at += 1

    def _take(self, *words: str) -> bool:
        if not self._is_next(*words):
            return False
        self._at += len(words)
        return True

    def _is_next(self, *words: str) -> bool:
        found = self._piece[self._at : self._at + len(words)]
        return len(found) == len(words) and all(map(Token.is_word, found, words))

    def _next(self) -> str:
        self._at += 1
        return self._piece[self._at - 1].word if self._at <= len(self._piece) else ""

    def _text(self, begun: int, end: int) -> str:
        return self._sql[self._piece[begun].start : self._piece[end - 1].end] if begun < end else ""

    def _words(self, begun: int, end: int) -> tuple[str, ...]:
        return bare(canonical(self._text(begun, end), self._strings))
