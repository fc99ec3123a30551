"""Copies everything from one database into another over SQL alone, whatever engines they are on.

Only rows and definitions are copied, never pages of a file, so a manipulated file brings nothing else along. Every
value arrives as it is stored: text that is not UTF-8 or contains NUL, infinities, 64-bit integers.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from msgspec import Struct

from freehold.errors import Conflict, Unavailable
from freehold.libsql.protocol import (
    Batch,
    BatchStep,
    Blob,
    CondAnd,
    CondIsAutocommit,
    CondNot,
    CondOk,
    Error,
    Integer,
    Stmt,
    Text,
    Value,
)
from freehold.libsql.values import decode
from freehold.migrate.content import Content, Table, read_content
from freehold.migrate.failures import circumstance
from freehold.migrate.fingerprint import ask
from freehold.migrate.full_text_settings import setting_statements, settings_of
from freehold.migrate.names import quoted
from freehold.migrate.target import Target
from freehold.migrate.virtual import Keeps, rebuild_sql

_FIRST_ROWS = 100
_MOST_ROWS = 2_000
_PAGE_BYTES = 1_000_000
_MOST_VALUES = 900  # in one statement; every engine accepts that many
_LOWEST = -(2**63)
_TOO_LARGE = {"RESPONSE_TOO_LARGE", "SQLITE_NOMEM", "SQLITE_TOOBIG"}


class CannotBeCopied(Conflict):
    """A database contains something that cannot be copied."""

    code = "cannot_be_copied"
    remedy = "The message names it: remove it, or use an export."


class Copied(Struct, frozen=True):
    """How much was copied; `skipped` has a line for each object that the destination's engine does not accept."""

    tables: int
    rows: int
    skipped: tuple[str, ...]


class _Rows(Struct, frozen=True):
    """A page of rows. Each row alternates the type of a value and the value."""

    rows: list[list[Value]]

    @property
    def size_bytes(self) -> int:
        return sum(_size(value) for row in self.rows for value in row) + 1


async def copy_database(
    source: Target, destination: Target, on_rows: Callable[[int], None] = lambda _rows: None
) -> Copied:
    """Copy tables, rows, indexes, views, triggers and the ledger into an empty database, and compare the row counts.

    The source must not change meanwhile. The destination passes through incomplete states: nobody may use it yet, and
    it must be discarded after an error. `on_rows` is called with the number of rows copied so far.

    Raises:
        CannotBeCopied: the message says why.
        SchemaUnreadable, Unavailable: one of the two databases does not answer as it should.
    """
    return await _Copy(source, destination, on_rows).all()


async def content_digests(target: Target) -> dict[str, tuple[int, str]]:
    """For each table the number of its rows and a hash over every value; equal for equal content.

    It compares a database with its copy. Tables that cannot be read row by row, such as a full-text index over
    another table, are left out.

    Raises:
        CannotBeCopied, SchemaUnreadable, Unavailable: it cannot be read.
    """
    copy = _Copy(target, target, lambda _rows: None)
    found = {}
    for table in (await read_content(target, with_ledger=True)).tables:
        if table.virtual is None or (table.virtual.is_text and table.keeps is Keeps.OWN):
            found[table.name] = await copy.digest(table)
    return found


class _Copy:
    def __init__(self, source: Target, destination: Target, on_rows: Callable[[int], None]) -> None:
        self._source = source
        self._destination = destination
        self._on_rows = on_rows
        self._rows = 0
        self._skipped: list[str] = []

    async def all(self) -> Copied:
        content = await read_content(self._source, with_ledger=True)
        tables = [table for table in content.tables if await self._make(table.sql, f"the table {table.name}")]
        for table in tables:
            if table.is_fts5:
                settings = setting_statements(table.name, await settings_of(self._source, table.name))
                await self._write([Stmt(sql=sql, want_rows=False) for sql in settings])
            if await self._can_be_read(table):
                await self._copy_rows(table)
        await self._sequences(content)
        # Triggers come last: they must not fire for rows that already have their effects.
        for sql in content.rest:
            await self._make(sql, sql.split("\n", 1)[0][:100])
        # The rows of these belong to another table or a view. Filling them fires no trigger.
        for table in tables:
            if table.keeps is Keeps.OTHERS:
                await self._write([Stmt(sql=rebuild_sql(table.name))])
        [[[version]]] = await ask(self._source, "PRAGMA user_version")
        if isinstance(version, int) and version:
            await self._make(f"PRAGMA user_version = {version}", "user_version")
        return Copied(len(tables), self._rows, tuple(self._skipped))

    async def _make(self, sql: str, what: str) -> bool:
        """Run a definition; False if the engine refuses it, which is added to what was skipped."""
        error = await self._try([Stmt(sql=sql)])
        if error is not None:
            self._skipped.append(f"{what}: {error.message}")
        return error is None

    async def _can_be_read(self, table: Table) -> bool:
        if table.keeps is Keeps.OWN:
            return True
        if table.keeps in (Keeps.NOTHING, Keeps.UNKNOWN):
            [rows] = await ask(self._source, f"SELECT 1 FROM {quoted(table.name)} LIMIT 1")
            if rows:
                self._skipped.append(f"the rows of {table.name}: it does not keep what it was given")
        return False

    async def digest(self, table: Table) -> tuple[int, str]:
        """The number of rows in the source's table, and a hash over them in their order."""
        names, has_number = _columns(table)
        count, digest = 0, hashlib.sha256()
        async for page in self._pages(table, names, by_number=has_number):
            count += len(page.rows)
            for row in page.rows:
                digest.update(msgspec.json.encode([decode(value) for value in row]))
        return count, digest.hexdigest()

    async def _copy_rows(self, table: Table) -> None:
        names, has_number = _columns(table)
        head = f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) VALUES "
        copied = 0
        async for page in self._pages(table, names, by_number=has_number):
            await self._write(list(_inserts(head, page.rows)))
            copied += len(page.rows)
            self._rows += len(page.rows)
            self._on_rows(self._rows)
        [[[count]]] = await ask(self._destination, f"SELECT count(*) FROM {quoted(table.name)}")
        if count != copied:
            raise CannotBeCopied(f"the table {table.name} has {copied} rows, and {count!s} arrived")

    async def _pages(self, table: Table, names: Sequence[str], *, by_number: bool) -> AsyncIterator[_Rows]:
        read = ", ".join(f"typeof({name}), {_exact(name)}" for name in names)
        select = f"SELECT {read} FROM {quoted(table.name)} "
        first = sql = select + "LIMIT ?2 OFFSET ?1"
        if by_number:
            order = f"ORDER BY {names[0]} LIMIT ?2"
            # The first page uses >=, since a row may have the lowest possible number.
            first, sql = f"{select}WHERE {names[0]} >= ?1 {order}", f"{select}WHERE {names[0]} > ?1 {order}"
        after, done, limit = _LOWEST, 0, _FIRST_ROWS
        while True:
            page = await self._page(sql if done else first, after if by_number else done, limit)
            if page is None:  # too large for one answer
                if limit == 1:
                    raise CannotBeCopied(f"a row of the table {table.name} is too large to be copied")
                limit = max(limit // 4, 1)
                continue
            if not page.rows:
                return
            yield page
            done += len(page.rows)
            if by_number:
                after = _integer(page.rows[-1][1])
            limit = max(1, min(_MOST_ROWS, limit * _PAGE_BYTES // page.size_bytes, limit * 4))

    async def _page(self, sql: str, place: int, limit: int) -> _Rows | None:
        stmt = Stmt(sql=sql, args=(Integer(str(place)), Integer(str(limit))))
        [answer] = await self._source.run([Batch((BatchStep(stmt),))])
        error, result = answer.step_errors[0], answer.step_results[0]
        if error is not None and (error.code in _TOO_LARGE or "too large" in error.message.lower()):
            return None
        if error is not None or result is None:
            reason = error.message if error else "no answer"
            raise (circumstance(error) if error else None) or CannotBeCopied(f"rows cannot be read: {reason}")
        return _Rows(result.rows)

    async def _sequences(self, content: Content) -> None:
        """Copy the numbers from which AUTOINCREMENT continues; inserting rows has left others."""
        if not content.has_sequences:
            return
        [found] = await ask(self._source, "SELECT name, seq FROM sqlite_sequence ORDER BY name")
        if found:
            rows: list[list[Value]] = [
                [Text("text"), Text(str(name)), Text("integer"), Integer(str(number))] for name, number in found
            ]
            head = "INSERT INTO sqlite_sequence (name, seq) VALUES "
            await self._write([Stmt(sql="DELETE FROM sqlite_sequence"), *_inserts(head, rows)])

    async def _write(self, statements: Sequence[Stmt]) -> None:
        if error := await self._try(statements):
            raise CannotBeCopied(f"the destination refuses rows: {error.message}")

    async def _try(self, statements: Sequence[Stmt]) -> Error | None:
        """Run the statements in one transaction with foreign keys off; returns the first error of the SQL itself."""
        [answer] = await self._destination.run([_transaction(statements)])
        if error := next(filter(None, answer.step_errors), None):
            if blame := circumstance(error):
                raise blame
            return error
        if len(answer.step_results) != len(statements) + 5:
            raise Unavailable("the database's answer does not fit what was sent; try again")
        return None


def _transaction(statements: Sequence[Stmt]) -> Batch:
    steps = [BatchStep(Stmt(sql="PRAGMA foreign_keys = OFF", want_rows=False))]
    for stmt in (Stmt(sql="BEGIN IMMEDIATE"), *statements, Stmt(sql="COMMIT")):
        steps.append(BatchStep(stmt, CondOk(len(steps) - 1)))
    undo = CondAnd((CondNot(CondOk(len(steps) - 1)), CondNot(CondIsAutocommit())))
    steps.append(BatchStep(Stmt(sql="ROLLBACK", want_rows=False), undo))
    steps.append(BatchStep(Stmt(sql="PRAGMA foreign_keys = ON", want_rows=False)))
    return Batch(tuple(steps))


def _inserts(head: str, rows: Sequence[list[Value]]) -> list[Stmt]:
    """The rows as INSERT statements, as few as the limit on their values allows."""
    if not rows:
        return []
    each = max(1, _MOST_VALUES // max(1, len(rows[0]) // 2))
    found = []
    for start in range(0, len(rows), each):
        args: list[Value] = []
        lines = []
        for row in rows[start : start + each]:
            places = [_place(kind, value, args) for kind, value in zip(row[::2], row[1::2], strict=True)]
            lines.append(f"({', '.join(places)})")
        found.append(Stmt(sql=head + ", ".join(lines), args=tuple(args), want_rows=False))
    return found


def _place(kind: Value, value: Value, args: list[Value]) -> str:
    """The text for a value in the statement; most values are added to `args`."""
    stored_as = decode(kind)
    if stored_as == "real" and isinstance(value, Text):
        return "-9e999" if value.value.startswith("-") else "9e999"  # an infinity, as `_exact` writes it
    args.append(value)
    return "CAST(? AS TEXT)" if stored_as == "text" and isinstance(value, Blob) else "?"


def _exact(name: str) -> str:
    """An expression for a value that is exact in JSON too: text as bytes (NUL, invalid UTF-8), infinities as text."""
    return (
        f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) WHEN 'real' THEN "
        f"CASE {name} WHEN 9e999 THEN '9e999' WHEN -9e999 THEN '-9e999' ELSE {name} END ELSE {name} END"
    )


def _integer(value: Value) -> int:
    found = decode(value)
    if not isinstance(found, int):
        raise CannotBeCopied("a row has no number")
    return found


def _size(value: Value) -> int:
    match value:
        case Blob(base64=text) | Text(value=text) | Integer(value=text):
            return len(text)
        case _:
            return 8


def _columns(table: Table) -> tuple[list[str], bool]:
    """The quoted columns to read of a row, and whether the row's number comes first."""
    rowid = table.rowid if table.has_rowid else None
    return [*([rowid] if rowid else []), *map(quoted, table.columns)], rowid is not None
