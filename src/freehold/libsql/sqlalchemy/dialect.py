"""SQLAlchemy's SQLite dialect on a libSQL server, async: `create_async_engine("sqlite+hrana://:token@host/")`."""

# ruff: noqa: ARG002, ARG003 - SQLAlchemy passes more than is used here
from typing import Any

from sqlalchemy import URL, Engine, event, pool
from sqlalchemy.dialects.sqlite.base import SQLiteDialect, SQLiteExecutionContext

from freehold.libsql.sqlalchemy.dbapi import HranaDbapi
from freehold.libsql.sqlalchemy.errors import ConnectionLost
from freehold.libsql.sqlalchemy.urls import connect_arguments


class HranaExecutionContext(SQLiteExecutionContext):
    """Creates the cursors for `AsyncConnection.stream`."""

    def create_server_side_cursor(self) -> Any:
        return self._dbapi_connection.cursor(server_side=True)


class HranaDialect(SQLiteDialect):
    """SQLite as a libSQL server runs it. See docs/dialect.md for what differs from a file."""

    driver = "hrana"
    is_async = True
    has_terminate = True
    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_server_side_cursors = True
    supports_sane_multi_rowcount = True
    returns_native_bytes = True
    description_encoding = None
    execution_ctx_cls = HranaExecutionContext

    @classmethod
    def import_dbapi(cls) -> Any:
        return HranaDbapi()

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        event.listen(engine, "reset", _reset)

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        return pool.AsyncAdaptedQueuePool

    def create_connect_args(self, url: URL) -> Any:
        return (), connect_arguments(url)

    def get_isolation_level_values(self, dbapi_connection: Any) -> list[Any]:
        return ["SERIALIZABLE", "READ UNCOMMITTED", "AUTOCOMMIT"]

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        dbapi_connection.autocommit = level == "AUTOCOMMIT"
        if level != "AUTOCOMMIT":
            # A server never shows uncommitted data; the name is kept only to be reported.
            dbapi_connection.level = level

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        return "AUTOCOMMIT" if dbapi_connection.autocommit else dbapi_connection.level

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:
        return dbapi_conn.level

    def detect_autocommit_setting(self, dbapi_conn: Any) -> bool:
        return bool(dbapi_conn.autocommit)

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        return isinstance(e, ConnectionLost)

    def do_ping(self, dbapi_connection: Any) -> bool:
        return True  # a connection outside a transaction holds nothing that could have gone stale

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.terminate()

    def get_driver_connection(self, connection: Any) -> Any:
        return connection.session

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar()
        return tuple(int(part) for part in version.split("."))


def _reset(dbapi_connection: Any, _record: Any, state: Any) -> None:
    """A connection that goes back to the pool forgets its settings as well as its transaction."""
    if state.asyncio_safe:
        dbapi_connection.reset()
