"""The statements that lead from one schema to another, in an order in which they can run."""

import re
from collections.abc import Iterator, Mapping, Set
from functools import cached_property

from msgspec import Struct

from freehold.migrate.canonical import unwrapped
from freehold.migrate.names import quoted
from freehold.migrate.schema import Column, Other, Schema, Table
from freehold.registry.diff.rebuild import column_texts, rebuild

# What ALTER TABLE takes as a default; expressions stand without their parentheses here.
_LITERAL = re.compile(
    r"[+-]?[0-9]*\.?[0-9]*(?:e[+-]?[0-9]+)?|[+-]?0x[0-9a-f]+|x?'(?:[^']|'')*'|null|true|false", re.IGNORECASE
)


class Change(Struct, frozen=True):
    """One statement, and the table (in lower case) that would have to be rebuilt if it fails; may be empty."""

    sql: str
    table: str = ""


class Plan(Struct, frozen=True, dict=True):
    """From `before` to `after`, with these tables rebuilt. `is_additive` leaves out all that takes something away."""

    before: Schema
    after: Schema
    rebuilt: frozenset[str] = frozenset()
    is_additive: bool = False

    @property
    def foreign_keys_off(self) -> bool:
        """Whether a table is dropped that others may reference."""
        gone = self.gone
        referenced = {key.parent for table in self.before.tables.values() for key in table.foreign_keys}
        return bool(self.rebuilt or gone & referenced)

    @cached_property
    def gone(self) -> frozenset[str]:
        """Tables that are dropped, those of another kind now among them."""
        if self.is_additive:
            return frozenset()
        return frozenset(
            name
            for name, table in self.before.tables.items()
            if name not in self.after.tables or _is_other_kind(table, self.after.tables[name])
        )

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """The statements, each to be run once."""
        found = [] if self.is_additive else [*self._drops()]
        for name, table in self.after.tables.items():
            before = self.before.tables.get(name)
            if before is None or name in self.gone:
                continue
            if name in self.rebuilt:
                found += [Change(sql, name) for sql in rebuild(before, table, self._draft_name(table))]
            elif before.shape != table.shape:
                found += self._altered(name, before, table)
        # Children were made after their parents.
        found += [
            Change(f"DROP TABLE {quoted(table.name)}")
            for name, table in reversed([*self.before.tables.items()])
            if name in self.gone
        ]
        found += [
            Change(table.sql)
            for name, table in self.after.tables.items()
            if name not in self.before.tables or name in self.gone
        ]
        return (*found, *self._rest())

    def _altered(self, name: str, before: Table, after: Table) -> Iterator[Change]:
        texts = column_texts(after)
        for column in after.columns:
            if before.column(column.name) is None and (not self.is_additive or is_addable(after, column)):
                yield Change(f"ALTER TABLE {quoted(before.name)} ADD COLUMN {texts[column.name]}", name)
        if self.is_additive:
            return
        for column in before.columns:
            if after.column(column.name) is None:
                yield Change(f"ALTER TABLE {quoted(before.name)} DROP COLUMN {quoted(column.name)}", name)

    def _draft_name(self, table: Table) -> str:
        name = f"{table.name}_new"
        while name.lower() in self.before.tables or name.lower() in self.after.tables:
            name += "_"
        return name

    def _drops(self) -> Iterator[Change]:
        """Triggers before views before indexes: what is dropped first cannot stand in the way of the next."""
        for kind in ("trigger", "view", "index"):
            stale = self._stale(kind)
            for name, other in self._of(self.before, kind).items():
                if name in stale:
                    yield Change(f"DROP {kind.upper()} {quoted(other.name)}")

    def _rest(self) -> Iterator[Change]:
        waits = set(self._waiting_columns()) if self.is_additive else set()
        for kind in ("index", "view", "trigger"):
            before, after = self._of(self.before, kind), self._of(self.after, kind)
            stale = frozenset() if self.is_additive else self._stale(kind) | self._lost(kind)
            for name, other in after.items():
                if name in before and name not in stale:
                    continue
                is_unique = other.shape[:2] == ("create", "unique") and other.table in self.before.tables
                if self.is_additive and (is_unique or self._mentions(other, waits)):
                    waits.add(name)  # so does what builds on it
                else:
                    yield Change(other.sql)

    def _waiting_columns(self) -> Iterator[str]:
        """Columns that only a rebuild can add. What uses them has to wait, for SQLite may not notice at first."""
        for name, table in self.after.tables.items():
            if (before := self.before.tables.get(name)) is not None:
                for column in table.columns:
                    if before.column(column.name) is None and not is_addable(table, column):
                        yield column.name

    def _stale(self, kind: str) -> Set[str]:
        """What has to be dropped: it is gone or another, or stands in the way of a rebuild."""
        return self._staleness[kind]

    @cached_property
    def _staleness(self) -> Mapping[str, Set[str]]:
        """By kind. A rebuild is refused while a view or trigger uses what is not there, if only through a view."""
        touched = self.rebuilt | self.gone
        # Dropping a table takes its indexes along.
        indexes = {name for name in self._changed("index") if self.before.indexes[name].table not in touched}
        views = set(self._changed("view"))
        found = -1
        while found != len(views):
            found = len(views)
            views |= {
                name for name, view in self.before.views.items() if self._mentions(view, touched | views)
            }
        triggers = set(self._changed("trigger")) | {
            name
            for name, trigger in self.before.triggers.items()
            if trigger.table in views or self._mentions(trigger, touched | views)
        }
        return {"index": indexes, "view": views, "trigger": triggers}

    def _changed(self, kind: str) -> Iterator[str]:
        """Those that are gone or another."""
        after = self._of(self.after, kind)
        for name, other in self._of(self.before, kind).items():
            if name not in after or other.shape != after[name].shape:
                yield name

    def _lost(self, kind: str) -> Set[str]:
        """Indexes that went with their table."""
        touched = self.rebuilt | self.gone
        return {name for name, other in self._of(self.before, kind).items() if other.table in touched}

    @staticmethod
    def _mentions(other: Other, tables: Set[str]) -> bool:
        return bool(tables) and any(unwrapped(word) in tables for word in other.shape)

    @staticmethod
    def _of(schema: Schema, kind: str) -> Mapping[str, Other]:
        return {"index": schema.indexes, "view": schema.views, "trigger": schema.triggers}[kind]


def _is_other_kind(before: Table, after: Table) -> bool:
    return (before.is_virtual or after.is_virtual) and before.shape != after.shape


def needs_rebuild(before: Table, after: Table) -> bool:
    """Whether it gets a column that ALTER TABLE refuses once there are rows: trying it without shows nothing."""
    return not after.is_virtual and any(
        before.column(column.name) is None and not is_addable(after, column) for column in after.columns
    )


def is_addable(table: Table, column: Column) -> bool:
    """Whether ALTER TABLE takes the column for a table with rows. What else it refuses, trying it shows."""
    is_reference = any(column.name in key.columns for key in table.foreign_keys)
    is_unique = any(column.name in found for found in table.uniques)
    return fits_rows(column, is_reference=is_reference) and not column.primary and not is_unique


def fits_rows(column: Column, *, is_reference: bool) -> bool:
    """Whether ALTER TABLE takes the column when there are rows; without any, these things do not matter to it.

    Source: https://www.sqlite.org/lang_altertable.html, section 4.
    """
    default = column.default or ()
    is_constant = not default or _LITERAL.fullmatch("".join(default)) is not None
    has_value = column.default is not None and default != ("null",)
    is_filled = has_value or not column.not_null or column.is_generated
    return is_constant and is_filled and "stored" not in column.options and not (is_reference and has_value)


def fills_alike(column: Column) -> bool:
    """Whether a new column has the same value in all rows that there are, other than NULL."""
    if column.is_generated or column.primary:
        return False
    default = column.default or ("null",)
    return _LITERAL.fullmatch("".join(default)) is not None and (column.not_null or default != ("null",))
