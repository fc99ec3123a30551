# ruff: noqa: E501 - lines of SQL are as long as in the files
"""Schemas of some forty tables each, like those that well-known apps have, and what their next version changes."""

from collections.abc import Iterator
from pathlib import Path

from freehold.migrate.names import quoted
from freehold.migrate.schema import Column, Schema, Table
from freehold.migrate.virtual import Keeps

HERE = Path(__file__).parent
# What the next version replaces, and by what.
CHANGES = {
    "shop": [
        ('tokenize="unicode61 remove_diacritics 2", prefix', "tokenize='porter', prefix"),
        ("discontinued INTEGER NOT NULL", "weight_grams INTEGER, discontinued INTEGER NOT NULL"),
        ("fts5(body, stars UNINDEXED)", "fts5(title, body, stars UNINDEXED, prefix='2')"),
        ("rtree(id, west, east, south, north, +label)", "rtree(id, west, east, south, north, +label, +floor)"),
        ("reports_to INTEGER REFERENCES employee (id) DEFERRABLE INITIALLY DEFERRED", "reports_to INTEGER REFERENCES employee (id)"),
        ("employee_name ON employee (last_name COLLATE NOCASE, first_name COLLATE NOCASE DESC)", "employee_name ON employee (last_name COLLATE NOCASE DESC, first_name)"),
        ("country_code TEXT REFERENCES country (code) NOT DEFERRABLE", "country_code TEXT REFERENCES country (code)"),
        ("CREATE TABLE setting", "CREATE VIRTUAL TABLE customer_text USING fts5(company, contact, content='customer');\nCREATE TABLE setting"),
    ],
    "tracker": [
        ("ON DELETE SET NULL, points INTEGER", "ON DELETE CASCADE, points REAL"),
        ("tokenize='porter unicode61'", "tokenize='trigram'"),
        ("board_id TEXT NOT NULL REFERENCES board (id) ON DELETE CASCADE, state_id", "board_id TEXT NOT NULL REFERENCES board (id) ON DELETE CASCADE, width INTEGER NOT NULL DEFAULT 1, state_id"),
        ("message TEXT NOT NULL, parent_id", "message TEXT NOT NULL COLLATE NOCASE, parent_id"),
        ("CREATE TABLE history", "CREATE VIRTUAL TABLE page_search USING fts5(title, body, content='page_text', content_rowid='version_id');\nCREATE TABLE history"),
        ("SELECT project_id, sum(points) AS \"points left\"", "SELECT project_id, total(points) AS \"points left\""),
    ],
    "community": [
        ("fts5(handle, about, tokenize='unicode61', detail=column)", "fts5(handle, about, born UNINDEXED, tokenize='trigram')"),
        ("content='letter', tokenize='porter'", "content='letter', tokenize='ascii'"),
        ("rtree(id, west, east, south, north)", "rtree(id, west, east, south, north, low, high)"),
        ("content='public_post', content_rowid='id')", "content='public_post', content_rowid='id', prefix='3')"),
        ("title TEXT NOT NULL, milliseconds INTEGER NOT NULL,", "title TEXT NOT NULL DEFAULT 'untitled', isrc TEXT UNIQUE, milliseconds INTEGER NOT NULL,"),
        ("handle TEXT NOT NULL COLLATE NOCASE,", "handle TEXT NOT NULL COLLATE BINARY,"),
        ("CREATE VIEW longest", "CREATE TABLE badge (person_id INTEGER NOT NULL REFERENCES person (id), name TEXT NOT NULL, PRIMARY KEY (person_id, name)) WITHOUT ROWID;\nCREATE VIEW longest"),
    ],
}  # fmt: skip
NAMES = tuple(CHANGES)
ROWS = 3


def first(name: str) -> str:
    """The text of the first version."""
    return (HERE / f"{name}.sql").read_text()


def following(name: str) -> str:
    """The text of the next one."""
    text = first(name)
    for old, new in CHANGES[name]:
        assert old in text, old
        text = text.replace(old, new)
    return text


def rows(schema: Schema) -> list[str]:
    """A few rows for each table, parents before children."""
    found: list[str] = []
    done: set[str] = set()
    while left := [name for name in schema.tables if name not in done]:
        ready = [name for name in left if not _awaited(schema.tables[name]) & {*left} - {name}]
        for name in ready or left:
            done.add(name)
            found += _rows(schema, schema.tables[name])
    return found


def _awaited(table: Table) -> set[str]:
    return {key.parent for key in table.foreign_keys if not key.is_deferred}


def _rows(schema: Schema, table: Table) -> Iterator[str]:
    if table.virtual is not None and table.virtual.keeps is not Keeps.OWN:
        return
    for number in range(1, ROWS + 1):
        pairs = {column.name: _value(schema, table, column, number) for column in _filled(table)}
        names = ", ".join(map(quoted, pairs))
        yield f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({', '.join(pairs.values())})"


def _filled(table: Table) -> Iterator[Column]:
    checked = {word for check in table.checks for word in check}
    for column in table.columns:
        is_needed = column.not_null or column.primary or column.name not in checked
        if not column.is_generated and column.default is None and is_needed:
            yield column


def _value(schema: Schema, table: Table, column: Column, number: int) -> str:
    for key in table.foreign_keys:
        if column.name in key.columns:
            parent = schema.tables[key.parent]
            primary = sorted((one for one in parent.columns if one.primary), key=lambda one: one.primary)
            to = key.parent_columns or tuple(one.name for one in primary)
            other = parent.column(to[key.columns.index(column.name)])
            assert other is not None
            return "NULL" if parent is table and number == 1 else _value_of(schema, parent, other, table, number)
    if table.virtual is not None and table.virtual.is_tree:
        names = [one.name for one in table.virtual.columns]
        return (
            f"'t{number}'"
            if f"+{column.name}" in table.sql
            else str(number + names.index(column.name) * 0.5 * (column.primary == 0 and column.name != names[0]))
        )
    if column.affinity in ("integer", "real", "numeric"):
        return str(number)
    return f"x'0{number}'" if column.affinity == "blob" and column.type == "blob" else f"'\"{column.name} {number}\"'"


def _value_of(schema: Schema, parent: Table, column: Column, child: Table, number: int) -> str:
    return _value(schema, parent, column, number - 1 if parent is child else number)
