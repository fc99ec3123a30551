"""Writes a database down as SQL that makes it again: definitions, and each value exactly as it is stored.

Meant for what migrations leave in a fresh database: definitions and seed rows, not a user's data.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from freehold.errors import Conflict
from freehold.libsql.values import SqlValue
from freehold.migrate.content import Table, read_content
from freehold.migrate.fingerprint import ask, fingerprint
from freehold.migrate.names import quoted
from freehold.migrate.target import Target

_INSERT_CHARS = 64 * 1024

_SEQUENCES_SQL = "SELECT name, seq FROM sqlite_sequence ORDER BY name"


class CannotBeDumped(Conflict):
    """It holds something that SQL text cannot bring back."""

    code = "cannot_be_dumped"


class Dump(Struct, frozen=True):
    """`tables`, then `rows`, then `rest` (indexes, views, triggers) make the database again.

    `state` is what else must come out equal, in no form that could be run.
    """

    tables: tuple[str, ...]
    rows: tuple[str, ...]
    rest: tuple[str, ...]
    state: tuple[SqlValue, ...] = ()

    @property
    def rows_fingerprint(self) -> str:
        """Hex SHA-256 over every value, its type included."""
        return fingerprint([self.rows, self.state])


async def dump(target: Target) -> Dump:
    """Everything but the ledger, in an order in which it can be run with foreign keys off.

    Raises:
        CannotBeDumped: with the reason.
        SchemaUnreadable, Unavailable: it cannot be read.
    """
    content = await read_content(target)
    tables = content.tables
    rows: list[str] = []
    state: list[SqlValue] = []
    for table in tables:
        if not table.module:
            rows += await _rows(target, table)
        else:
            rows += await _virtual_rows(target, table)
            if table.module == "fts5":
                state += await _flat(target, f"SELECT k, v FROM {quoted(table.name + '_config')} ORDER BY k")
    if content.has_sequences:
        rows += await _sequences(target)
    # A trigger must not fire for rows that are already what it made of them, so the triggers come last.
    return Dump(tuple(table.sql for table in tables), tuple(rows), content.rest, tuple(state))


async def _rows(target: Target, table: Table, *, with_rowid: bool = True) -> list[str]:
    rowid = table.rowid
    names = [quoted(column) for column in table.columns]
    if table.has_rowid and with_rowid:
        if rowid is None:
            await _require_empty(target, table, "its columns hide the row numbers")
            return []
        names.insert(0, rowid)
    read = ", ".join(f"typeof({name}), {_exact(name)}" for name in names)
    order = "" if rowid is None or not table.has_rowid else f" ORDER BY {rowid}"
    [found] = await ask(target, f"SELECT {read} FROM {quoted(table.name)}{order}")
    lines = [
        f"({', '.join(_literal(kind, value) for kind, value in zip(row[::2], row[1::2], strict=True))})"
        for row in found
    ]
    if not order:
        lines.sort()
    head = f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) VALUES\n"
    return list(_inserts(head, lines))


async def _virtual_rows(target: Target, table: Table) -> list[str]:
    match table.module:
        case "fts5":
            return await _text_rows(target, table)
        case "fts5vocab":  # shows another table's
            return []
        case "rtree" | "rtree_i32":
            return await _rows(target, table, with_rowid=False)
        case module:
            await _require_empty(target, table, f"the module `{module}` is not known")
            return []


async def _text_rows(target: Target, table: Table) -> list[str]:
    if table.fts_content is None:
        return await _rows(target, table)
    if not table.fts_content:
        await _require_empty(target, table, "it keeps no content")
    if await _is_empty(target, table):
        return []
    # Its rows are another table's; what it has of its own can be made from them again, if it fits them now.
    name = quoted(table.name)
    await ask(target, f"INSERT INTO {name} ({name}, rank) VALUES ('integrity-check', 1)")
    return [f"INSERT INTO {name} ({name}) VALUES ('rebuild')"]


async def _sequences(target: Target) -> list[str]:
    """The numbers that AUTOINCREMENT goes on from; inserting rows has left others."""
    [found] = await ask(target, _SEQUENCES_SQL)
    lines = [f"({_quoted_text(str(name))}, {_literal('integer', number)})" for name, number in found]
    if not lines:  # the table stays behind when the last that needs it is dropped, and cannot be made alone
        return []
    return [
        "DELETE FROM sqlite_sequence",
        *_inserts("INSERT INTO sqlite_sequence (name, seq) VALUES\n", lines),
    ]


async def _require_empty(target: Target, table: Table, reason: str) -> None:
    if not await _is_empty(target, table):
        raise CannotBeDumped(f"the rows of table {table.name} cannot be written down: {reason}")


async def _is_empty(target: Target, table: Table) -> bool:
    return not await _flat(target, f"SELECT 1 FROM {quoted(table.name)} LIMIT 1")


async def _flat(target: Target, query: str) -> list[SqlValue]:
    [found] = await ask(target, query)
    return [value for row in found for value in row]


def _inserts(head: str, lines: Sequence[str]) -> Iterator[str]:
    part: list[str] = []
    chars = 0
    for line in lines:
        if part and chars + len(line) > _INSERT_CHARS:
            yield head + ",\n".join(part)
            part, chars = [], 0
        part.append(line)
        chars += len(line)
    if part:
        yield head + ",\n".join(part)


def _exact(name: str) -> str:
    """What cannot travel as it is goes as hexadecimal digits or a word: NUL, broken UTF-8, infinities."""
    return (
        f"CASE typeof({name}) WHEN 'text' THEN hex({name}) WHEN 'blob' THEN hex({name}) WHEN 'real' THEN "
        f"CASE {name} WHEN 9e999 THEN '9e999' WHEN -9e999 THEN '-9e999' ELSE {name} END ELSE {name} END"
    )


def _literal(kind: SqlValue, value: SqlValue) -> str:
    match kind:
        case "null":
            return "NULL"
        case "text":
            return _text_literal(str(value))
        case "blob":
            return f"x'{value!s}'"
        case "real":
            # The shortest text that gives the same number: for a seed nearly always what its migration said.
            return repr(value) if isinstance(value, float) else str(value)
        case _:
            return str(value)


def _text_literal(digits: str) -> str:
    try:
        text = bytes.fromhex(digits).decode()
    except UnicodeDecodeError:
        text = "\0"
    return f"CAST(x'{digits}' AS TEXT)" if "\0" in text else _quoted_text(text)


def _quoted_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
