"""The fingerprint of a schema as stored in `registry.sum` before it covered collations, order and deferral.

Folders sealed at that time are compared by it until they are sealed again. It must never change.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from freehold.libsql.values import SqlValue
from freehold.migrate.canonical import bare, canonical, clauses, items, type_words
from freehold.migrate.fingerprint import fingerprint
from freehold.migrate.read import Found

_OPTIONS = ("collate", "conflict")


class _Column(Struct, frozen=True):
    name: str
    type: str
    not_null: bool
    default: tuple[str, ...] | None
    primary: int
    is_generated: bool
    options: tuple[str, ...] = ()


class _ForeignKey(Struct, frozen=True, order=True):
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_update: str
    on_delete: str


def fingerprint_v1(found: Found) -> str:
    """Hex SHA-256 of the shape in that earlier form."""
    kinds: dict[str, dict[str, object]] = {"table": {}, "index": {}, "view": {}, "trigger": {}}
    for kind, name, _, sql in found.objects:
        kinds[kind][name.lower()] = _table(name, sql, found) if kind == "table" else _other(sql)
    return fingerprint([[(name, kind[name]) for name in sorted(kind)] for kind in kinds.values()])


def _words(sql: str) -> tuple[str, ...]:
    """The canonical words with every letter in lower case, not only A to Z, as in that form."""
    return tuple(word if word.startswith("'") else word.lower() for word in canonical(sql))


def _other(sql: str) -> tuple[str, ...]:
    words = _words(sql)
    for at in range(len(words) - 2):
        if words[at : at + 3] == ("if", "not", "exists"):
            return words[:at] + words[at + 3 :]
    return words


def _table(name: str, sql: str, found: Found) -> tuple[object, ...]:
    words = _words(sql)
    if words[1:2] == ("virtual",):
        return words
    pieces, tail = items(words)
    by_column = {item.column: item.words for item in pieces if item.column}
    checks = sorted(clause for item in pieces for clause in clauses(item.words, "check"))
    marks = [word for word in ("autoincrement", "deferrable") if any(word in item.words for item in pieces)]
    conflicts = [" ".join(item.words) for item in pieces if not item.column and "conflict" in item.words]
    options = (*marks, *sorted(conflicts), *sorted(word for word in tail if word in {"strict", "without"}))
    columns = sorted(_columns(found.columns.get(name, ()), by_column), key=lambda column: column.name)
    uniques = tuple(sorted(tuple(column.lower() for column in unique) for unique in found.uniques(name)))
    return (columns, _foreign_keys(found.keys.get(name, ())), uniques, tuple(checks), options)


def _columns(rows: Sequence[list[SqlValue]], by_column: Mapping[str, tuple[str, ...]]) -> list[_Column]:
    found = [_column(row, by_column) for row in rows]
    primary = [column for column in found if column.primary]
    if len(primary) == 1 and primary[0].type == "integer":
        found = [msgspec.structs.replace(column, not_null=False) if column.primary else column for column in found]
    return found


def _column(row: Sequence[SqlValue], by_column: Mapping[str, tuple[str, ...]]) -> _Column:
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
    return _Column(
        str(name).lower(),
        type_words(str(kind).lower(), words),
        bool(not_null),
        None if default is None else bare(_words(str(default))),
        int(str(primary)),
        bool(hidden),
        tuple(options),
    )


def _foreign_keys(rows: Sequence[list[SqlValue]]) -> tuple[_ForeignKey, ...]:
    by_id: dict[SqlValue, list[list[SqlValue]]] = defaultdict(list)
    for number, *rest in rows:
        by_id[number].append(rest)
    found = []
    for parts in by_id.values():
        parent, _, _, on_update, on_delete = parts[0]
        to = tuple(str(part[2]).lower() for part in parts if part[2])
        columns = tuple(str(part[1]).lower() for part in parts)
        found.append(_ForeignKey(columns, str(parent).lower(), to, str(on_update), str(on_delete)))
    return tuple(sorted(found))
