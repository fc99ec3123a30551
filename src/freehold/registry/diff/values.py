"""New columns for which existing rows have no valid value."""

import sqlite3
from collections.abc import Iterator, Set
from contextlib import closing

from freehold.migrate.canonical import default_text, items, unwrapped
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import Column, Schema, Table
from freehold.migrate.table_text import table_text
from freehold.registry.diff.rows import number_column

# A default that contains one of these differs from row to row.
_BY_CHANCE = ("random", "uuid", "ulid")


def without_values(before: Schema, after: Schema) -> Iterator[str]:
    """Yield, in sentences, why any database with rows would refuse the change."""
    for name, table in after.tables.items():
        was = before.tables.get(name)
        if was is not None and not table.is_virtual:
            yield from _keys_without(was, table)
            yield from _refused(was, table)
            yield from _all_the_same(was, table, after)


def _keys_without(was: Table, table: Table) -> Iterator[str]:
    for column in table.columns:
        is_new = was.column(column.name) is None and column.name != number_column(table)
        is_required = column.primary and (column.not_null or not table.has_rowid)
        if is_new and is_required and column.default is None and not column.is_generated:
            yield (
                f"{table.name}.{column.name} is new and in the primary key, and no value is known for the rows that "
                "are there: add it as an ordinary column, fill it, and make it the key in a later migration"
            )


def _refused(was: Table, table: Table) -> Iterator[str]:
    texts = table_text(table.sql).columns
    for column in table.columns:
        text = texts[column.name].text if column.name in texts else ""
        if was.column(column.name) is None and not takes_rows(table, column, text):
            value = "NULL" if column.default is None else default_text(text)
            value = zero(table, column) if column.default is None and column.not_null else value
            yield (
                f"{table.name}.{column.name} is new, and its own constraints refuse {value}, which rows "
                "that are there would get: give it a DEFAULT that they take, or let them take NULL"
            )


def takes_rows(table: Table, column: Column, text: str) -> bool:
    """Return whether existing rows can get the new column, as far as that does not depend on other columns.

    `text` is its definition. Blocks briefly: asks SQLite whether the column's own CHECK accepts its default.
    """
    is_strict = "strict" in table.options
    if column.is_generated or column.primary or not (is_strict or "check" in text.lower()):
        return True
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            tail = " STRICT" if is_strict else ""
            connection.execute(f'CREATE TABLE one ("\x02" ANY, {text}){tail}')
            if column.not_null and column.default is None:
                name, value = quoted(column.name), zero(table, column)
                connection.execute(f'INSERT INTO one ("\x02", {name}) VALUES (1, {value})')
            else:
                connection.execute('INSERT INTO one ("\x02") VALUES (1)')
        except sqlite3.IntegrityError:
            return False
        except sqlite3.Error:  # it refers to other columns, or to something missing here
            return True
    return True


def zero(table: Table, column: Column) -> str:
    """Return the empty value of its affinity."""
    return {"text": "''", "blob": "x''"}.get(table.affinity_of(column), "0")


def _all_the_same(was: Table, table: Table, after: Schema) -> Iterator[str]:
    same = {column.name for column in table.columns if was.column(column.name) is None and fills_alike(column, table)}
    if not same:
        return
    keys = [tuple(part.column for part in key.parts) for key in table.keys if key.parts]
    own = {column.name for column in table.columns}
    for index in after.indexes.values():
        if index.table == folded(table.name) and index.shape[1] == "unique":
            keys += _indexed(index.shape, own)
    for key in keys:
        if same.issuperset(key):
            yield (
                f"{table.name} ({', '.join(key)}) is new and UNIQUE, and each row would get the same value: "
                "add it without NOT NULL and DEFAULT, fill it, and require it in a later migration"
            )


def fills_alike(column: Column, table: Table) -> bool:
    """Return whether a new column gets the same non-NULL value in all existing rows."""
    if column.is_generated or column.name == number_column(table):
        return False
    if column.default is None:
        return column.not_null and not column.primary
    return not any(chance in word for word in column.default for chance in _BY_CHANCE)


def _indexed(shape: tuple[str, ...], own: Set[str]) -> Iterator[tuple[str, ...]]:
    """Yield the columns that an index depends on; nothing if it is partial."""
    found, tail = items(shape)
    used = dict.fromkeys(unwrapped(word) for item in found for word in item.words)
    if not tail and (columns := tuple(word for word in used if word in own)):
        yield columns
