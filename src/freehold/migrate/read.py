"""What an engine reports about a database's schema, uninterpreted."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from freehold.libsql.values import SqlValue
from freehold.migrate.fingerprint import OURS_SQL, ask
from freehold.migrate.names import folded
from freehold.migrate.target import Target

_TABLES = f"(SELECT name, rowid AS place FROM sqlite_schema WHERE type = 'table' AND {OURS_SQL}) AS owner"
_OBJECTS_SQL = f"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE {OURS_SQL} ORDER BY rowid"
_COLUMNS_SQL = f"""SELECT owner.name, x.name, x.type, x."notnull", x.dflt_value, x.pk, x.hidden
FROM {_TABLES}, pragma_table_xinfo(owner.name) AS x ORDER BY owner.place, x.cid"""
_FOREIGN_KEYS_SQL = f"""SELECT owner.name, x.id, x."table", x."from", x."to", x.on_update, x.on_delete
FROM {_TABLES}, pragma_foreign_key_list(owner.name) AS x ORDER BY owner.place, x.id, x.seq"""
_INDEXES_SQL = f"""SELECT owner.name, x.name, x.origin, i.name, i."desc", i.coll
FROM {_TABLES}, pragma_index_list(owner.name) AS x, pragma_index_xinfo(x.name) AS i
WHERE i.key ORDER BY owner.place, x.name, i.seqno"""


class Part(Struct, frozen=True, order=True):
    """A column of an index or key, all in lower case; `column` is empty for an expression."""

    column: str
    collation: str
    is_descending: bool


class IndexFound(Struct, frozen=True):
    """`origin`: `c` for CREATE INDEX, `u` for UNIQUE, `pk` for PRIMARY KEY."""

    name: str
    origin: str
    parts: tuple[Part, ...]


class Found(Struct, frozen=True):
    """`objects` are type, name, table and SQL in the order of creation; the rest is by the table's name as written."""

    objects: tuple[tuple[str, str, str, str], ...]
    columns: Mapping[str, list[list[SqlValue]]]
    keys: Mapping[str, list[list[SqlValue]]]
    indexes: Mapping[str, tuple[IndexFound, ...]]

    def uniques(self, table: str) -> list[tuple[str, ...]]:
        """The columns of each UNIQUE constraint of a table."""
        uniques = [index.parts for index in self.indexes.get(table, ()) if index.origin == "u"]
        return [tuple(part.column for part in parts) for parts in uniques]


async def read_found(target: Target) -> Found:
    """What migrations and users created, without the ledger and the engine's own tables. Raises as `ask` does."""
    objects, columns, keys, indexes = await ask(target, _OBJECTS_SQL, _COLUMNS_SQL, _FOREIGN_KEYS_SQL, _INDEXES_SQL)
    return Found(
        tuple((str(kind), str(name), str(owner), str(sql)) for kind, name, owner, sql in objects),
        _grouped(columns),
        _grouped(keys),
        {owner: tuple(_indexes(rows)) for owner, rows in _grouped(indexes).items()},
    )


def _grouped(rows: Sequence[list[SqlValue]]) -> Mapping[str, list[list[SqlValue]]]:
    found: dict[str, list[list[SqlValue]]] = defaultdict(list)
    for owner, *rest in rows:
        found[str(owner)].append(rest)
    return found


def _indexes(rows: Sequence[list[SqlValue]]) -> Iterator[IndexFound]:
    by_name: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for name, origin, column, is_descending, collation in rows:
        part = Part(folded(str(column or "")), str(collation or "binary").lower(), bool(is_descending))
        by_name[str(name), str(origin)].append(part)
    for (name, origin), parts in by_name.items():
        yield IndexFound(name, origin, tuple(parts))
