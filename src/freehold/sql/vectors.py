"""Limits the arguments of libSQL's vector search, which allocates memory by the numbers in them without a check.

Measured on sqld 0.24.32: `vector_top_k(.., .., 1000000000)` and an index with `search_l=1000000000` corrupt its heap,
and `vector_top_k(.., .., 0)` or `SELECT libsql_vector_idx()` crashes it.
"""

import re
from collections.abc import Iterable

from freehold.sql.shape import Shape
from freehold.sql.tokens import Kind, Token

VECTOR_FUNCTION = "libsql_vector_idx"
VECTOR_SEARCH = "vector_top_k"
VECTOR_META = "libsql_vector_meta_shadow"
# As the engine creates it for the first index of a database. It remains when the last one is dropped.
VECTOR_META_SQL = f"CREATE TABLE {VECTOR_META} ( name TEXT PRIMARY KEY, metadata BLOB ) WITHOUT ROWID"
MAX_NEIGHBOURS = 100_000

_NO_INDEX = f"`{VECTOR_FUNCTION}` stands in CREATE INDEX only, with a column"
_LARGE_NUMBER = re.compile(r"[0-9]{6}|[0-9][eE]|0[xX]")
_WHERE_ASKED = (
    f"`{VECTOR_SEARCH}` takes an index, a vector, and a number from 1 to {MAX_NEIGHBOURS} or a parameter in its place"
)


def vector_index_fault(shape: Shape) -> str | None:
    """Why the function that creates a vector index is refused, or None."""
    if VECTOR_FUNCTION not in shape.reads:
        return None
    made = shape.made
    if made is None or made.kind != "index":
        return _NO_INDEX
    is_large = any(_LARGE_NUMBER.search(word) for word in made.words)
    return "a number that a vector index is given may have five digits" if is_large else None


def vector_function_fault(words: Iterable[Token]) -> str | None:
    """Why a text with that function is refused, or None: it reads its first argument even if it has none."""
    before = ("", "")
    for _, text in words:
        if text == ")" and before == (VECTOR_FUNCTION, "("):
            return _NO_INDEX
        before = before[1], text.lower()
    return None


def vector_search_fault(words: Iterable[Token]) -> str | None:
    """Why a text that searches vectors is refused, or None. The values of parameters are not known here."""
    search = _Search()
    for kind, text in words:
        name = text.lower()
        if kind is not Kind.OTHER and name in {"k", "natural"} and kind is not Kind.VARIABLE:
            return f"with `{VECTOR_SEARCH}`, no other column may be called `k`, and no join be NATURAL"
        if not search.takes(kind, name):
            return _WHERE_ASKED
    return None if search.is_over else _WHERE_ASKED


def wanted_parameters(words: Iterable[Token]) -> list[tuple[int, str]]:
    """The parameters that limit the results of a search: the number of each, from 1, and its name, which may be empty.

    For a text in which `vector_search_fault` finds nothing wrong.
    """
    search, found = _Search(), []
    last, numbers = 0, dict[str, int]()
    for kind, text in words:
        search.takes(kind, text.lower())
        if kind is not Kind.VARIABLE:
            continue
        name = text[1:]
        is_numbered = text[0] == "?" and name
        number = int(name) if is_numbered else numbers.setdefault(text, last + 1) if name else last + 1
        last = max(last, number)
        if search.is_at_number:
            found.append((number, name))
    return found


class _Search:
    """Follows the arguments of each call."""

    def __init__(self) -> None:
        self._stage = "outside"
        self._depth = 0
        self._commas = 0
        self._number: list[tuple[Kind, str]] = []

    @property
    def is_over(self) -> bool:
        return self._stage == "outside"

    @property
    def is_at_number(self) -> bool:
        """Whether the last token was at the argument that limits the results."""
        return self._stage == "inside" and self._commas == 2

    def takes(self, kind: Kind, name: str) -> bool:
        """Whether the next token is allowed here."""
        is_sign = kind is Kind.OTHER
        if self._stage == "named":
            self._stage, self._depth, self._commas, self._number = "inside", 1, 0, []
            return is_sign and name == "("
        if name == VECTOR_SEARCH and not is_sign:
            was_outside, self._stage = self._stage == "outside", "named"
            return was_outside
        if self._stage == "inside":
            if is_sign and name in "()":
                self._depth += 1 if name == "(" else -1
                if self._depth == 0:
                    self._stage = "outside"
                    return self._commas == 2 and self._is_number()
            if is_sign and name == "," and self._depth == 1:
                self._commas += 1
            elif self._commas == 2:
                self._number.append((kind, name))
        return True

    def _is_number(self) -> bool:
        if len(self._number) != 1:
            return False
        kind, text = self._number[0]
        if kind is Kind.VARIABLE:
            return True
        return kind is Kind.WORD and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_NEIGHBOURS


def is_too_many(value: object) -> bool:
    """Whether an argument of a vector search could ask for too many results."""
    try:
        return float(value) > MAX_NEIGHBOURS if isinstance(value, int | float | str) else False
    except ValueError:
        return False


def is_zero(value: object) -> bool:
    """Whether an argument, as the number of results, would crash the server."""
    return isinstance(value, int | float) and value == 0
