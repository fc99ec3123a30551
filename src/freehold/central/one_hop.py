"""SQLAlchemy's access to a SQLite file, with one hop to the connection's thread per statement.

The base dialect hops four times: for the cursor, the statement, its rows and the close. On a machine whose cores are
all busy, each hop takes some milliseconds, during which all writers in line wait.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import URL
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)
from sqlalchemy.util.concurrency import await_

T = TypeVar("T")

BEGIN, BEGIN_IMMEDIATE = "BEGIN", "BEGIN IMMEDIATE"
_BEGINNINGS = frozenset({BEGIN, BEGIN_IMMEDIATE})
_ITER_CHUNK_SIZE = 64
_LOST = "the transaction was rolled back when a statement failed; roll back, and begin another"


def file_url(path: Path) -> URL:
    """The URL for `create_async_engine`, to be used with `module=OneHop()`."""
    return URL.create("sqlite+aiosqlite", database=str(path))


class ThreadedConnection(aiosqlite.Connection):
    """A sqlite3 connection on its own thread; work runs in order."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(partial(sqlite3.connect, *args, **options), _ITER_CHUNK_SIZE)
        self._thread.daemon = True

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, run on the thread."""
        done: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return done

    def run_later(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Run `work` before anything requested later. Its result or error is lost."""
        self._tx.put_nowait((None, partial(work, self._conn)))


class _Ran:
    """The result of a statement: what sqlite3's cursor reports, and all rows."""

    __slots__ = ("arraysize", "description", "lastrowid", "rowcount", "rows")

    def __init__(self, cursor: sqlite3.Cursor | None = None) -> None:
        self.arraysize = 1
        self.description = None if cursor is None else cursor.description
        self.rows: Iterable[Any] = cursor.fetchall() if cursor is not None and cursor.description else ()
        # With RETURNING, it is known only once all rows have been read.
        self.rowcount = -1 if cursor is None else cursor.rowcount
        self.lastrowid = None if cursor is None else cursor.lastrowid


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    __slots__ = ()
    _awaitable_cursor_close = False
    _adapt_connection: "_Connection"
    _cursor: Any

    def _make_new_cursor(self, connection: Any) -> Any:  # noqa: ARG002
        return _Ran()

    def _aenter_cursor(self, cursor: Any) -> Any:
        return cursor

    def close(self) -> None:
        self._rows.clear()

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        if operation in _BEGINNINGS:
            self._adapt_connection.begin_with_next(operation)
            return

        def work(db: sqlite3.Connection) -> _Ran:
            return _Ran(db.execute(operation, () if parameters is None else parameters))

        await self._run(work)
        self._rows = deque(self._cursor.rows)

    async def _executemany_async(self, operation: Any, seq_of_parameters: Sequence[Any]) -> Any:
        await self._run(lambda db: _Ran(db.executemany(operation, seq_of_parameters)))

    async def _run(self, work: Callable[[sqlite3.Connection], _Ran]) -> None:
        async with self._adapt_connection._execute_mutex:
            self._cursor = await self._adapt_connection.run(work)


class _Connection(AsyncAdapt_aiosqlite_connection):
    """Sends BEGIN with the first statement, and does not wait for the end of a read-only transaction."""

    __slots__ = ("_begin", "_is_lost", "_is_open", "_reads_only")
    _cursor_cls = _Cursor
    _connection: Any  # a `ThreadedConnection`

    def __init__(self, dbapi: Any, connection: Any) -> None:
        super().__init__(dbapi, connection)
        self._begin = ""
        self._reads_only = self._is_open = self._is_lost = False

    def cursor(self, server_side: bool = False) -> _Cursor:  # noqa: ARG002
        """Streamed results are read in one piece like all others."""
        return _Cursor(self)

    def begin_with_next(self, sql: str) -> None:
        """Start a transaction with the next statement."""
        self._begin, self._reads_only = sql, sql == BEGIN

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, run in the open transaction or a pending one."""
        if self._is_lost:
            raise sqlite3.OperationalError(_LOST)
        begin, self._begin = self._begin, ""
        if begin:
            self._is_open = True

        def begun(db: sqlite3.Connection) -> T:
            if begin:
                db.execute(begin)
            return work(db)

        try:
            done: T = await self._connection.run(begun)
        except sqlite3.Error:
            if not self._connection.in_transaction:
                # It did not begin, or SQLite ended it: later statements must not run outside of it.
                self._begin = begin
                self._is_lost = self._is_open and not begin
            raise
        return done

    def commit(self) -> None:
        if self._is_lost:  # the earlier statements were rolled back
            raise sqlite3.OperationalError(_LOST)
        self._end(sqlite3.Connection.commit)

    def rollback(self) -> None:
        self._end(sqlite3.Connection.rollback)

    def _end(self, end: Callable[[sqlite3.Connection], None]) -> None:
        if self._is_open:
            try:
                if self._reads_only:
                    self._connection.run_later(end)
                else:
                    await_(self._connection.run(end))
            except Exception as error:
                self._handle_exception(error)
        # Not reset after an error: a rollback must follow.
        self._is_open = self._is_lost = False
        self._begin = ""


class OneHop(AsyncAdapt_aiosqlite_dbapi):
    """The DB-API for `create_async_engine(file_url(…), module=OneHop())`."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)

    def connect(self, *args: Any, **options: Any) -> _Connection:
        return _Connection(self, await_(ThreadedConnection(*args, **options)))
