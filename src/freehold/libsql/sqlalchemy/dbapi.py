"""The DB-API module of an engine: makes connections, which share one pool of HTTP connections."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from freehold.libsql.bearer import Token
from freehold.libsql.endpoint import Endpoint
from freehold.libsql.sqlalchemy import errors
from freehold.libsql.sqlalchemy.connection import Connection
from freehold.libsql.sqlalchemy.session import Session


@dataclass(slots=True)
class _Shared:
    endpoint: Endpoint
    users: int = 0


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
        self._shared: dict[Hashable, _Shared] = {}

    def connect(
        self, base: str, *, auth_token: Token = None, begin: str = "BEGIN", **options: Any
    ) -> Connection:
        """A connection; nothing is sent yet. `options` are those of `Endpoint`."""
        # Sockets belong to an event loop, and an engine may be used on one after the other.
        key = (asyncio.get_running_loop(), base, auth_token, tuple(sorted(options.items())))
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(Endpoint(base, auth_token, **options))
        shared.users += 1

        async def on_close() -> None:
            shared.users -= 1
            if shared.users == 0 and self._shared.pop(key, None) is shared:
                await shared.endpoint.close()

        return Connection(self, Session(shared.endpoint, begin), on_close)
