"""Writes a database as SQL that recreates it: definitions, and each value exactly as it is stored.

It is meant for what migrations leave in a fresh database, definitions and seed rows, and not for a user's data.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from freehold.errors import Conflict
from freehold.libsql.values import SqlValue
from freehold.migrate.canonical import canonical
from freehold.migrate.content import Table, read_content
from freehold.migrate.fingerprint import ask, fingerprint
from freehold.migrate.full_text_settings import setting_statements, settings_of
from freehold.migrate.names import literal, quoted
from freehold.migrate.plan import divided
from freehold.migrate.target import Target
from freehold.migrate.virtual import Keeps, check_sql, rebuild_sql

_INSERT_CHARS = 64 * 1024


class CannotBeDumped(Conflict):
    """A snapshot cannot represent what the migrations produce."""

    code = "cannot_be_dumped"
    remedy = "There is nothing to do: new tenants replay the migrations."
    where = "cli"


class Dump(Struct, frozen=True):
    """`tables`, then `rows`, then `rest` (indexes, views, triggers) recreate the database.

    `state` are further values that must be equal; they are for comparison only and cannot be run.
    """

    tables: tuple[str, ...]
    rows: tuple[str, ...]
    rest: tuple[str, ...]
    state: tuple[SqlValue, ...] = ()

    @property
    def rows_fingerprint(self) -> str:
        """Hex SHA-256 over every value and its type."""
        return fingerprint([self.rows, self.state])


async def dump(target: Target) -> Dump:
    """Everything but the ledger, in an order in which it can be run with foreign keys off.

    Raises:
        CannotBeDumped: the message says why.
        SchemaUnreadable, Unavailable: it cannot be read.
    """
    content = await read_content(target)
    tables = content.tables
    rows: list[str] = []
    rest = list(content.rest)
    views = [sql for sql in rest if canonical(sql)[1:2] == ("view",)]
    state: list[SqlValue] = []
    for table in tables:
        if table.virtual is None:
            rows += await _rows(target, table)
            continue
        if table.is_fts5:
            settings = await settings_of(target, table.name)
            state += [value for setting in settings for value in setting]
            rows += setting_statements(table.name, settings)
        filling = await _virtual_rows(target, table)
        # A table that indexes a view can be filled only once the view exists.
        (rest if table.keeps is Keeps.OTHERS and views else rows).extend(filling)
    if content.has_sequences:
        rows += await _sequences(target)
    # Triggers come last: they must not fire for rows that already have their effects.
    return Dump(tuple(table.sql for table in tables), tuple(rows), tuple(rest), tuple(state))


async def _rows(target: Target, table: Table) -> list[str]:
    rowid = table.rowid
    names = [quoted(column) for column in table.columns]
    if table.has_rowid and not (table.virtual and table.virtual.is_tree):
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
    match table.keeps:
        case Keeps.OWN:
            return await _rows(target, table)
        case Keeps.OTHERS if not await _is_empty(target, table):
            # Its rows belong to another table; its own content can be rebuilt from them if it matches them now.
            if table.is_fts5:
                await ask(target, check_sql(table.name))
            return [rebuild_sql(table.name)]
        case Keeps.NOTHING:
            await _require_empty(target, table, "it keeps no content")
        case Keeps.UNKNOWN:
            module = table.virtual.module if table.virtual else ""
            await _require_empty(target, table, f"the module `{module}` is not known")
    return []


async def _sequences(target: Target) -> list[str]:
    """Statements for the numbers from which AUTOINCREMENT continues; inserting rows has left others."""
    [found] = await ask(target, "SELECT name, seq FROM sqlite_sequence ORDER BY name")
    lines = [f"({literal(str(name))}, {_literal('integer', number)})" for name, number in found]
    if not lines:  # the table remains when the last one that needs it is dropped, and cannot be created on its own
        return []
    return ["DELETE FROM sqlite_sequence", *_inserts("INSERT INTO sqlite_sequence (name, seq) VALUES\n", lines)]


async def _require_empty(target: Target, table: Table, reason: str) -> None:
    if not await _is_empty(target, table):
        raise CannotBeDumped(f"the rows of table {table.name} cannot be written down: {reason}")


async def _is_empty(target: Target, table: Table) -> bool:
    [found] = await ask(target, f"SELECT 1 FROM {quoted(table.name)} LIMIT 1")
    return not found


def _inserts(head: str, lines: Sequence[str]) -> Iterator[str]:
    return (head + ",\n".join(part) for part in divided(lines, len, _INSERT_CHARS))


def _exact(name: str) -> str:
    """An expression for a value that is exact on every engine: text and blobs in hexadecimal, infinities as text."""
    return (
        f"CASE typeof({name}) WHEN 'text' THEN hex({name}) WHEN 'blob' THEN hex({name}) WHEN 'real' THEN "
        f"CASE {name} WHEN 9e999 THEN '9e999' WHEN -9e999 THEN '-9e999' ELSE {name} END ELSE {name} END"
    )


def _literal(kind: SqlValue, value: SqlValue) -> str:
    match kind:
        case "null":
            return "NULL"
        case "text":
            try:
                text = bytes.fromhex(str(value)).decode()
            except UnicodeDecodeError:
                text = "\0"
            return f"CAST(x'{value!s}' AS TEXT)" if "\0" in text else literal(text)
        case "blob":
            return f"x'{value!s}'"
    # Of a fraction the shortest text that means the same: for a seed row nearly always the migration's own.
    return repr(value) if isinstance(value, float) else str(value)
