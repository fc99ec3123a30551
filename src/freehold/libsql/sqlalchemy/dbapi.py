"""DB-API for SQLAlchemy's asyncio layer: calls that look synchronous and await inside.

The connections of an engine share one pool of HTTP connections.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.util.concurrency import await_

from freehold.libsql.bearer import Token
from freehold.libsql.endpoint import Endpoint
from freehold.libsql.sqlalchemy import errors
from freehold.libsql.sqlalchemy.errors import translated
from freehold.libsql.sqlalchemy.session import Done, Session

T = TypeVar("T")
Description = tuple[tuple[str, str | None, None, None, None, None, None], ...]


class Cursor:
    """The rows of one statement, all in memory once it has run."""

    server_side = False
    __slots__ = ("_connection", "_rows", "arraysize", "description", "lastrowid", "rowcount")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._rows: deque[tuple[Any, ...]] = deque()
        self.arraysize = 1
        self.description: Description | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, sql: str, args: Any = None) -> "Cursor":
        session = self._connection.session
        return self._take(_awaited(session.execute(sql, args)))

    def executemany(self, sql: str, many: Sequence[Any]) -> "Cursor":
        session = self._connection.session
        return self._take(_awaited(session.execute_many(sql, many)))

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        wanted = self.arraysize if size is None else size
        return [self._rows.popleft() for _ in range(min(wanted, len(self._rows)))]

    def fetchall(self) -> list[tuple[Any, ...]]:
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while self._rows:
            yield self._rows.popleft()

    def close(self) -> None:
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """Called by SQLAlchemy; nothing is held outside this object."""

    def setinputsizes(self, *_: Any) -> None:
        """Required by PEP 249."""

    def setoutputsize(self, *_: Any) -> None:
        """Required by PEP 249."""

    def _take(self, done: Done) -> "Cursor":
        result = done.result
        self._rows = deque(result.rows)
        self.rowcount = done.row_count
        self.lastrowid = result.last_insert_rowid
        self.description = None
        if result.cols:
            self.description = tuple(
                [(col.name or "", col.decltype, None, None, None, None, None) for col in result.cols]
            )
        return self


class StreamingCursor(Cursor):
    """The cursor for `AsyncConnection.stream`. All its rows are in memory too; a server limits how many that can be."""

    server_side = True
    __slots__ = ()


class Connection(AdaptedConnection):
    """One DB-API connection. Code that runs in an event loop may use `session` with `await`."""

    __slots__ = ("_lease", "dbapi", "level", "session")

    def __init__(self, dbapi: Any, session: Session, lease: "_Lease") -> None:
        self.dbapi = dbapi
        self.session = session
        self._connection: Any = session
        self._lease = lease
        self.level = "SERIALIZABLE"

    def cursor(self, server_side: bool = False) -> Cursor:
        return StreamingCursor(self) if server_side else Cursor(self)

    def execute(self, sql: str, args: Any = None) -> Cursor:
        """As `sqlite3.Connection.execute`."""
        return self.cursor().execute(sql, args)

    def commit(self) -> None:
        _awaited(self.session.commit())

    def rollback(self) -> None:
        _awaited(self.session.rollback())

    def reset(self) -> None:
        """Forget the transaction and all settings; calls the server only if it holds something."""
        _awaited(self.session.reset())

    def close(self) -> None:
        _awaited(self._close())

    def terminate(self) -> None:
        """Close, where waiting may be impossible."""
        self.session.drop()
        self._lease.give_back_later()

    @property
    def autocommit(self) -> bool:
        return self.session.is_autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.session.is_autocommit = value

    @property
    def isolation_level(self) -> str | None:
        """As `sqlite3.Connection.isolation_level`: None when no BEGIN is sent implicitly."""
        return None if self.session.is_autocommit else ""

    @isolation_level.setter
    def isolation_level(self, value: str | None) -> None:
        self.session.is_autocommit = value is None

    @property
    def in_transaction(self) -> bool:
        return self.session.in_transaction

    async def _close(self) -> None:
        self.session.drop()
        await self._lease.give_back()


def _awaited(call: Awaitable[T]) -> T:
    try:
        return await_(call)
    except Exception as error:
        translation = translated(error)
        if translation is None:
            raise
        raise translation from error


class HranaDbapi:
    """What SQLAlchemy calls the DB-API module; one for each engine."""

    apilevel = "2.0"
    threadsafety = 0
    paramstyle = "qmark"
    # What SQLAlchemy may rely on before it has asked a server: every libSQL server bundles this version or newer.
    sqlite_version_info = (3, 45, 1)
    sqlite_version = "3.45.1"

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError
    Binary = bytes

    def __init__(self) -> None:
        self._shared: dict[Hashable, tuple[Endpoint, set[_Lease]]] = {}

    def connect(self, base: str, *, auth_token: Token = None, begin: str = "BEGIN", **options: Any) -> Connection:
        """Return a connection; nothing is sent yet. `options` are those of `Endpoint`."""
        # Sockets belong to an event loop, and an engine may be used on several, one after another.
        key = (asyncio.get_running_loop(), base, auth_token, tuple(sorted(options.items())))
        if key not in self._shared:
            self._shared[key] = (Endpoint(base, auth_token, **options), set())
        endpoint, leases = self._shared[key]
        lease = _Lease(self, key)
        leases.add(lease)
        return Connection(self, Session(endpoint, begin), lease)

    def end(self, lease: "_Lease") -> Endpoint | None:
        """End a lease and return the endpoint if no lease is left; ending one twice does nothing."""
        endpoint, leases = self._shared.get(lease.key, (None, set()))
        if lease not in leases:
            return None
        leases.remove(lease)
        if leases:
            return None
        del self._shared[lease.key]
        return endpoint


class _Lease:
    """One connection's share of an endpoint."""

    def __init__(self, dbapi: HranaDbapi, key: Hashable) -> None:
        self._dbapi = dbapi
        self.key = key

    async def give_back(self) -> None:
        """End the lease; the last one closes the endpoint."""
        if endpoint := self._dbapi.end(self):
            await endpoint.close()

    def give_back_later(self) -> None:
        """As `give_back`, without waiting."""
        if endpoint := self._dbapi.end(self):
            endpoint.close_later()
