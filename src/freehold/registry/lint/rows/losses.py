"""Find the rows and values that a migration loses, by running it on generated rows.

A table that comes out unchanged has lost nothing. Otherwise a row or value is lost if the result would be the same
without it. An expression that converts a value is intended.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing, suppress
from typing import TypeVar

from freehold.libsql.values import SqlValue
from freehold.migrate.canonical import unwrapped
from freehold.migrate.faults import shortened
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import Other, Schema, Table
from freehold.migrate.virtual import Keeps, check_sql
from freehold.registry.diff.rows import needs_numbers
from freehold.registry.lint.rows.compare import as_stored, blurred, unmatched, values, variants
from freehold.registry.lint.rows.concern import concerned, counts_rows, search_tables
from freehold.registry.lint.rows.sample import Made, Sample, Start, sample, stored
from freehold.registry.lint.rows.tried import Key, Left, Part, Refused, contents, data_columns, final, tried
from freehold.registry.lint.step import Loss, Observed

_T = TypeVar("_T")
_MOST_PROBES = 400  # runs per migration


def observe(start: Start, parts: Sequence[Part], before: Schema, after: Schema) -> Observed:
    """Try migrations on generated rows. Blocks for some ten milliseconds; finds nothing if they run on none."""
    statements = [one for part in parts for one in part.statements]
    with suppress(sqlite3.Error):  # the start cannot be created here, so nothing can be observed
        rows = sample(start, before, [one.piece.sql for one in statements], concerned(statements, before))
        return _Watch(rows, parts, before, after).look()
    return Observed()


def observe_stored(start: Start, parts: Sequence[Part], before: Schema, after: Schema) -> Observed:
    """Try migrations on the rows of the start."""
    with suppress(sqlite3.Error):
        return _Watch(stored(start, before), parts, before, after, is_stored=True).look()
    return Observed()


class _Watch:
    def __init__(
        self, rows: Sample, parts: Sequence[Part], before: Schema, after: Schema, *, is_stored: bool = False
    ) -> None:
        self._is_stored = is_stored
        self._parts = parts
        self._before = before
        self._after = after
        self._sample = rows
        self._made: Sequence[Made] = rows.made
        self._ignores_checks = False
        self._probes = 0

    def look(self) -> Observed:
        """Run the migration and return what it does."""
        left = self._settled()
        if left is None:
            return Observed()
        stale = set(self._stale())
        losses, renumbered, changes = [], [], []
        for name in left.expected:
            if name not in self._after.tables or self._follows(name):
                continue
            found = [*self._lost(name, left)] or ([*self._blurred(name, left)] if self._is_stored else [])
            losses += [Loss(name, reason, name in left.replaced) for reason in found]
            if not found:
                changes += [Loss(name, reason) for reason in self._changes(name, left)]
            if not found and self._is_renumbered(name, left) and (user := self._user_of_numbers(name, stale)):
                shown = self._after.tables[name].name
                renumbered.append(Loss(name, f"rows of {shown} get other numbers (rowid), and {user[0]}"))
                stale.discard(user[1])
        unfit = tuple(
            Loss(folded(name), f"the index of {name} does not fit the rows that it is made from")
            for name in sorted(stale)
        )
        unfit += tuple(
            Loss(folded(name), f"{name} can no longer be read: the table or a column that it indexes is gone")
            for name in sorted(self._unreadable())
        )
        return Observed(tuple(losses), tuple(renumbered), unfit, tuple(changes))

    def _follows(self, name: str) -> bool:
        """Return whether its rows belong to another table and are checked there."""
        table = self._after.tables[name]
        if table.keeps is Keeps.SHOWS and self._before.tables[name].keeps is Keeps.SHOWS:
            return True
        virtual = table.virtual
        return virtual is not None and virtual.is_fts5 and bool(virtual.content)

    # -- running it --

    def _settled(self) -> Left | None:
        """Return the result of a run on all rows, or else on those that the migration accepts, tried one by one."""
        for ignores_checks in (False, True):
            self._ignores_checks = ignores_checks
            with suppress(Refused):
                return self._tried()
        self._ignores_checks = False
        named = {unwrapped(word) for part in self._parts for one in part.statements for word in one.words}
        kept = [row for row in self._made if row.table not in named]
        for row in self._made:
            if row.table in named and self._after_run([*kept, row], lambda _connection: True):
                kept.append(row)
        self._made = kept
        with suppress(Refused):
            return self._tried()
        return None

    def _tried(self) -> Left:
        with closing(self._built(self._made)) as connection:
            return tried(connection, self._parts, self._before, self._after)

    def _built(self, made: Sequence[Made]) -> sqlite3.Connection:
        connection = self._sample.build(made)
        if self._ignores_checks:
            connection.execute("PRAGMA ignore_check_constraints = ON")
        return connection

    def _after_run(self, made: Sequence[Made], read: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Return what `read` finds after a run on these rows; None if it does not run."""
        if self._probes > _MOST_PROBES:
            return None
        self._probes += 1
        with suppress(Refused), closing(self._built(made)) as connection:
            final(connection, self._parts)
            return read(connection)
        return None

    # -- rows and values --

    def _lost(self, name: str, left: Left) -> Iterator[str]:
        was, now = self._before.tables[name], self._after.tables[name]
        set_anyway = left.rewritten.get(name, frozenset())
        columns = [one for one in data_columns(was) if now.column(one) and one not in set_anyway]
        expected = as_stored(left.expected[name], columns, was, now)
        ending = left.rows[name]
        missing = unmatched(expected, ending, columns)
        if not missing:
            return
        made = {_key(row, was): row for row in self._made if row.table == name}
        if not ending:
            yield f"none of the rows of {now.name} is left"
            return
        lost = [key for key in missing if key in made and self._is_without_trace(made[key], now)]
        count = len(expected) - len(lost) if lost else len(ending)
        if count < len(expected):
            yield f"only some of the rows of {now.name} are left: {count} of {len(expected)} that were tried"
            return
        gone = [
            column
            for column in columns
            if not values(expected, column) <= values(ending, column)
            and self._is_value_without_trace(name, column, made, left)
        ]
        if gone:
            names = ", ".join(f"{now.name}.{column}" for column in gone)
            yield f"the values of {names} are not those from before"
        elif all(values(expected, column) <= values(ending, column) for column in columns):
            yield f"the rows of {now.name} come out with values of other rows"

    def _blurred(self, name: str, left: Left) -> Iterator[str]:
        was, now = self._before.tables[name], self._after.tables[name]
        columns = [one for one in data_columns(was) if now.column(one)]
        return blurred(left.expected[name], left.rows[name], columns, was, now)

    def _changes(self, name: str, left: Left) -> Iterator[str]:
        """Yield what the migration states it does to rows, for those that keep their rowid or key."""
        was, now = self._before.tables[name], self._after.tables[name]
        columns = [one for one in data_columns(was) if now.column(one)]
        start = as_stored(left.before[name], columns, was, now)
        ending = left.rows[name]
        if gone := [key for key in start if key not in left.expected[name]]:
            yield f"{len(gone)} of {len(start)} rows of {now.name} are deleted"
        for column in columns:
            both = [key for key in start if key in ending]
            if other := [key for key in both if start[key].get(column) not in (None, ending[key].get(column))]:
                example = f"{start[other[0]].get(column)!r} to {ending[other[0]].get(column)!r}"
                yield f"{len(other)} of {len(start)} values of {now.name}.{column} change, {shortened(example)}"

    def _is_without_trace(self, row: Made, table: Table) -> bool:
        """Return whether the table comes out the same without this row."""
        whole = self._ending(self._made, table)
        return whole is not None and whole == self._ending([one for one in self._made if one is not row], table)

    def _is_value_without_trace(self, name: str, column: str, made: Mapping[Key, Made], left: Left) -> bool:
        """Return whether the column comes out the same whatever values it had before."""
        table = self._after.tables[name]
        known = values(left.rows[name], column)
        rows = [made[key] for key in left.expected[name] if key in made]
        is_tried = False
        for variant in variants(rows, column):
            by_row = {id(row): other for row, other in zip(rows, variant, strict=True)}
            others = [by_row.get(id(row), row) for row in self._made]
            found = self._after_run(others, lambda connection: contents(connection, table, [column]))
            if found is not None and len(found) == len(left.rows[name]):
                is_tried = True
                if values(found, column) != known:
                    return False
        return is_tried

    def _ending(self, made: Sequence[Made], table: Table) -> object:
        def read(connection: sqlite3.Connection) -> Counter[tuple[SqlValue, ...]]:
            return Counter(tuple(row.values()) for row in contents(connection, table, data_columns(table)).values())

        return self._after_run(made, read)

    # -- rowids and full-text tables --

    def _is_renumbered(self, name: str, left: Left) -> bool:
        was, now = self._before.tables[name], self._after.tables[name]
        is_by_rowid = was.rowid is not None and now.rowid is not None and not was.number
        return is_by_rowid and not left.expected[name].keys() <= left.rows[name].keys()

    def _user_of_numbers(self, name: str, stale: Set[str]) -> tuple[str, str] | None:
        """Return what uses the rowids of a table, and the full-text table that this makes wrong, if any."""
        for schema in (self._before, self._after):
            table = schema.tables[name]
            for search in search_tables(schema).values():
                if folded(search.name) == name:
                    return f"the full-text table {table.name} is joined by its row numbers", ""
                if search.content == name and counts_rows(search, schema) and search.name in stale:
                    said = f"the full-text table {search.name} refers to rows of {table.name} by their number"
                    return said, search.name
            for what, other in needs_numbers(schema, table):
                if not self._is_sync(other, schema):
                    return f"the {what} {other.name} uses the row numbers of {table.name}", ""
        return None

    @staticmethod
    def _is_sync(other: Other, schema: Schema) -> bool:
        """Return whether it keeps a full-text table in sync, which is checked separately."""
        words = {unwrapped(word) for word in other.shape}
        return any(search.content == other.table and name in words for name, search in search_tables(schema).items())

    def _stale(self) -> Iterator[str]:
        """Yield the full-text tables that matched their content before and no longer do."""
        before, after = search_tables(self._before), search_tables(self._after)
        if not after:
            return

        def read(connection: sqlite3.Connection) -> list[str]:
            return [one.name for one in after.values() if not _fits(connection, one.name)]

        if not (broken := self._after_run(self._made, read)):
            return
        with closing(self._built(self._made)) as connection:
            for name in broken:
                was = before.get(folded(name))
                if was is None or _fits(connection, was.name):
                    yield name

    def _unreadable(self) -> Iterator[str]:
        """Yield the full-text tables that were readable before and now lack their content."""
        before, after = search_tables(self._before), search_tables(self._after)
        names = [one.name for name, one in after.items() if one.content and name in before]
        if not names:
            return
        with closing(self._built(self._made)) as connection:
            known = [name for name in names if _is_readable(connection, name)]
        left = self._after_run(
            self._made, lambda connection: [name for name in known if not _is_readable(connection, name)]
        )
        yield from left or ()


def _is_readable(connection: sqlite3.Connection, name: str) -> bool:
    try:
        connection.execute(f"SELECT * FROM {quoted(name)}").fetchall()
    except sqlite3.DatabaseError as error:
        return "malformed" in str(error)
    return True


def _key(row: Made, table: Table) -> Key:
    if table.rowid is None:
        return tuple(row.values.get(name) for name in table.primary_key)
    first = table.columns[0].name  # an R-tree's rowid is its first column
    return (row.values.get(table.rowid, row.values.get(table.number or first)),)


def _fits(connection: sqlite3.Connection, name: str) -> bool:
    try:
        connection.execute(check_sql(name))
    except sqlite3.DatabaseError as error:
        return "malformed" not in str(error)
    return True
