"""A database with generated rows in every table, which can be recreated with rows left out or changed."""

import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, suppress

import msgspec
from msgspec import Struct

from freehold.libsql.values import SqlValue
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import Column, Schema, Table
from freehold.migrate.virtual import Keeps, Virtual, check_sql, rebuild_sql
from freehold.registry.diff.rows import number_column
from freehold.registry.lint.rows.concern import SearchTable, search_tables
from freehold.registry.lint.rows.values import Hints, edge, hinted, hints, plain, pool

_PLAIN, _HINTED, _TRIES, _FIRST_TRIES = 4, 10, 20, 400
_SHARE = 0.5  # of the columns get another value after a refusal
_SECONDS = 10.0  # for all statements of one connection

Values = Mapping[str, SqlValue]


class Made(Struct, frozen=True):
    """A row that was written, with the values given."""

    table: str
    values: Values


class Start(Struct, frozen=True):
    """What a database holds at the start: `tables` and seed `rows`, then `rest` (indexes, views, triggers)."""

    tables: Sequence[str]
    rows: Sequence[str]
    rest: Sequence[str]


class Sample(Struct, frozen=True):
    """Generated rows for a start. `forced` tables accepted rows only without triggers and CHECKs."""

    start: Start
    schema: Schema
    made: tuple[Made, ...]
    forced: frozenset[str] = frozenset()

    def build(self, made: Sequence[Made] | None = None) -> sqlite3.Connection:
        """Return a database with these rows (default: all) except those it refuses. The caller closes it."""
        connection = connect()
        rows = self.made if made is None else made
        _run(connection, (*self.start.tables, *self.start.rows))
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for row in rows:
            if row.table in self.forced:
                _insert(connection, self.schema.tables[row.table], row.values)
        connection.execute("PRAGMA ignore_check_constraints = OFF")
        _run(connection, self.start.rest)
        for row in rows:
            if row.table not in self.forced:
                _insert(connection, self.schema.tables[row.table], row.values)
        _reindex(connection, search_tables(self.schema).values())
        if connection.in_transaction:  # a trigger or a conflict clause may have rolled back
            connection.execute("COMMIT")
        return connection


def connect(seconds: float = _SECONDS) -> sqlite3.Connection:
    """Return a new in-memory database in a transaction; its statements are aborted when the time is over."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN")
    return connection


def sample(start: Start, schema: Schema, texts: Sequence[str], wanted: Set[str]) -> Sample:
    """Generate rows of each kind that the wanted tables accept. Raises `sqlite3.Error` if `start` cannot be created."""
    return _Filling(start, schema, texts, wanted).sample()


def stored(start: Start, schema: Schema) -> Sample:
    """Return existing rows, to be written without triggers, whose own rows are among them. Raises `sqlite3.Error`."""
    with closing(connect()) as connection:
        _run(connection, (*start.tables, *start.rows))
        made = [row for table in schema.tables.values() for row in _stored(connection, table)]
    return Sample(Start(start.tables, (), start.rest), schema, tuple(made), frozenset(schema.tables))


def _stored(connection: sqlite3.Connection, table: Table) -> Iterator[Made]:
    if table.virtual is not None and table.virtual.is_fts5 and table.keeps is not Keeps.OWN:
        return  # its rows are another table's, or not stored
    rowid = table.rowid
    own = [column.name for column in table.columns if not column.is_generated]
    names = own if rowid is None or number_column(table) else [rowid, *own]
    with suppress(sqlite3.Error):
        sql = f"SELECT {', '.join(map(quoted, names))} FROM {quoted(table.name)}"
        for row in connection.execute(sql).fetchall():
            yield Made(folded(table.name), dict(zip(names, row, strict=True)))


class _Filling:
    def __init__(self, start: Start, schema: Schema, texts: Sequence[str], wanted: Set[str]) -> None:
        self._start = start
        self._wanted = wanted
        self._schema = schema
        self._texts = texts
        self._made: dict[str, list[Made]] = {table: [] for table in schema.tables}
        self._random = random.Random(0)  # noqa: S311 - the same rows each time

    def sample(self) -> Sample:
        tables = [table for table in _in_order(self._schema) if folded(table.name) in self._wanted]
        with closing(connect()) as connection:
            _run(connection, (*self._start.tables, *self._start.rows, *self._start.rest))
            for table in tables:
                self._fill(connection, table)
        empty = {folded(table.name) for table in tables if not self._made[folded(table.name)]}
        if empty:
            self._force(tables, empty)
        made = tuple(row for rows in self._made.values() for row in rows)
        return Sample(self._start, self._schema, made, frozenset(empty))

    def _force(self, tables: Sequence[Table], empty: Set[str]) -> None:
        """Fill tables that accepted no row, without triggers and ignoring CHECKs."""
        with closing(connect()) as connection:
            _run(connection, (*self._start.tables, *self._start.rows))
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for table in tables:
                if folded(table.name) in empty:
                    self._fill(connection, table)

    def _fill(self, connection: sqlite3.Connection, table: Table) -> None:
        name = folded(table.name)
        if table.virtual is not None:
            self._fill_virtual(connection, table, table.virtual)
            return
        near = [table.sql, *(one.sql for kind in (self._schema.indexes, self._schema.triggers)
                             for one in kind.values() if one.table == name)]  # fmt: skip
        given = hints([*near, *self._texts])
        columns = [column for column in table.columns if not column.is_generated]
        for number, kind in enumerate(_kinds(columns, given)):
            values = self._values(table, columns, kind, number, given)
            good = self._made[name]
            for _ in range(_TRIES if good or number else _FIRST_TRIES):
                if _insert(connection, table, values):
                    good.append(Made(name, values))
                    break
                # Values accepted once are mostly accepted again, except those that must be unique.
                values = self._other(columns, {**values, **good[0].values} if good else values, number, given)

    def _values(
        self, table: Table, columns: Sequence[Column], kind: str, number: int, given: Hints
    ) -> dict[str, SqlValue]:
        found: dict[str, SqlValue] = {}
        mine = self._made[folded(table.name)]
        unique = {name for key in table.uniques for name in key}
        for place, column in enumerate(columns):
            value = plain(column, place, number)
            if kind == column.name or (kind == "null" and not column.not_null and not column.primary):
                value = None
            elif kind == "twin" and mine and not column.primary and column.name not in unique:
                value = mine[0].values.get(column.name)
            elif kind == "edge":
                value = edge(column, number)
            elif kind == "hint":
                hint = hinted(column, given, number)
                value = value if hint is None else hint
            found[column.name] = value
        if kind != "null":
            self._refer(table, found, number)
        if (rowid := table.rowid) is not None and not table.number:
            found[rowid] = 11 + 3 * number  # with gaps, so that renumbering shows
        return found

    def _refer(self, table: Table, values: dict[str, SqlValue], number: int) -> None:
        """Point its foreign keys to existing rows."""
        for key in table.foreign_keys:
            parents = self._made.get(key.parent, [])
            if not parents:
                if key.parent == folded(table.name):
                    values.update(dict.fromkeys(key.columns))
                continue
            row = parents[number % len(parents)].values
            to = key.parent_columns or self._schema.tables[key.parent].primary_key
            values.update({name: row.get(other) for name, other in zip(key.columns, to, strict=False)})

    def _other(self, columns: Sequence[Column], values: Values, number: int, given: Hints) -> dict[str, SqlValue]:
        found = dict(values)
        for place, column in enumerate(columns):
            if self._random.random() < _SHARE:
                found[column.name] = self._random.choice(pool(column, place, number, given))
        return found

    def _fill_virtual(self, connection: sqlite3.Connection, table: Table, virtual: Virtual) -> None:
        name = folded(table.name)
        if (virtual.is_fts5 and virtual.content) or _has_rows(connection, table):
            return  # its rows are another table's
        columns = [column for column in table.columns if not column.is_generated]
        for number in range(_PLAIN + 2):
            values: dict[str, SqlValue] = {column.name: f"{column.name} word{number}" for column in columns}
            if virtual.is_tree:
                values = {
                    column.name: 100 * ((place + 1) // 2) + number + (place + 1) % 2 if place else 3 * number + 2
                    for place, column in enumerate(columns)
                }
            else:
                values["rowid"] = 11 + 3 * number
            if _insert(connection, table, values):
                self._made[name].append(Made(name, values))


def changed(row: Made, column: str, value: SqlValue) -> Made:
    return msgspec.structs.replace(row, values={**row.values, column: value})


def _kinds(columns: Sequence[Column], given: Hints) -> Iterator[str]:
    """Yield the kind of each row; a column's name means that only this column is NULL."""
    yield from ("plain",) * _PLAIN
    yield from ("null", "twin", "edge", "edge")
    nullable = [column.name for column in columns if not column.not_null and not column.primary]
    yield from nullable if len(nullable) > 1 else ()
    yield from ("hint",) * min(_HINTED, len(given.texts) + len(given.numbers))


def _in_order(schema: Schema) -> list[Table]:
    """Return parents before children where possible, virtual tables last."""
    found: dict[str, Table] = {}

    def add(name: str, above: frozenset[str]) -> None:
        table = schema.tables.get(name)
        if table is None or name in found or name in above or table.is_virtual:
            return
        for key in table.foreign_keys:
            add(key.parent, above | {name})
        found[name] = table

    for name in schema.tables:
        add(name, frozenset())
    return [*found.values(), *(table for table in schema.tables.values() if table.is_virtual)]


def _insert(connection: sqlite3.Connection, table: Table, values: Values) -> bool:
    names = ", ".join(map(quoted, values))
    sql = f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({', '.join('?' * len(values))})"
    return _runs(connection, sql, tuple(values.values()))


def _runs(connection: sqlite3.Connection, sql: str, values: Sequence[SqlValue] = ()) -> bool:
    try:
        connection.execute(sql, values)
    except (sqlite3.Error, OverflowError):
        return False
    return True


def _has_rows(connection: sqlite3.Connection, table: Table) -> bool:
    with suppress(sqlite3.Error):
        sql = f"SELECT 1 FROM {quoted(table.name)} LIMIT 1"
        return connection.execute(sql).fetchone() is not None
    return True


def _reindex(connection: sqlite3.Connection, tables: Iterable[SearchTable]) -> None:
    """Rebuild the full-text tables that do not match their content, if no trigger keeps them in sync."""
    for table in tables:
        if table.content and not _runs(connection, check_sql(table.name)):
            _runs(connection, rebuild_sql(table.name))


def _run(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    for sql in statements:
        connection.execute(sql)
