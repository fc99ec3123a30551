"""A database's tables, indexes, views and triggers as the engine itself reports them, ready to compare."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec
from msgspec import Struct

from freehold.libsql.values import SqlValue
from freehold.migrate.canonical import canonical, default_words, type_words
from freehold.migrate.fingerprint import fingerprint
from freehold.migrate.meaning import index_words, names_of, trigger_words, view_words
from freehold.migrate.names import ROWIDS, folded, quoted
from freehold.migrate.read import Found, IndexFound, Part, read_found
from freehold.migrate.schema_v1 import fingerprint_v1
from freehold.migrate.table_text import ColumnText, TableText, table_text
from freehold.migrate.target import Target
from freehold.migrate.virtual import Keeps, Virtual, virtual_of

_VERSION = "2"
_PRIMARY = "pk"


class Column(Struct, frozen=True):
    """`default` is its text as canonical words; `primary` its place in the primary key, 0 if it has none.

    `is_generated` columns hold no data. `options` are its collation, what NOT NULL does on conflict, and the
    expression that generates it, unless they are the default.
    """

    name: str
    type: str
    not_null: bool
    default: tuple[str, ...] | None
    primary: int
    is_generated: bool
    options: tuple[str, ...] = ()

    @property
    def affinity(self) -> str:
        """The type to which its values are converted, except for ANY in a STRICT table.

        Source: https://www.sqlite.org/datatype3.html, section 3.1.
        """
        if "int" in self.type:
            return "integer"
        if any(word in self.type for word in ("char", "clob", "text")):
            return "text"
        if not self.type or "blob" in self.type:
            return "blob"
        return "real" if any(word in self.type for word in ("real", "floa", "doub")) else "numeric"


class Key(Struct, frozen=True, order=True):
    """A PRIMARY KEY or UNIQUE constraint. `conflict` is what it does on conflict, empty for the default.

    A key that is the row's number (`INTEGER PRIMARY KEY`) has no `parts`.
    """

    is_primary: bool
    parts: tuple[Part, ...]
    conflict: str


class ForeignKey(Struct, frozen=True, order=True):
    """`parent_columns` are empty if it refers to the primary key. If `is_deferred`, it is checked at the commit."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_update: str
    on_delete: str
    is_deferred: bool = False


class Table(Struct, frozen=True):
    """`name` is as it was written, all else in lower case. `virtual` is set for a virtual table.

    `keys` are the primary key and the UNIQUE constraints. `references` are the foreign keys, each with the parent's
    columns that it refers to even if it names none.
    """

    name: str
    sql: str
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]
    checks: tuple[tuple[str, ...], ...]
    options: tuple[str, ...]
    keys: tuple[Key, ...] = ()
    virtual: Virtual | None = None
    references: tuple[ForeignKey, ...] = ()

    @property
    def is_virtual(self) -> bool:
        """Whether it is a virtual table."""
        return self.virtual is not None

    @property
    def keeps(self) -> Keeps:
        """Where its rows are; an ordinary table's are its own."""
        return Keeps.OWN if self.virtual is None else self.virtual.keeps

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for two tables that no statement which names its columns could distinguish."""
        if self.virtual is not None:
            return self.virtual.shape
        columns = sorted(self.columns, key=lambda column: column.name)
        return (columns, self.references, self.keys, self.checks, self.options)

    def column(self, name: str) -> Column | None:
        """The column of this name in lower case, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def affinity_of(self, column: Column) -> str:
        """The type to which a column's values are converted: in a STRICT table ANY leaves them as they are."""
        return "blob" if column.type == "any" and "strict" in self.options else column.affinity

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of its primary key in their order."""
        places = sorted((column.primary, column.name) for column in self.columns if column.primary)
        return tuple(name for _, name in places)

    @property
    def uniques(self) -> list[tuple[str, ...]]:
        """The columns of each of its UNIQUE constraints."""
        return [tuple(part.column for part in key.parts) for key in self.keys if not key.is_primary]

    @property
    def has_rowid(self) -> bool:
        """Whether its rows have numbers."""
        return "without" not in self.options

    @property
    def number(self) -> str:
        """The column that is the row's number, `INTEGER PRIMARY KEY`; empty if none is."""
        is_number = any(key.is_primary and not key.parts for key in self.keys)
        return next((column.name for column in self.columns if column.primary), "") if is_number else ""

    @property
    def rowids(self) -> tuple[str, ...]:
        """The names of a row's number that no column hides."""
        taken = {column.name for column in self.columns}
        return tuple(name for name in ROWIDS if name not in taken)

    @property
    def rowid(self) -> str | None:
        """A name of the row's number, if it has one and no column hides it."""
        return next(iter(self.rowids), None) if self.has_rowid else None


class Other(Struct, frozen=True):
    """An index, view or trigger. `table` is in lower case; `shape` are the words of its definition."""

    name: str
    table: str
    sql: str
    shape: tuple[str, ...]

    @property
    def moment(self) -> tuple[str, ...]:
        """The table, and when a trigger fires: of several at the same moment, the one created last fires first."""
        when = self.shape[3:4]
        return (self.table, *when, *self.shape[5 if when == ("instead",) else 4 :][:1])


class Schema(Struct, frozen=True, dict=True):
    """Everything by its name in lower case, in the order of creation. `found` is what it was read from.

    `settings` are those of FTS5 tables, filled by `with_settings`; they are not part of the schema.
    """

    tables: Mapping[str, Table]
    indexes: Mapping[str, Other]
    views: Mapping[str, Other]
    triggers: Mapping[str, Other]
    found: Found | None = None
    settings: Mapping[str, Sequence[tuple[str, SqlValue]]] = {}

    @cached_property
    def fingerprint(self) -> str:
        """The shape as one word: the version of its form, and its SHA-256.

        The order of columns and of objects and the layout of texts do not matter; the order of triggers does if they
        fire at the same moment.
        """
        kinds = (self.tables, self.indexes, self.views, self.triggers)
        shapes = [[(name, kind[name].shape) for name in sorted(kind)] for kind in kinds]
        return f"{_VERSION}-{fingerprint([shapes, sorted(self.moments.items())])}"

    @cached_property
    def moments(self) -> Mapping[tuple[str, ...], list[str]]:
        """The triggers of each moment at which more than one fires, in the order of their creation."""
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, trigger in self.triggers.items():
            found[trigger.moment].append(name)
        return {moment: names for moment, names in found.items() if len(names) > 1}

    def is_recorded_as(self, recorded: str) -> bool:
        """Whether a stored fingerprint, perhaps by an earlier version, is this schema's."""
        if "-" in recorded or self.found is None:
            return recorded == self.fingerprint
        return recorded == fingerprint_v1(self.found)


EMPTY = Schema({}, {}, {}, {})


async def read_schema(target: Target) -> Schema:
    """The database's schema without the ledger and the engine's own tables. One round trip. Raises as `ask` does."""
    found = await read_found(target)
    made = {folded(name): _table(name, sql, found) for kind, name, _, sql in found.objects if kind == "table"}
    tables = {name: _with_parents(table, made) for name, table in made.items()}
    names: dict[str, frozenset[str]] = {
        name: frozenset(column.name for column in table.columns) for name, table in tables.items()
    }
    names |= {folded(name): frozenset(canonical(sql)) for kind, name, _, sql in found.objects if kind == "view"}
    others: dict[str, dict[str, Other]] = {"index": {}, "view": {}, "trigger": {}}
    indexes = {index.name: index for each in found.indexes.values() for index in each}
    for kind, name, owner, sql in found.objects:
        if kind == "index":
            parts = indexes[name].parts if name in indexes else ()
            facts = [(part.collation, part.is_descending) for part in parts]
            words = index_words(sql, names.get(folded(owner), frozenset()), facts)
        elif kind == "view":
            words = view_words(sql, names_of(canonical(sql), names, but=folded(name)))
        elif kind == "trigger":
            words = trigger_words(sql, names_of(canonical(sql), names))
        else:
            continue
        others[kind][folded(name)] = Other(name, folded(owner), sql, words)
    return Schema(tables, others["index"], others["view"], others["trigger"], found)


def orphan_queries(schema: Schema) -> list[str]:
    """A query for each foreign key that counts rows without their parent; it works without the PRAGMA too."""
    found = []
    for table in schema.tables.values():
        for key in table.foreign_keys:
            parent = schema.tables.get(key.parent)
            to = key.parent_columns or (parent.primary_key if parent else ())
            child = [f"child.{quoted(name)}" for name in key.columns]
            filled = " AND ".join(f"{name} IS NOT NULL" for name in child)
            same = " AND ".join(f"parent.{quoted(b)} = {a}" for a, b in zip(child, to, strict=False))
            wanted = f"SELECT 1 FROM {quoted(key.parent)} AS parent WHERE {same or '0'}"
            is_missing = f" AND NOT EXISTS ({wanted})" if parent else ""
            found.append(f"SELECT count(*) FROM {quoted(table.name)} AS child WHERE {filled}{is_missing}")
    return found


def _with_parents(table: Table, tables: Mapping[str, Table]) -> Table:
    """The table with its `references`: a foreign key that names no columns refers to the parent's primary key."""
    keys = []
    for key in table.foreign_keys:
        primary = tables[key.parent].primary_key if key.parent in tables else ()
        is_meant = not key.parent_columns and len(primary) == len(key.columns)
        keys.append(msgspec.structs.replace(key, parent_columns=primary) if is_meant else key)
    return msgspec.structs.replace(table, references=tuple(sorted(set(keys))))


def _table(name: str, sql: str, found: Found) -> Table:
    rows = found.columns.get(name, ())
    virtual = virtual_of(sql)
    if virtual is not None:
        columns = tuple(_column(row, ColumnText("")) for row in rows)
        return Table(name, sql, columns, (), (), (), virtual=virtual)
    text = table_text(sql)
    keys = tuple(sorted(_keys(rows, found.indexes.get(name, ()), text)))
    marks = ["autoincrement"] if text.is_autoincrement else []
    return Table(
        name,
        sql,
        _columns(rows, text, is_numbered=any(key.is_primary and not key.parts for key in keys)),
        _foreign_keys(found.keys.get(name, ()), text),
        text.checks,
        (*marks, *text.options),
        keys,
    )


def _columns(rows: Sequence[list[SqlValue]], text: TableText, *, is_numbered: bool) -> tuple[Column, ...]:
    columns = (_column(row, text.columns.get(folded(str(row[0])), ColumnText(""))) for row in rows)
    # The row's number is never NULL, with or without NOT NULL.
    return tuple(
        msgspec.structs.replace(column, not_null=False) if is_numbered and column.primary else column
        for column in columns
    )


def _column(row: Sequence[SqlValue], text: ColumnText) -> Column:
    name, kind, not_null, default, primary, hidden = row
    options = [f"collate {text.collation}"] if text.collation else []
    options += [f"not null on conflict {text.not_null_conflict}"] if text.not_null_conflict else []
    options += [" ".join(text.generated)] if text.generated else []
    options += ["stored"] if text.is_stored else []
    said = None if default is None else default_words(str(default))
    return Column(
        folded(str(name)),
        type_words(str(kind).lower(), canonical(text.text) if "(" in text.text else ()),
        bool(not_null),
        None if said == ("null",) else said,
        int(str(primary)),
        bool(hidden),
        tuple(options),
    )


def _keys(rows: Sequence[list[SqlValue]], indexes: Sequence[IndexFound], text: TableText) -> list[Key]:
    """The keys as the engine reports them, completed from the text."""
    conflicts = {(key.is_primary, key.columns): key.conflict for key in text.keys if key.conflict}
    found = []
    primary = tuple(sorted(folded(str(row[0])) for row in rows if row[4]))
    of_keys = [index for index in indexes if index.origin != "c"]
    for index in of_keys:
        columns = tuple(sorted(part.column for part in index.parts))
        is_primary = index.origin == _PRIMARY
        conflict = conflicts.get((is_primary, columns)) or conflicts.get((not is_primary, columns), "")
        found.append(Key(is_primary, index.parts, conflict))
    if primary and not any(index.origin == _PRIMARY for index in of_keys):
        found.append(Key(is_primary=True, parts=(), conflict=conflicts.get((True, primary), "")))
    return found


def _foreign_keys(rows: Sequence[list[SqlValue]], text: TableText) -> tuple[ForeignKey, ...]:
    by_id: dict[SqlValue, list[list[SqlValue]]] = defaultdict(list)
    for number, *rest in rows:
        by_id[number].append(rest)
    deferred = [(one.columns, one.parent, one.parent_columns) for one in text.references if one.is_deferred]
    found = set()
    for parts in by_id.values():
        parent, _, _, on_update, on_delete = parts[0]
        # Turso's engine reports an empty name where the others report NULL.
        to = tuple(folded(str(part[2])) for part in parts if part[2])
        columns = tuple(folded(str(part[1])) for part in parts)
        is_deferred = (columns, folded(str(parent)), to) in deferred
        found.add(ForeignKey(columns, folded(str(parent)), to, str(on_update), str(on_delete), is_deferred))
    return tuple(sorted(found))
