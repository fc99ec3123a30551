"""The client for a database file: SQLite in threads, so that the event loop never waits for a disk or a lock."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from freehold.libsql.errors import LibsqlError, Unreachable
from freehold.libsql.interface import Client, InArgs, InStatement, Mode, Statement, Transaction
from freehold.libsql.result import ResultSet, result_set

T = TypeVar("T")
_BUSY_TIMEOUT_S = 5.0
_BEGIN: dict[Mode, str] = {"deferred": "BEGIN", "write": "BEGIN IMMEDIATE", "read": "BEGIN"}


class FileClient(Client):
    """One SQLite file, created on first use. Foreign keys are on and its journal is a WAL, as in libSQL."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._worker = _Worker(path, timeout_s)
        self._open: WeakSet[FileTransaction] = WeakSet()
        self._is_closed = False

    async def execute(self, stmt: InStatement, args: InArgs = None, *, idempotent: bool = False) -> ResultSet:
        _ = idempotent  # an answer is never lost on the way from a thread
        self._must_be_open()
        return await self._worker.run(partial(_execute, Statement.convert(stmt, args)))

    async def batch(
        self, stmts: Sequence[InStatement], *, mode: Mode = "deferred", idempotent: bool = False
    ) -> list[ResultSet]:
        _ = idempotent
        self._must_be_open()
        return await self._worker.run(partial(_batch, [Statement.convert(stmt) for stmt in stmts], mode))

    def transaction(self, mode: Mode = "deferred") -> "FileTransaction":
        self._must_be_open()
        # In its own thread: another transaction that waits for this one's lock must not delay its commit.
        transaction = FileTransaction(_Worker(self._path, self._timeout_s), mode, self._open.discard)
        self._open.add(transaction)
        return transaction

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for transaction in list(self._open):
            transaction.close()
        await self._worker.close()

    @property
    def closed(self) -> bool:
        return self._is_closed

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise LibsqlError("the client is closed", "CLIENT_CLOSED")


class FileTransaction(Transaction):
    """A transaction on its own connection. It begins with the first statement."""

    def __init__(self, worker: "_Worker", mode: Mode, on_close: "Callable[[FileTransaction], None]") -> None:
        self._worker = worker
        self._mode = mode
        self._on_close = on_close
        self._is_closed = False
        self._has_begun = False

    async def execute(self, stmt: InStatement, args: InArgs = None) -> ResultSet:
        self._must_be_open()
        return await self._worker.run(partial(self._execute, Statement.convert(stmt, args)))

    async def commit(self) -> None:
        self._must_be_open()
        await self._end("COMMIT")

    async def rollback(self) -> None:
        if not self._is_closed:
            await self._end("ROLLBACK")

    def close(self) -> None:
        if not self._is_closed:
            self._finish()
            self._worker.close_later()

    @property
    def closed(self) -> bool:
        return self._is_closed

    def _execute(self, stmt: Statement, db: sqlite3.Connection) -> ResultSet:
        if not self._has_begun:
            db.execute(_BEGIN[self._mode])
            self._has_begun = True
        elif not db.in_transaction:
            raise LibsqlError("the transaction was ended before; nothing of it was kept", "TRANSACTION_LOST")
        return _execute(stmt, db)

    async def _end(self, sql: str) -> None:
        self._finish()
        try:
            if self._has_begun:
                await self._worker.run(lambda db: db.execute(sql))
        finally:
            self._worker.close_later()

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise LibsqlError("the transaction is closed", "TRANSACTION_CLOSED")

    def _finish(self) -> None:
        self._is_closed = True
        self._on_close(self)


class _Worker:
    """One connection in one thread; calls run in order. A call that is cancelled is interrupted."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="libsql-file")
        self._db: sqlite3.Connection | None = None
        self._guard = threading.Lock()
        self._running: object | None = None

    async def run(self, call: Callable[[sqlite3.Connection], T]) -> T:
        job = object()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, job, call)
        except TimeoutError:
            self._interrupt(job)
            raise Unreachable(f"the statement took longer than {self._timeout_s:g} s", "TIMEOUT") from None
        except asyncio.CancelledError:
            self._interrupt(job)
            raise

    async def close(self) -> None:
        """Close once the waiting calls are done."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def close_later(self) -> None:
        """Close without waiting, and interrupt the call that runs."""
        self._interrupt(None)
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _run(self, job: object, call: Callable[[sqlite3.Connection], T]) -> T:
        with self._guard:
            self._running = job
        try:
            return call(self._connection())
        except sqlite3.Error as error:
            raise LibsqlError(str(error), getattr(error, "sqlite_errorname", "SQLITE_MISUSE")) from error
        finally:
            with self._guard:
                self._running = None

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=min(_BUSY_TIMEOUT_S, self._timeout_s)
            )
            self._db.execute("PRAGMA foreign_keys = ON")
            with contextlib.suppress(sqlite3.OperationalError):  # a read-only file is used as it is
                self._db.execute("PRAGMA journal_mode = WAL")
        return self._db

    def _interrupt(self, job: object | None) -> None:
        """Stop the call if it is the one that runs, never a later one; None stops any call."""
        with self._guard:
            if self._db is not None and self._running is not None and job in {None, self._running}:
                self._db.interrupt()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _batch(stmts: Sequence[Statement], mode: Mode, db: sqlite3.Connection) -> list[ResultSet]:
    db.execute(_BEGIN[mode])
    try:
        results = [_execute(stmt, db) for stmt in stmts]
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return results


def _execute(stmt: Statement, db: sqlite3.Connection) -> ResultSet:
    try:
        cursor = db.execute(stmt.sql, _arguments(stmt.args))
    except OverflowError:
        raise OverflowError("an integer argument is larger than 64 bits") from None
    try:
        rows = cursor.fetchall()
        columns = tuple(column[0] for column in cursor.description or ())
        return result_set(columns, rows, max(cursor.rowcount, 0), cursor.lastrowid)
    finally:
        cursor.close()


def _arguments(args: InArgs) -> Any:
    if not args:
        return ()
    if isinstance(args, Mapping):
        return {name.lstrip(":@$"): _plain(value) for name, value in args.items()}
    if isinstance(args, str | bytes | bytearray | memoryview):
        raise TypeError("arguments are a list, a tuple or a mapping; for one value write [value]")
    return [_plain(value) for value in args]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    if value is None or isinstance(value, str | int | float | bytes):
        return value
    try:
        return bytes(memoryview(value))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"an argument of type {type(value).__name__} has no place in SQL") from None
