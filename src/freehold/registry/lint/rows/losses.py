"""Which rows and values of a table a migration loses, found by running it on generated rows.

A table that comes out as it was has lost nothing. Where it does not, a row or value is lost if the result is the same
without it: an expression that turns a value into another one is the author's business, a value that changes nothing
is gone.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import TypeVar

from freehold.libsql.values import SqlValue
from freehold.migrate.canonical import canonical, unwrapped
from freehold.migrate.schema import Other, Schema, Table
from freehold.migrate.search import counts_rows, search_tables
from freehold.migrate.types import Migration
from freehold.registry.lint.rows.observed import Loss, Observed
from freehold.registry.lint.rows.sample import (
    ROWIDS,
    Made,
    Sample,
    Start,
    alias_of,
    changed,
    primary_key,
    rowid_of,
    sample,
    without,
)
from freehold.registry.lint.rows.tried import (
    Key,
    Left,
    Part,
    Refused,
    Row,
    contents,
    data_columns,
    final,
    tried,
)
from freehold.registry.lint.step import Parsed

_T = TypeVar("_T")
_MOST_PROBES = 400  # runs for one migration


def may_lose_rows(migration: Migration, before: Schema) -> bool:
    """Whether it is worth a trial: there are tables before it, and it does more than add."""
    statements = [canonical(sql) for sql in migration.statements]
    return bool(before.tables) and any(_takes(words, before) for words in statements)


def _takes(words: Sequence[str], before: Schema) -> bool:
    match words[:2]:
        case ("drop", "table" | "trigger" | "view") | ("create", "virtual"):
            return True
        case ("alter", "table"):
            return "rename" in words or "drop" in words
    return words[:1] in (("update",), ("delete",), ("replace",), ("with",)) and bool(search_tables(before))


def _concerned(statements: Sequence[Parsed], schema: Schema) -> Set[str]:
    """The tables that the statements name, with what views, triggers and foreign keys tie to them."""
    texts = {
        name: other.shape for others in (schema.views, schema.triggers) for name, other in others.items()
    }
    owners = {name: trigger.table for name, trigger in schema.triggers.items()}
    contents = {name: search.content for name, search in search_tables(schema).items()}
    # A full-text table names the table of its rows in a string.
    found = {unwrapped(word).strip("'").lower() for one in statements for word in one.words}
    count = -1
    while count != len(found):
        count = len(found)
        for name, words in texts.items():
            if name in found or owners.get(name) in found:
                found.update(map(unwrapped, words))
        for name, table in schema.tables.items():
            parents = {key.parent for key in table.foreign_keys}
            content = contents.get(name)
            if name in found or parents & found or content in found:
                found |= {name, *parents, content or name}
    return found & schema.tables.keys()


def observe(start: Start, parts: Sequence[Part], before: Schema, after: Schema) -> Observed:
    """Try migrations on rows. Blocking, some ten milliseconds; nothing is found where they do not run on any."""
    try:
        return _Watch(start, parts, before, after).look()
    except sqlite3.Error:  # the start cannot be made here, so nothing can be seen
        return Observed()


class _Watch:
    def __init__(self, start: Start, parts: Sequence[Part], before: Schema, after: Schema) -> None:
        self._parts = parts
        self._statements = [one for part in parts for one in part.statements]
        self._before = before
        self._after = after
        texts = [one.piece.sql for one in self._statements]
        self._sample: Sample = sample(start, before, texts, _concerned(self._statements, before))
        self._made: Sequence[Made] = self._sample.made
        self._ignores_checks = False
        self._probes = 0

    def look(self) -> Observed:
        """What is lost."""
        left = self._settled()
        if left is None:
            return Observed()
        stale = set(self._stale())
        losses, renumbered = [], []
        for name in left.expected:
            if name not in self._after.tables or self._follows(name):
                continue
            found = [*self._lost(name, left)]
            losses += [Loss(name, reason) for reason in found]
            if not found and self._is_renumbered(name, left) and (user := self._user_of_numbers(name, stale)):
                renumbered.append(Loss(name, user[0]))
                stale.discard(user[1])
        return Observed(tuple(losses), tuple(renumbered), tuple(sorted(stale)))

    def _follows(self, name: str) -> bool:
        """Whether it is a full-text table whose rows are another table's, and are looked at there."""
        search = search_tables(self._after).get(name)
        return search is not None and bool(search.content)

    # -- running it --

    def _settled(self) -> Left | None:
        """The run on all rows; else on those that the migration takes, each tried beside the others."""
        try:
            return self._tried(self._made)
        except Refused:
            pass
        self._ignores_checks = True
        try:
            return self._tried(self._made)
        except Refused:
            self._ignores_checks = False
        named = {word for one in self._statements for word in one.words}
        kept = [row for row in self._made if row.table not in named]
        for row in self._made:
            if row.table in named and self._runs([*kept, row]):
                kept.append(row)
        self._made = kept
        try:
            return self._tried(kept)
        except Refused:
            return None

    def _tried(self, made: Sequence[Made]) -> Left:
        connection = self._built(made)
        try:
            return tried(connection, self._parts, self._before, self._after)
        finally:
            connection.close()

    def _built(self, made: Sequence[Made]) -> sqlite3.Connection:
        connection = self._sample.build(made)
        if self._ignores_checks:
            connection.execute("PRAGMA ignore_check_constraints = ON")
        return connection

    def _runs(self, made: Sequence[Made]) -> bool:
        return self._after_run(made, lambda _connection: True) is not None

    def _after_run(self, made: Sequence[Made], read: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """What there is to read after a run on these rows; None if it does not run."""
        if self._probes > _MOST_PROBES:
            return None
        self._probes += 1
        connection = self._built(made)
        try:
            final(connection, self._parts)
            return read(connection)
        except Refused:
            return None
        finally:
            connection.close()

    # -- rows and values --

    def _lost(self, name: str, left: Left) -> Iterator[str]:
        was, now = self._before.tables[name], self._after.tables[name]
        set_anyway = left.rewritten.get(name, frozenset())
        columns = [one for one in data_columns(was) if now.column(one) and one not in set_anyway]
        expected = _stored(left.expected[name], columns, was, now)
        ending = left.rows[name]
        unmatched = _unmatched(expected, ending, columns)
        if not unmatched:
            return
        made = {_key(row, was): row for row in self._made if row.table == name}
        if not ending:
            yield f"none of the rows of {now.name} is left"
            return
        lost = [key for key in unmatched if key in made and self._is_without_trace(made[key], now)]
        if lost:
            yield (
                f"only some of the rows of {now.name} are left: {len(expected) - len(lost)} of "
                f"{len(expected)} that were tried"
            )
            return
        if len(ending) < len(expected):
            yield f"only some of the rows of {now.name} are left: {len(ending)} of {len(expected)} that were tried"
            return
        gone = [
            column
            for column in columns
            if not _values(expected, column) <= _values(ending, column)
            and self._is_value_without_trace(name, column, made, left)
        ]
        if gone:
            names = ", ".join(f"{now.name}.{column}" for column in gone)
            yield f"the values of {names} are not those from before"
        elif all(_values(expected, column) <= _values(ending, column) for column in columns):
            yield f"the rows of {now.name} come out with values of other rows"

    def _is_without_trace(self, row: Made, table: Table) -> bool:
        """Whether the table comes out the same if this row was never there."""
        return self._ending(without(self._made, row), table) == self._ending(self._made, table)

    def _is_value_without_trace(self, name: str, column: str, made: Mapping[Key, Made], left: Left) -> bool:
        """Whether the column comes out the same whatever stood in it before."""
        table = self._after.tables[name]
        known = _values(left.rows[name], column)
        rows = [made[key] for key in left.expected[name] if key in made]
        is_tried = False
        for variant in _variants(rows, column):
            by_row = {id(row): other for row, other in zip(rows, variant, strict=True)}
            others = [by_row.get(id(row), row) for row in self._made]
            found = self._after_run(others, lambda connection: contents(connection, table, [column]))
            if found is not None and len(found) == len(left.rows[name]):
                is_tried = True
                if _values(found, column) != known:
                    return False
        return is_tried

    def _ending(self, made: Sequence[Made], table: Table) -> object:
        def read(connection: sqlite3.Connection) -> Counter[tuple[SqlValue, ...]]:
            columns = data_columns(table)
            return Counter(tuple(row.values()) for row in contents(connection, table, columns).values())

        return self._after_run(made, read)

    # -- row numbers and full-text tables --

    def _is_renumbered(self, name: str, left: Left) -> bool:
        was, now = self._before.tables[name], self._after.tables[name]
        if rowid_of(was) is None or rowid_of(now) is None or alias_of(was):
            return False
        return not left.expected[name].keys() <= left.rows[name].keys()

    def _user_of_numbers(self, name: str, stale: Set[str]) -> tuple[str, str] | None:
        """What knows the rows of a table by their number, and the full-text table that is led astray, if one is."""
        for schema in (self._before, self._after):
            table = schema.tables[name]
            for search in search_tables(schema).values():
                if search.name.lower() == name:
                    return f"the full-text table {table.name} is joined by its row numbers", ""
                if search.content == name and counts_rows(search, schema) and search.name in stale:
                    said = f"the full-text table {search.name} refers to rows of {table.name} by their number"
                    return said, search.name
            for what, others in (("trigger", schema.triggers), ("view", schema.views)):
                for other in others.values():
                    words = {unwrapped(word) for word in other.shape}
                    if (
                        words & ROWIDS
                        and (other.table == name or name in words)
                        and not self._is_sync(other, schema)
                    ):
                        return f"the {what} {other.name} uses the row numbers of {table.name}", ""
        return None

    @staticmethod
    def _is_sync(other: Other, schema: Schema) -> bool:
        """Whether it keeps a full-text table in step, which is looked at by itself."""
        words = {unwrapped(word) for word in other.shape}
        return any(
            search.content == other.table and name in words for name, search in search_tables(schema).items()
        )

    def _stale(self) -> Iterator[str]:
        """Full-text tables that found what was there, and do no longer."""
        before, after = search_tables(self._before), search_tables(self._after)
        if not after:
            return

        def read(connection: sqlite3.Connection) -> list[str]:
            return [one.name for one in after.values() if not _fits(connection, one.check_sql)]

        broken = self._after_run(self._made, read) or []
        if not broken:
            return
        connection = self._built(self._made)
        try:
            for name in broken:
                was = before.get(name.lower())
                if was is None or _fits(connection, was.check_sql):
                    yield name
        finally:
            connection.close()


def _key(row: Made, table: Table) -> Key:
    rowid = rowid_of(table)
    if rowid is None:
        return tuple(row.values.get(name) for name in primary_key(table))
    first = table.columns[0].name  # an R-tree's number is its first column
    return (row.values.get(rowid, row.values.get(alias_of(table) or first)),)


def _stored(rows: Mapping[Key, Row], columns: Sequence[str], was: Table, now: Table) -> dict[Key, Row]:
    """The rows as the new columns would store their values."""
    found = {key: dict(row) for key, row in rows.items()}
    for name in columns:
        old, new = was.column(name), now.column(name)
        if old is None or new is None or old.affinity == new.affinity or now.is_virtual:
            continue
        connection = sqlite3.connect(":memory:")
        try:
            connection.execute(f"CREATE TABLE one (value {new.type})")
            for row in found.values():
                connection.execute("DELETE FROM one")
                connection.execute("INSERT INTO one VALUES (?)", (row.get(name),))
                [(row[name],)] = connection.execute("SELECT value FROM one").fetchall()
        except sqlite3.Error:
            continue
        finally:
            connection.close()
    return found


def _unmatched(expected: Mapping[Key, Row], ending: Mapping[Key, Row], columns: Sequence[str]) -> list[Key]:
    """Rows that are nowhere in the result; NULL may have become anything."""
    left = Counter(tuple(row.get(column) for column in columns) for row in ending.values())
    found = []
    wanted = {key: tuple(row.get(column) for column in columns) for key, row in expected.items()}
    for key, values in sorted(wanted.items(), key=lambda item: item[1].count(None)):
        same = (
            values
            if left[values]
            else next((one for one in left if left[one] and _fits_in(values, one)), None)
        )
        if same is None:
            found.append(key)
        else:
            left[same] -= 1
    return found


def _fits_in(values: tuple[SqlValue, ...], other: tuple[SqlValue, ...]) -> bool:
    return all(mine is None or mine == its for mine, its in zip(values, other, strict=True))


def _values(rows: Mapping[Key, Row], column: str) -> Counter[SqlValue]:
    return Counter(value for row in rows.values() if (value := row.get(column)) is not None)


def _variants(rows: Sequence[Made], column: str) -> Iterator[list[Made]]:
    """The rows with other values in the column: new ones, then the same for all, then those of the next row."""
    known = [row.values.get(column) for row in rows]
    for made_up in (lambda at: f"other {at}", lambda at: 900_000 + at, lambda at: f"[{at}]"):
        yield [changed(row, column, made_up(at)) for at, row in enumerate(rows)]
    for value in list(dict.fromkeys(one for one in known if one is not None))[:6]:
        yield [changed(row, column, value) for row in rows]
    yield [changed(row, column, value) for row, value in zip(rows, known[1:] + known[:1], strict=True)]


def _fits(connection: sqlite3.Connection, check_sql: str) -> bool:
    try:
        connection.execute(check_sql)
    except sqlite3.DatabaseError as error:
        return "malformed" not in str(error)
    return True
