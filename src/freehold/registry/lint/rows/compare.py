"""Compare rows before and after by value, and vary the values of a column."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress

from freehold.libsql.values import SqlValue
from freehold.migrate.faults import shortened
from freehold.migrate.schema import Table
from freehold.registry.lint.rows.sample import Made, changed
from freehold.registry.lint.rows.tried import Key, Row


def as_stored(rows: Mapping[Key, Row], columns: Sequence[str], was: Table, now: Table) -> dict[Key, Row]:
    """Return the rows with their values converted as the new columns would store them."""
    found = {key: dict(row) for key, row in rows.items()}
    for name in columns:
        old, new = was.column(name), now.column(name)
        if old is None or new is None or now.is_virtual:
            continue
        affinity = now.affinity_of(new)
        if was.affinity_of(old) == affinity:
            continue
        with suppress(sqlite3.Error), closing(sqlite3.connect(":memory:")) as connection:
            connection.execute(f"CREATE TABLE one (value {affinity})")
            for row in found.values():
                connection.execute("DELETE FROM one")
                connection.execute("INSERT INTO one VALUES (?)", (row.get(name),))
                [(row[name],)] = connection.execute("SELECT value FROM one").fetchall()
    return found


def blurred(
    rows: Mapping[Key, Row], ending: Mapping[Key, Row], columns: Sequence[str], was: Table, now: Table
) -> Iterator[str]:
    """Yield how a column's new type irreversibly changed values, e.g. text 007 to number 7."""
    new = as_stored(rows, columns, was, now)
    old = as_stored(new, columns, now, was)
    for column in columns:
        keys = [
            key
            for key, row in rows.items()
            if key in ending
            and ending[key].get(column) == new[key].get(column)
            and not _is_as_exact(row.get(column), old[key].get(column))
        ]
        if keys:
            example = f"{rows[keys[0]].get(column)!r} as {new[keys[0]].get(column)!r}"
            found = f"{len(keys)} of {len(rows)} values of {now.name}.{column}"
            yield f"{found} are stored otherwise, {shortened(example)}"


def unmatched(expected: Mapping[Key, Row], ending: Mapping[Key, Row], columns: Sequence[str]) -> list[Key]:
    """Return the rows that are missing from the result; a NULL matches any value."""
    left = Counter(tuple(row.get(column) for column in columns) for row in ending.values())
    found = []
    wanted = {key: tuple(row.get(column) for column in columns) for key, row in expected.items()}
    for key, values in sorted(wanted.items(), key=lambda item: item[1].count(None)):
        same = values if left[values] else next((one for one in left if left[one] and _fits_in(values, one)), None)
        if same is None:
            found.append(key)
        else:
            left[same] -= 1
    return found


def _is_as_exact(value: SqlValue, again: SqlValue) -> bool:
    """Return whether nothing was lost: both are equal, or a number is now the same number as text."""
    return value == again or (isinstance(value, int | float) and str(value) == again)


def _fits_in(values: tuple[SqlValue, ...], other: tuple[SqlValue, ...]) -> bool:
    return all(mine is None or mine == its for mine, its in zip(values, other, strict=True))


def values(rows: Mapping[Key, Row], column: str) -> Counter[SqlValue]:
    return Counter(value for row in rows.values() if (value := row.get(column)) is not None)


def variants(rows: Sequence[Made], column: str) -> Iterator[list[Made]]:
    """Yield the rows with other values in the column: new ones, then one for all, then each row's next one."""
    known = [row.values.get(column) for row in rows]
    for made_up in (lambda at: f"other {at}", lambda at: 900_000 + at, lambda at: f"[{at}]"):
        yield [changed(row, column, made_up(at)) for at, row in enumerate(rows)]
    for value in list(dict.fromkeys(one for one in known if one is not None))[:6]:
        yield [changed(row, column, value) for row in rows]
    yield [changed(row, column, value) for row, value in zip(rows, known[1:] + known[:1], strict=True)]
