"""The result of a statement, in the shape of libsql-client."""

from collections.abc import Iterator, Sequence
from typing import overload

Value = None | str | int | float | bytes


class Row(Sequence[Value]):
    """One row; values by index or by column name."""

    __slots__ = ("_column_idxs", "_values")

    def __init__(self, column_idxs: dict[str, int], values: tuple[Value, ...]) -> None:
        self._column_idxs = column_idxs
        self._values = values

    @overload
    def __getitem__(self, key: int) -> Value: ...
    @overload
    def __getitem__(self, key: str) -> Value: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Value, ...]: ...
    def __getitem__(self, key: int | str | slice) -> Value | tuple[Value, ...]:
        if isinstance(key, str):
            return self._values[self._column_idxs[key]]
        return self._values[key]

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def astuple(self) -> tuple[Value, ...]:
        return self._values

    def asdict(self) -> dict[str, Value]:
        """Values by column name; of columns with the same name the last one counts."""
        return {name: self._values[at] for name, at in self._column_idxs.items()}

    _asdict = asdict

    @property
    def _fields(self) -> tuple[str, ...]:
        return tuple(self._column_idxs)


class ResultSet:
    """Columns and rows of one statement; iterates over its rows."""

    __slots__ = ("_columns", "_last_insert_rowid", "_rows", "_rows_affected")

    def __init__(
        self, columns: tuple[str, ...], rows: list[Row], rows_affected: int, last_insert_rowid: int | None
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._rows_affected = rows_affected
        self._last_insert_rowid = last_insert_rowid

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: slice) -> list[Row]: ...
    def __getitem__(self, key: int | slice) -> Row | list[Row]:
        return self._rows[key]

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    @property
    def rows(self) -> list[Row]:
        return self._rows

    @property
    def rows_affected(self) -> int:
        return self._rows_affected

    @property
    def last_insert_rowid(self) -> int | None:
        return self._last_insert_rowid


def result_set(
    columns: tuple[str, ...], values: list[tuple[Value, ...]], rows_affected: int, last_insert_rowid: int | None
) -> ResultSet:
    """A result set over plain tuples."""
    at = {name: index for index, name in enumerate(columns)}
    return ResultSet(columns, [Row(at, one) for one in values], rows_affected, last_insert_rowid)
