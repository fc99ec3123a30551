"""The statements that lead from one schema to another, in an order in which they can run."""

import re
from collections.abc import Iterator, Mapping, Set
from functools import cached_property

from msgspec import Struct

from freehold.migrate.canonical import named
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import Column, Other, Schema, Table
from freehold.migrate.virtual import Keeps, rebuild_sql
from freehold.registry.diff.rebuild import changes_values, column_texts, rebuild
from freehold.registry.diff.rows import indexes_over, renumbering

# What ALTER TABLE accepts as a default; expressions appear here without their parentheses.
_LITERAL = re.compile(
    r"[+-]?[0-9]*\.?[0-9]*(?:e[+-]?[0-9]+)?|[+-]?0x[0-9a-f]+|x?'(?:[^']|'')*'|null|true|false", re.IGNORECASE
)


class Change(Struct, frozen=True):
    """One statement, and the table (lower case, may be empty) that must be rebuilt if it fails."""

    sql: str
    table: str = ""


class Plan(Struct, frozen=True, dict=True):
    """From `before` to `after`, rebuilding these tables. `is_additive` leaves out everything that removes something."""

    before: Schema
    after: Schema
    rebuilt: frozenset[str] = frozenset()
    is_additive: bool = False

    @property
    def foreign_keys_off(self) -> bool:
        """Whether a referenced table is dropped, or any is rebuilt (appliers require it off then)."""
        referenced = {key.parent for table in self.before.tables.values() for key in table.foreign_keys}
        return bool(self.rebuilt or self.swapped or self.gone & referenced)

    @cached_property
    def gone(self) -> frozenset[str]:
        """The tables that are dropped."""
        if self.is_additive:
            return frozenset()
        return frozenset(self.before.tables.keys() - self.after.tables.keys())

    @cached_property
    def swapped(self) -> frozenset[str]:
        """The changed virtual tables, and those that change between virtual and ordinary."""
        return frozenset() if self.is_additive else frozenset(self._other_kinds())

    def _other_kinds(self) -> Iterator[str]:
        for name, table in self.before.tables.items():
            will = self.after.tables.get(name)
            if will is not None and (table.is_virtual or will.is_virtual) and table.shape != will.shape:
                yield name

    @property
    def _touched(self) -> frozenset[str]:
        """The tables that are dropped at some point."""
        return self.rebuilt | self.gone | self.swapped

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """The statements, each to be run once."""
        found = [] if self.is_additive else [*self.drops()]
        # An index that takes over the rows it indexes must read them before anything else changes.
        for name in sorted(self.swapped, key=lambda name: self.before.tables[name].keeps is not Keeps.OTHERS):
            found += self._rebuilt(name)
        for name, table in self.after.tables.items():
            before = self.before.tables.get(name)
            if before is None or name in self.swapped:
                continue
            if name in self.rebuilt:
                found += self._rebuilt(name)
            elif before.shape != table.shape and not (before.is_virtual or table.is_virtual):
                found += self._altered(name, before, table)
        # Children were created after their parents, so they go first.
        found += [
            Change(f"DROP TABLE {quoted(table.name)}")
            for name, table in reversed([*self.before.tables.items()])
            if name in self.gone
        ]
        found += [
            Change(table.sql)
            for name, table in self.after.tables.items()
            if name not in self.before.tables and name not in self._waiting
        ]
        return (*found, *self._rest())

    def _rebuilt(self, name: str) -> Iterator[Change]:
        before, after = self.before.tables[name], self.after.tables[name]
        settings = self.before.settings.get(name, ())
        yield from (Change(sql, name) for sql in rebuild(before, after, self._draft_name(after), settings))

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
        while self._taken & {folded(name), *(table.virtual.shadows(name) if table.virtual else ())}:
            name += "_"
        return name

    @cached_property
    def _taken(self) -> Set[str]:
        """The names of everything that exists, including the shadow tables of virtual tables."""
        taken: set[str] = set()
        for schema in (self.before, self.after):
            taken.update(schema.tables, schema.indexes, schema.views)
            for table in schema.tables.values():
                taken |= table.virtual.shadows() if table.virtual else frozenset()
        return taken

    def drops(self) -> Iterator[Change]:
        """Drop triggers, then views, then indexes, so that nothing refers to what is already gone."""
        for kind in ("trigger", "view", "index"):
            for name, other in self._of(self.before, kind).items():
                if name in self._stale[kind]:
                    yield Change(f"DROP {kind.upper()} {quoted(other.name)}")

    def _rest(self) -> Iterator[Change]:
        for kind in ("index", "view", "trigger"):
            if kind == "trigger":  # after the views, which may be indexed; no trigger is needed
                yield from (Change(rebuild_sql(table.name), _content(table)) for table in self._refilled())
            before, after = self._of(self.before, kind), self._of(self.after, kind)
            lost = {name for name, other in before.items() if other.table in self._touched}  # with their table
            stale = frozenset() if self.is_additive else self._stale[kind] | lost
            for name, other in after.items():
                if (name not in before or name in stale) and name not in self._waiting:
                    yield Change(other.sql)

    def _refilled(self) -> Iterator[Table]:
        """Yield the full-text indexes that are rebuilt from their content."""
        contents = self.after.tables.keys() | self.after.views.keys()
        for table in indexes_over(self.after, contents - self._waiting):
            name = folded(table.name)
            if name in self._waiting:
                continue
            is_new = name not in self.before.tables or name in self.swapped
            if self._has_rows(table) and (is_new or self._is_other_content(table)):
                yield table

    def _has_rows(self, table: Table) -> bool:
        """Return whether the indexed content can have rows: a new table has none."""
        assert table.virtual is not None
        content = table.virtual.content
        return content not in self.after.tables or content in self.before.tables or content in self.before.views

    def _is_other_content(self, table: Table) -> bool:
        virtual, content = table.virtual, _content(table)
        assert virtual is not None
        was, will = self.before.tables.get(content), self.after.tables.get(content)
        if was is None or will is None:
            view, other = self.before.views.get(content), self.after.views.get(content)
            return view is None or other is None or view.shape != other.shape or self._stands_on(other)
        if content not in self.rebuilt:
            return content in self.swapped
        used = [column.name for column in virtual.columns]
        used += [virtual.content_rowid] if was.column(virtual.content_rowid) else []
        return changes_values(was, will, used) or renumbering(was, will) != ""

    def _stands_on(self, view: Other) -> bool:
        """Return whether the view's rows may change with a table or view below it, directly or through other views."""
        return bool(self._bases(folded(view.name)) & (self._touched | {*self._changed("view")}))

    @cached_property
    def _waiting(self) -> Set[str]:
        """The names of additions that must wait, since they remove something or need a rebuild, and of what uses them.

        SQLite may not notice at first that a definition refers to something missing.
        """
        if not self.is_additive:
            return frozenset()
        waits = {*self._waiting_columns(), *self._other_kinds(), *self._names_of_others()}
        waits |= {
            name
            for name, table in self.after.tables.items()
            if name not in self.before.tables and self._indexes_what_waits(table, waits)
        }
        for kind in ("index", "view", "trigger"):
            before = self._of(self.before, kind)
            for name, other in self._of(self.after, kind).items():
                is_unique = other.shape[:2] == ("create", "unique") and other.table in self.before.tables
                if name not in before and (is_unique or self._mentions(other, waits)):
                    waits.add(name)
        return waits

    def _names_of_others(self) -> Iterator[str]:
        """Yield names that an object of another kind has to give up first, e.g. a view that replaces a table."""
        kinds = (self.before.tables, self.before.indexes, self.before.views)
        for mine, kind in zip((self.after.tables, self.after.indexes, self.after.views), kinds, strict=True):
            for name in mine:
                if any(name in other for other in kinds if other is not kind):
                    yield name

    def _indexes_what_waits(self, table: Table, waits: Set[str]) -> bool:
        virtual, content = table.virtual, _content(table)
        if virtual is None or not content:
            return False
        for name in self._bases(content):
            was, will = self.before.tables.get(name), self.after.tables.get(name)
            if was is not None and will is not None and renumbering(was, will):
                return True
        return bool(waits & {content, virtual.content_rowid, *(column.name for column in virtual.columns)})

    def _bases(self, name: str) -> Set[str]:
        """Return the tables that something is based on, directly or through views."""
        views = self.after.views
        found, new = {name}, {name}
        while new:
            words = {named(word) for view in new if view in views for word in views[view].shape}
            new = (words & (views.keys() | self.after.tables.keys())) - found
            found |= new
        return found

    def _waiting_columns(self) -> Iterator[str]:
        for name, table in self.after.tables.items():
            if (before := self.before.tables.get(name)) is None:
                continue
            is_virtual = before.is_virtual or table.is_virtual
            for column in table.columns:
                is_hidden = table.is_virtual and column.is_generated
                if before.column(column.name) is not None or is_hidden:
                    continue
                if is_virtual or not is_addable(table, column):
                    yield column.name

    @cached_property
    def _stale(self) -> Mapping[str, Set[str]]:
        """What must be dropped, by kind: it is gone, changed, or in the way of a rebuild.

        SQLite refuses a rebuild while a view or trigger refers, even indirectly, to something missing.
        """
        # Dropping a table drops its indexes.
        indexes = {name for name in self._changed("index") if self.before.indexes[name].table not in self._touched}
        views = set(self._changed("view"))
        found = -1
        while found != len(views):
            found = len(views)
            views |= {name for name, view in self.before.views.items() if self._mentions(view, self._touched | views)}
        triggers = set(self._changed("trigger")) | {
            name
            for name, trigger in self.before.triggers.items()
            if trigger.table in views or self._mentions(trigger, self._touched | views)
        }
        triggers |= set(self._out_of_order(triggers))
        return {"index": indexes, "view": views, "trigger": triggers}

    def _out_of_order(self, stale: Set[str]) -> Iterator[str]:
        """Yield kept triggers that would fire too early relative to those that are created again."""
        for names in self.after.moments.values():
            kept = [name for name in self.before.triggers if name in names and name not in stale]
            if [*kept, *(name for name in names if name not in kept)] != names:
                yield from kept

    def _changed(self, kind: str) -> Iterator[str]:
        """Yield the names that are gone or changed."""
        after = self._of(self.after, kind)
        for name, other in self._of(self.before, kind).items():
            if name not in after or other.shape != after[name].shape:
                yield name

    @staticmethod
    def _mentions(other: Other, tables: Set[str]) -> bool:
        # FROM 't' is a table too.
        return bool(tables) and any(named(word) in tables for word in other.shape)

    @staticmethod
    def _of(schema: Schema, kind: str) -> Mapping[str, Other]:
        return {"index": schema.indexes, "view": schema.views, "trigger": schema.triggers}[kind]


def _content(table: Table) -> str:
    return table.virtual.content if table.virtual else ""


def needs_rebuild(before: Table, after: Table) -> bool:
    """Return whether it gets a column that ALTER TABLE refuses only if there are rows, which a trial would not show."""
    return not (before.is_virtual or after.is_virtual) and any(
        before.column(column.name) is None and not is_addable(after, column) for column in after.columns
    )


def is_addable(table: Table, column: Column) -> bool:
    """Return whether ALTER TABLE adds the column to a table with rows. A trial shows all other refusals."""
    is_reference = any(column.name in key.columns for key in table.foreign_keys)
    is_unique = any(column.name in found for found in table.uniques)
    return fits_rows(column, is_reference=is_reference) and not column.primary and not is_unique


def fits_rows(column: Column, *, is_reference: bool) -> bool:
    """Return whether ALTER TABLE adds the column if there are rows; without rows it does not check this.

    Source: https://www.sqlite.org/lang_altertable.html, section 4.
    """
    default = column.default or ()
    is_constant = not default or _LITERAL.fullmatch("".join(default)) is not None
    has_value = column.default is not None and default != ("null",)
    is_filled = has_value or not column.not_null or column.is_generated
    return is_constant and is_filled and "stored" not in column.options and not (is_reference and has_value)
