"""The DB-API module of an engine: makes connections, which share one pool of HTTP connections."""

import asyncio
from collections.abc import Hashable
from typing import Any

from freehold.libsql.bearer import Token
from freehold.libsql.endpoint import Endpoint
from freehold.libsql.sqlalchemy import errors
from freehold.libsql.sqlalchemy.connection import Connection
from freehold.libsql.sqlalchemy.session import Session


class HranaDbapi:
    """What SQLAlchemy calls the DB-API module; one for each engine."""

    apilevel = "2.0"
    threadsafety = 0
    paramstyle = "qmark"
    # What SQLAlchemy may rely on before it has asked a server; every libSQL server bundles this or newer.
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

    def connect(
        self, base: str, *, auth_token: Token = None, begin: str = "BEGIN", **options: Any
    ) -> Connection:
        """A connection; nothing is sent yet. `options` are those of `Endpoint`."""
        # Sockets belong to an event loop, and an engine may be used on one after the other.
        key = (asyncio.get_running_loop(), base, auth_token, tuple(sorted(options.items())))
        if key not in self._shared:
            self._shared[key] = (Endpoint(base, auth_token, **options), set())
        endpoint, leases = self._shared[key]
        lease = _Lease(self, key)
        leases.add(lease)
        return Connection(self, Session(endpoint, begin), lease)

    def end(self, lease: "_Lease") -> Endpoint | None:
        """The endpoint, if nobody shares it any more; ending twice is the same as once."""
        endpoint, leases = self._shared.get(lease.key, (None, set()))
        if lease not in leases:
            return None
        leases.remove(lease)
        if leases:
            return None
        del self._shared[lease.key]
        return endpoint


class _Lease:
    """One connection's part in an endpoint."""

    def __init__(self, dbapi: HranaDbapi, key: Hashable) -> None:
        self._dbapi = dbapi
        self.key = key

    async def give_back(self) -> None:
        if endpoint := self._dbapi.end(self):
            await endpoint.close()

    def give_back_later(self) -> None:
        if endpoint := self._dbapi.end(self):
            endpoint.close_later()
