"""Run a migration on a database with rows: what it leaves, and which changes its statements make explicitly."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from freehold.libsql.values import SqlValue
from freehold.migrate.canonical import unwrapped
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import Schema, Table
from freehold.migrate.split import tokens
from freehold.registry.lint.rows.concern import may_shrink, said
from freehold.registry.lint.step import Parsed
from freehold.sql.tokens import Kind

_LONG = 200  # statements: beyond this, those that write seed rows are not examined one by one
_ENOUGH = 5  # rows that any larger LIMIT is reduced to

Key = tuple[SqlValue, ...]
Row = dict[str, SqlValue]


class Left(Struct, frozen=True):
    """Rows by table and by rowid (or key), and the columns that statements set explicitly.

    `before` are the rows at the start, `expected` the same with explicit deletions and updates applied.
    """

    rows: Mapping[str, Mapping[Key, Row]]
    before: Mapping[str, Mapping[Key, Row]]
    expected: Mapping[str, Mapping[Key, Row]]
    rewritten: Mapping[str, frozenset[str]]
    replaced: frozenset[str]


class Part(Struct, frozen=True):
    """The statements of one migration, and whether foreign keys are off while it runs."""

    statements: Sequence[Parsed]
    is_off: bool


class Refused(Exception):
    """The migration does not run on these rows."""


def contents(connection: sqlite3.Connection, table: Table, columns: Sequence[str]) -> dict[Key, Row]:
    """Return rows by rowid, or by primary key if they have none. Empty if the table cannot be read."""
    keys = [*table.primary_key] if table.rowid is None else [table.rowid]
    names = ", ".join(map(quoted, [*keys, *columns]))
    try:
        found = connection.execute(f"SELECT {names} FROM {quoted(table.name)}").fetchall()
    except sqlite3.Error:
        return {}
    return {
        row[: len(keys)] or (number,): dict(zip(columns, row[len(keys) :], strict=True))
        for number, row in enumerate(found)
    }


def final(connection: sqlite3.Connection, parts: Sequence[Part]) -> None:
    """Run the migrations. Raises `Refused`; the connection is unusable then."""
    for part in parts:
        _begin(connection, is_off=part.is_off)
        for one in part.statements:
            _execute(connection, one)
        _run(connection, "COMMIT")


def tried(connection: sqlite3.Connection, parts: Sequence[Part], before: Schema, after: Schema) -> Left:
    """Run the migrations and record what each statement explicitly does to the tables it names.

    Deleting a row and updating a value are explicit; what a DROP removes or a copy leaves out is not.

    Raises:
        Refused: it does not run on these rows.
    """
    return _Trial(connection, before, after).run(parts)


class _Trial:
    def __init__(self, connection: sqlite3.Connection, before: Schema, after: Schema) -> None:
        self._connection = connection
        self._before = before
        self._after = after
        # Where each table of the start is now; a dropped one is missing.
        self._place = {name: name for name in before.tables}
        self._start = {name: contents(connection, table, data_columns(table)) for name, table in before.tables.items()}
        self._expected = {name: {key: dict(row) for key, row in rows.items()} for name, rows in self._start.items()}
        self._rewritten: dict[str, set[str]] = {}

    def run(self, parts: Sequence[Part]) -> Left:
        is_long = sum(len(part.statements) for part in parts) > _LONG
        for part in parts:
            _begin(self._connection, is_off=part.is_off)
            for one in part.statements:
                only_adds = one.words[:2] == ("insert", "into") and not {"select", "conflict"} & {*one.words}
                if one.is_data and not (is_long and only_adds):
                    self._change_rows(one)
                else:
                    _execute(self._connection, one)
                    self._move(one)
            _run(self._connection, "COMMIT")
        kept = {name for name, place in self._place.items() if name == place}
        return Left(
            {name: self._ending(name) for name in self._after.tables},
            self._start,
            self._expected,
            {name: frozenset(found) for name, found in self._rewritten.items()},
            frozenset(self._before.tables.keys() - kept),
        )

    def _move(self, one: Parsed) -> None:
        old, new = one.renamed
        if old:
            for name, place in self._place.items():
                if place == old:
                    self._place[name] = new
            if old in self._rewritten:
                self._rewritten[new] = self._rewritten.pop(old)
        elif one.words[:2] == ("drop", "table"):
            gone = unwrapped(one.words[-1])
            self._place = {name: place for name, place in self._place.items() if place != gone}
            self._rewritten.pop(gone, None)

    def _change_rows(self, one: Parsed) -> None:
        named = {unwrapped(word) for word in one.words}
        drafts = [name for name in self._drafts() if name in named]
        known = {name: self._current(name) for name in self._place}
        before_drafts = {name: self._loose(name) for name in drafts}
        words = said(one.words)
        owner = next((name for name, place in self._place.items() if place == words.table), None)
        may_go = may_shrink(words, owner, self._before)
        _execute(self._connection, one)
        for name, rows in known.items():
            now = self._current(name)
            # Rowids and keys may change, but rows must not become fewer unless the statement says so.
            is_said = name in may_go or len(now) >= len(rows)
            columns = words.columns if words.replaces and name == owner else None
            for key, row in rows.items():
                if key not in now:
                    if is_said:
                        self._expected[name].pop(key, None)
                elif key in self._expected[name]:
                    changes = {
                        column: now[key].get(column)
                        for column in row
                        if now[key].get(column) != row[column] and (columns is None or column in columns)
                    }
                    self._expected[name][key].update(changes)
        for name, rows in before_drafts.items():
            self._rewritten.setdefault(name, set()).update(_changes(rows, self._loose(name)))

    def _drafts(self) -> list[str]:
        rows = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        taken = set(self._place.values())
        return [folded(name) for (name,) in rows if folded(name) not in taken]

    def _current(self, name: str) -> dict[Key, Row]:
        """Return the rows of a table of the start, under its present name."""
        table, place = self._before.tables[name], self._place[name]
        info = self._connection.execute(f"PRAGMA table_xinfo({quoted(place)})").fetchall()
        there = {folded(str(column[1])) for column in info}
        renamed = msgspec.structs.replace(table, name=place)
        return contents(self._connection, renamed, [one for one in data_columns(table) if one in there])

    def _loose(self, name: str) -> dict[Key, Row]:
        """Return the rows of a table that the migration created."""
        try:
            found = self._connection.execute(f"SELECT rowid, * FROM {quoted(name)}")
        except sqlite3.Error:
            return {}
        names = [folded(str(column[0])) for column in found.description[1:]]
        return {row[:1]: dict(zip(names, row[1:], strict=True)) for row in found.fetchall()}

    def _ending(self, name: str) -> dict[Key, Row]:
        table = self._after.tables[name]
        was = self._before.tables.get(name)
        wanted = data_columns(was) if was else data_columns(table)
        return contents(self._connection, table, [one for one in wanted if table.column(one) is not None])


def data_columns(table: Table) -> list[str]:
    """Return the columns that store data, in lower case."""
    return [column.name for column in table.columns if not column.is_generated]


def _changes(before: Mapping[Key, Row], now: Mapping[Key, Row]) -> Iterator[str]:
    for key, row in before.items():
        if (other := now.get(key)) is not None:
            yield from (column for column, value in row.items() if other.get(column) != value)


def _begin(connection: sqlite3.Connection, *, is_off: bool) -> None:
    connection.execute(f"PRAGMA foreign_keys = {'OFF' if is_off else 'ON'}")
    connection.execute("BEGIN")


def _execute(connection: sqlite3.Connection, one: Parsed) -> None:
    _run(connection, _limited(one.piece.sql) if one.is_data or "as" in one.words else one.piece.sql)


def _run(connection: sqlite3.Connection, sql: str) -> None:
    try:
        connection.execute(sql).fetchall()
    except (sqlite3.Error, OverflowError) as error:
        raise Refused(str(error)) from error


def _limited(sql: str) -> str:
    """Lower every LIMIT so that the few rows here exceed it; triggers and views stay as they are."""
    made, at, is_limit = [], 0, False
    for number, (kind, start, end) in enumerate(tokens(sql)):
        text = sql[start:end]
        if number < 4 and kind is Kind.WORD and text.lower() in {"view", "trigger"}:
            return sql
        if is_limit and text.isdigit() and int(text) > _ENOUGH:
            made += [sql[at:start], str(_ENOUGH)]
            at = end
        elif is_limit and text == "*":  # 10 * 1000
            made += [sql[at:start], "+ 0 *"]
            at = end
        elif (kind is Kind.WORD and not text.isdigit()) or ")" in text:
            is_limit = text.lower() == "limit"
    return "".join([*made, sql[at:]])
