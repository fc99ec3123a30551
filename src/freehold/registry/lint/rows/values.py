"""Values for generated rows, from a column's type and the surrounding SQL."""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress

from msgspec import Struct

from freehold.libsql.values import SqlValue
from freehold.migrate.schema import Column
from freehold.migrate.split import tokens
from freehold.migrate.types import BadMigration
from freehold.sql.tokens import Kind

_MOST = 16  # of each kind from one text
_LONGEST = 3_000
_WIDE = 200
# Common formats that constraints require.
_SHAPES: tuple[SqlValue, ...] = (
    '{"a": 1}', '["x"]', "{}", "[]", "2024-02-29", "2024-02-29T12:30:00Z", "12:30", "de", "EUR", "a@example.com",
    "https://example.com/x", "#a1b2c3", "+15550100", "0190e1a2-7c3f-7b1e-8a4d-1c2b3a4f5e6d", "a" * 64, "true",
)  # fmt: skip


class Hints(Struct, frozen=True):
    """Values that SQL texts mention, and the numbers next to them."""

    texts: tuple[str, ...] = ()
    numbers: tuple[int | float, ...] = ()


def hints(texts: Iterable[str]) -> Hints:
    """Return the strings and numbers in the order of the texts."""
    strings: dict[str, None] = {}
    numbers: dict[int | float, None] = {}
    for sql in texts:
        with suppress(BadMigration):
            for kind, start, end in tokens(sql):
                text = sql[start:end]
                if kind is Kind.STRING:
                    strings[text[1:-1].replace("''", "'").strip("%_*")] = None
                elif kind is Kind.WORD and text[0].isdigit():
                    with suppress(ValueError):
                        number = int(text)
                        numbers.update(dict.fromkeys((number, number + 1, number - 1)))
    return Hints(tuple(itertools.islice(strings, _MOST)), tuple(itertools.islice(numbers, 3 * _MOST)))


def plain(column: Column, place: int, number: int) -> SqlValue:
    """Return a value unique to the row and column. `place` is the column's index, `number` the row's."""
    match column.affinity:
        case "integer" | "numeric":
            return 1_000 * (place + 1) + 7 * number
        case "real":
            return 1_000 * (place + 1) + number + 0.5
        case "blob":
            return f"{column.name}{number}".encode()
    return f"{column.name} {number}"


def edge(column: Column, number: int) -> SqlValue:
    """Return a boundary value: zero, a negative number, an empty text."""
    match column.affinity:
        case "integer" | "numeric" | "real":
            return 0 if number % 2 else -number - 1
        case "blob":
            return b""
    return "" if number % 2 else f" {column.name} "


def hinted(column: Column, given: Hints, number: int) -> SqlValue:
    """Return a value that the SQL mentions and the column accepts; None if there is none."""
    numbers = given.numbers
    if column.affinity in {"integer", "numeric", "real"}:
        return numbers[number % len(numbers)] if numbers else None
    texts = [*given.texts, *("x" * int(length) for length in numbers if 3 < length < _LONGEST)]
    return texts[number % len(texts)] if texts else None


def pool(column: Column, place: int, number: int, given: Hints) -> Sequence[SqlValue]:
    """Return values to try if the intended one is refused."""
    sizes = [int(size) for size in given.numbers if 0 < size < _WIDE]
    longer = [
        text for size in sizes for text in (f"{number}{column.name}".ljust(size, "x")[:size], f"{number:0{size}}")
    ]
    return [
        None, plain(column, place, number), edge(column, number), *given.texts, *given.numbers, *longer, *_SHAPES,
        0, 1, 2, 0.5, number, b"\x00",
    ]  # fmt: skip
