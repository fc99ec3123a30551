"""What a database holds, as the engine itself tells it: tables, indexes, views and triggers, ready to compare."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec
from msgspec import Struct

from freehold.libsql.values import SqlValue
from freehold.migrate.canonical import canonical, clauses, closing, items
from freehold.migrate.fingerprint import OURS_SQL, ask, fingerprint
from freehold.migrate.names import quoted
from freehold.migrate.target import Target

_TABLES = f"(SELECT name, rowid AS place FROM sqlite_schema WHERE type = 'table' AND {OURS_SQL}) AS owner"
_OBJECTS_SQL = f"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE {OURS_SQL} ORDER BY rowid"
_COLUMNS_SQL = f"""SELECT owner.name, x.name, x.type, x."notnull", x.dflt_value, x.pk, x.hidden
FROM {_TABLES}, pragma_table_xinfo(owner.name) AS x ORDER BY owner.place, x.cid"""
_FOREIGN_KEYS_SQL = f"""SELECT owner.name, x.id, x."table", x."from", x."to", x.on_update, x.on_delete
FROM {_TABLES}, pragma_foreign_key_list(owner.name) AS x ORDER BY owner.place, x.id, x.seq"""
_UNIQUES_SQL = f"""SELECT owner.name, x.name, i.name
FROM {_TABLES}, pragma_index_list(owner.name) AS x, pragma_index_info(x.name) AS i
WHERE x.origin = 'u' ORDER BY owner.place, x.name, i.seqno"""

_AROUND_SIGNS = re.compile(r"\s*([(),])\s*")
_OPTIONS = ("collate", "conflict")


class Column(Struct, frozen=True):
    """`default` is its text as canonical words; `primary` its place in the primary key, 0 if none.

    `is_generated` columns hold no data. `options` are its collation and what it does on conflict.
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
        """What its values are turned into. Source: https://www.sqlite.org/datatype3.html, section 3.1."""
        if "int" in self.type:
            return "integer"
        if any(word in self.type for word in ("char", "clob", "text")):
            return "text"
        if not self.type or "blob" in self.type:
            return "blob"
        return "real" if any(word in self.type for word in ("real", "floa", "doub")) else "numeric"


class ForeignKey(Struct, frozen=True, order=True):
    """`parent_columns` are empty when it means the primary key."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_update: str
    on_delete: str


class Table(Struct, frozen=True):
    """`name` is as it was written, all else in lower case. `module` is set for a virtual table."""

    name: str
    sql: str
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]
    uniques: tuple[tuple[str, ...], ...]
    checks: tuple[tuple[str, ...], ...]
    options: tuple[str, ...]
    is_virtual: bool = False

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for two tables that differ in nothing that a statement naming its columns could tell."""
        if self.is_virtual:
            return canonical(self.sql)
        columns = sorted(self.columns, key=lambda column: column.name)
        return (columns, self.foreign_keys, self.uniques, self.checks, self.options)

    def column(self, name: str) -> Column | None:
        """The column of this name in lower case."""
        return next((column for column in self.columns if column.name == name), None)


class Other(Struct, frozen=True):
    """An index, view or trigger. `table` is in lower case."""

    name: str
    table: str
    sql: str

    @property
    def shape(self) -> tuple[str, ...]:
        """Its canonical words, without IF NOT EXISTS."""
        words = canonical(self.sql)
        for at in range(len(words) - 2):
            if words[at : at + 3] == ("if", "not", "exists"):
                return words[:at] + words[at + 3 :]
        return words


class Schema(Struct, frozen=True, dict=True):
    """Everything by its name in lower case, in the order of creation."""

    tables: Mapping[str, Table]
    indexes: Mapping[str, Other]
    views: Mapping[str, Other]
    triggers: Mapping[str, Other]

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the shape; the order of columns and of objects, and the texts' layout, count for nothing."""
        kinds = (self.tables, self.indexes, self.views, self.triggers)
        return fingerprint([[(name, kind[name].shape) for name in sorted(kind)] for kind in kinds])


EMPTY = Schema({}, {}, {}, {})


async def read_schema(target: Target) -> Schema:
    """What migrations made of the database; the ledger and the engine's own tables are left out. One round trip.

    Raises:
        SchemaUnreadable: the database refuses the question.
        Unavailable: no answer, or busy.
    """
    objects, columns, keys, uniques = await ask(
        target, _OBJECTS_SQL, _COLUMNS_SQL, _FOREIGN_KEYS_SQL, _UNIQUES_SQL
    )
    parts = _Parts(_grouped(columns), _grouped(keys), _grouped(uniques))
    found: dict[str, dict[str, Other]] = {"index": {}, "view": {}, "trigger": {}}
    tables = {}
    for kind, name, owner, sql in ((str(a), str(b), str(c), str(d)) for a, b, c, d in objects):
        if kind == "table":
            tables[name.lower()] = _table(name, sql, parts)
        else:
            found[kind][name.lower()] = Other(name, owner.lower(), sql)
    return Schema(tables, found["index"], found["view"], found["trigger"])


def orphan_queries(schema: Schema) -> list[str]:
    """For each foreign key a query that counts the rows whose parent is not there; engines without the PRAGMA too."""
    found = []
    for table in schema.tables.values():
        for key in table.foreign_keys:
            parent = schema.tables.get(key.parent)
            primary = (
                sorted((column for column in parent.columns if column.primary), key=_place) if parent else []
            )
            to = key.parent_columns or tuple(column.name for column in primary)
            child = [f"child.{quoted(name)}" for name in key.columns]
            filled = " AND ".join(f"{name} IS NOT NULL" for name in child)
            same = " AND ".join(f"parent.{quoted(b)} = {a}" for a, b in zip(child, to, strict=False))
            wanted = f"SELECT 1 FROM {quoted(key.parent)} AS parent WHERE {same or '0'}"
            is_missing = f" AND NOT EXISTS ({wanted})" if parent else ""
            found.append(f"SELECT count(*) FROM {quoted(table.name)} AS child WHERE {filled}{is_missing}")
    return found


def _place(column: Column) -> int:
    return column.primary


class _Parts(Struct, frozen=True):
    columns: Mapping[str, list[list[SqlValue]]]
    keys: Mapping[str, list[list[SqlValue]]]
    uniques: Mapping[str, list[list[SqlValue]]]


def _grouped(rows: Sequence[list[SqlValue]]) -> Mapping[str, list[list[SqlValue]]]:
    found: dict[str, list[list[SqlValue]]] = defaultdict(list)
    for owner, *rest in rows:
        found[str(owner)].append(rest)
    return found


def _table(name: str, sql: str, parts: _Parts) -> Table:
    words = canonical(sql)
    is_virtual = words[1:2] == ("virtual",)
    pieces, tail = ((), ()) if is_virtual else items(words)
    by_column = {item.column: item.words for item in pieces if item.column}
    checks = sorted(clause for item in pieces for clause in clauses(item.words, "check"))
    marks = [word for word in ("autoincrement", "deferrable") if any(word in item.words for item in pieces)]
    conflicts = [" ".join(item.words) for item in pieces if not item.column and "conflict" in item.words]
    return Table(
        name,
        sql,
        _columns(parts.columns.get(name, ()), by_column),
        _foreign_keys(parts.keys.get(name, ())),
        _uniques(parts.uniques.get(name, ())),
        tuple(checks),
        (*marks, *sorted(conflicts), *sorted(word for word in tail if word in {"strict", "without"})),
        is_virtual,
    )


def _columns(rows: Sequence[list[SqlValue]], by_column: Mapping[str, tuple[str, ...]]) -> tuple[Column, ...]:
    found = [_column(row, by_column) for row in rows]
    primary = [column for column in found if column.primary]
    if len(primary) == 1 and primary[0].type == "integer":
        # It is the row's number, which is never NULL whether NOT NULL stands there or not.
        found = [
            msgspec.structs.replace(column, not_null=False) if column.primary else column for column in found
        ]
    return tuple(found)


def _column(row: Sequence[SqlValue], by_column: Mapping[str, tuple[str, ...]]) -> Column:
    name, kind, not_null, default, primary, hidden = row
    words = by_column.get(str(name).lower(), ())
    options = [
        f"{words[at]} {words[at + 1]}"
        for at in range(1, len(words) - 1)
        if words[at] in _OPTIONS and words[at + 1] != "("
    ]
    if hidden:
        options += [" ".join(clause) for clause in clauses(words, "as")]
        options += [word for word in words if word == "stored"]
    return Column(
        str(name).lower(),
        _type(str(kind).lower(), words),
        bool(not_null),
        None if default is None else _bare(canonical(str(default))),
        int(str(primary)),
        bool(hidden),
        tuple(options),
    )


def _type(kind: str, words: Sequence[str]) -> str:
    """The type with its numbers, `varchar(20)`: Turso's engine leaves them out of its answer."""
    at = 1 + len(kind.split())
    if "(" not in kind and kind and words[at : at + 1] == ("(",):
        kind += "".join(words[at : closing(words, at) + 1])
    return _AROUND_SIGNS.sub(r"\1", kind)


def _bare(words: tuple[str, ...]) -> tuple[str, ...]:
    """Without parentheses around all: some engines keep those of a default."""
    while words[:1] == ("(",) and closing(words, 0) == len(words) - 1:
        words = words[1:-1]
    return words


def _foreign_keys(rows: Sequence[list[SqlValue]]) -> tuple[ForeignKey, ...]:
    by_id: dict[SqlValue, list[list[SqlValue]]] = defaultdict(list)
    for number, *rest in rows:
        by_id[number].append(rest)
    found = []
    for parts in by_id.values():
        parent, _, _, on_update, on_delete = parts[0]
        # Turso's engine says an empty name where the others say none.
        to = tuple(str(part[2]).lower() for part in parts if part[2])
        columns = tuple(str(part[1]).lower() for part in parts)
        found.append(ForeignKey(columns, str(parent).lower(), to, str(on_update), str(on_delete)))
    return tuple(sorted(found))


def _uniques(rows: Sequence[list[SqlValue]]) -> tuple[tuple[str, ...], ...]:
    by_index: dict[SqlValue, list[str]] = defaultdict(list)
    for index, column in rows:
        by_index[index].append(str(column).lower())
    return tuple(sorted(tuple(columns) for columns in by_index.values()))
