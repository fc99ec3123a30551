"""A local SQLite file as a target, with the standard library only: for a client app's own copy."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import Unavailable
from freehold.libsql.conditions import holds
from freehold.libsql.protocol import Batch, BatchResult, Col, Error, Stmt, StmtResult
from freehold.libsql.values import SqlValue, decode, encode
from freehold.migrate.failures import primary_code

_FAILURES = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class SqliteTarget:
    """A database file, or the database that a factory connects to.

    Each run has its own connection in its own thread; a factory must return a new connection each time, which is
    closed afterwards.
    """

    database: Path | str | Callable[[], sqlite3.Connection]
    busy_timeout_s: float = 5.0

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches as `Target` specifies."""
        return await asyncio.to_thread(self._run, batches)

    def _run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        try:
            with closing(self._connect()) as connection:
                # Autocommit: BEGIN and COMMIT are steps of the batch. Closing rolls back an open transaction.
                connection.isolation_level = None
                connection.row_factory = None
                connection.execute("PRAGMA foreign_keys = ON")
                return run_batches(connection, batches, _FAILURES)
        except sqlite3.Error as error:
            raise Unavailable(f"the database file cannot be opened: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        if callable(self.database):
            return self.database()
        return sqlite3.connect(self.database, timeout=self.busy_timeout_s)


def run_batches(connection: Any, batches: Sequence[Batch], failures: tuple[type[Exception], ...]) -> list[BatchResult]:
    """Run batches on a DB-API connection in autocommit; `failures` are the errors of a refused statement."""
    return [_run_batch(connection, batch, failures) for batch in batches]


def _run_batch(connection: Any, batch: Batch, failures: tuple[type[Exception], ...]) -> BatchResult:
    results: list[StmtResult | None] = []
    errors: list[Error | None] = []
    for step in batch.steps:
        result = error = None
        if holds(step.condition, results, errors, lambda: not connection.in_transaction):
            try:
                result = _execute(connection, step.stmt)
            except failures as raised:
                error = _error(raised)
        results.append(result)
        errors.append(error)
    return BatchResult(results, errors)


def _execute(connection: Any, stmt: Stmt) -> StmtResult:
    with closing(connection.cursor()) as cursor:
        cursor.execute(stmt.sql or "", _arguments(stmt))
        cols = tuple(Col(name=column[0]) for column in cursor.description or ())
        # Rows are read to the end even if nobody wants them: INSERT … RETURNING runs row by row.
        rows = cursor.fetchall() if cursor.description else []
        return StmtResult(
            cols=cols,
            rows=[[encode(value) for value in row] for row in rows] if stmt.want_rows else [],
            affected_row_count=max(cursor.rowcount, 0),
            last_insert_rowid=None if cursor.lastrowid is None else str(cursor.lastrowid),
        )


def _arguments(stmt: Stmt) -> list[SqlValue] | dict[str, SqlValue]:
    if stmt.named_args:
        return {arg.name.lstrip(":@$"): decode(arg.value) for arg in stmt.named_args}
    return [decode(value) for value in stmt.args]


def _error(raised: Exception) -> Error:
    # Errors of the binding itself, such as a wrong number of arguments, have no SQLite code.
    return Error(message=str(raised), code=primary_code(getattr(raised, "sqlite_errorname", None) or "SQLITE_MISUSE"))
