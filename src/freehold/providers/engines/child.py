"""A process that runs batches on one engine: `python -m freehold.providers.engines.child libsql|turso`.

Reads a JSON line `{"path", "batches"}` and answers with a line of results, until its input ends. It is a separate
process because `libsql` holds the interpreter lock while it works, and because two engines that are both SQLite must
not share one.
"""

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.schema import orphan_queries, read_schema
from freehold.migrate.sqlite import run_batches

_CHECK = "EXISTS (SELECT 1 FROM pragma_foreign_key_check)"


class Request(Struct, frozen=True):
    """Batches for the database file at `path`, which is created if it does not exist."""

    path: str
    batches: tuple[Batch, ...]


def main() -> None:
    """Answer until the input ends."""
    connect = _ENGINES[sys.argv[1]]()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=Request)
        results = _run(connect, request)
        sys.stdout.buffer.write(msgspec.json.encode(results) + b"\n")
        sys.stdout.buffer.flush()


def _run(connect: Callable[[str], Any], request: Request) -> list[BatchResult]:
    with contextlib.closing(connect(request.path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = OFF")  # a scratch database need not survive a power failure
        # Closing rolls back an open transaction.
        return run_batches(connection, request.batches, (Exception,))


def _libsql() -> Callable[[str], Any]:
    module = importlib.import_module("libsql")
    return lambda path: module.connect(path, isolation_level=None)


def _turso() -> Callable[[str], Any]:
    module = importlib.import_module("turso")
    return lambda path: _Turso(module.connect(path, isolation_level=None))


class _Turso:
    """Turso's engine has no table `pragma_foreign_key_check`, and its PRAGMA of that name finds nothing.

    Migrations' queries for it are answered by other queries, so that an orphan stops a rebuild as it does elsewhere.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction)

    def execute(self, sql: str) -> Any:
        return self._connection.execute(sql)

    def cursor(self) -> "_TursoCursor":
        return _TursoCursor(self._connection)

    def close(self) -> None:
        self._connection.close()


class _TursoCursor:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._cursor = connection.cursor()

    def execute(self, sql: str, arguments: Any) -> None:
        if _CHECK in sql:
            sql = sql.replace(_CHECK, str(int(self._has_orphan())))
        self._cursor.execute(sql, arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def _has_orphan(self) -> bool:
        schema = asyncio.run(read_schema(_Own(self._connection)))
        return any(self._connection.execute(query).fetchone()[0] for query in orphan_queries(schema))


class _Own:
    """The connection as a target, without opening another."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        return run_batches(self._connection, batches, (Exception,))


_ENGINES = {"libsql": _libsql, "turso": _turso}

if __name__ == "__main__":
    main()
