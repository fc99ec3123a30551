"""Places of a central database, as in DATABASE_URL, which can be opened for whole batches."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from freehold.central.engine import MISSING_GRACE_S
from freehold.errors import Conflict
from freehold.libsql.bearer import Token
from freehold.libsql.errors import LibsqlError
from freehold.libsql.urls import FileUrl, parse_url
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.target import Target

_FILE = "sqlite:///"


class CentralNotMoved(Conflict):
    """`central copy` has changed nothing: the target is not empty, or the copy would differ."""

    code = "central_not_moved"
    remedy = "Name an empty target, or try again."
    where = "cli"


class CentralPlace(msgspec.Struct, frozen=True):
    """A place for a central database, as in DATABASE_URL, with its token."""

    url: str
    token: Token = None

    def __repr__(self) -> str:  # the URL may contain a token
        return f"CentralPlace({self.name!r})"

    @property
    def path(self) -> Path | None:
        """The path, if it is a file."""
        return Path(self.url.removeprefix(_FILE)) if self.url.startswith(_FILE) else None

    @property
    def name(self) -> str:
        """A name without a token, which identifies the place in messages and comparisons. Raises `LibsqlError`."""
        if (path := self.path) is not None:
            return f"{_FILE}{path.absolute()}"
        found = parse_url(self.url)
        if isinstance(found, FileUrl):
            raise LibsqlError("write a file as sqlite:///path", "URL_SCHEME_NOT_SUPPORTED")
        return found.base if found.namespace is None else f"{found.base}?namespace={found.namespace}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Target]:
        """Open the database for whole batches. A file is created on first use. Raises `LibsqlError`."""
        if (path := self.path) is not None:
            yield SqliteTarget(path)
            return
        found = parse_url(self.url)
        if isinstance(found, FileUrl):
            raise LibsqlError("write a file as sqlite:///path", "URL_SCHEME_NOT_SUPPORTED")
        import aiohttp

        from freehold.libsql.http import HranaTarget

        async with aiohttp.ClientSession() as session:
            yield HranaTarget(
                session,
                found.base,
                found.token or self.token,
                namespace=found.namespace,
                missing_grace_s=MISSING_GRACE_S,
            )


class NewFile:
    """A file that is filled under a temporary name, under an exclusive lock. Blocks.

    Raises:
        CentralNotMoved: the wanted name is taken or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        require_free(path)
        self._path = path
        self._part = path.with_name(f"{path.name}.copying")
        try:
            self._lock = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CentralNotMoved(f"`{self._part}` cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise CentralNotMoved(f"another process is copying to `{path}`") from error
        os.ftruncate(self._lock, 0)  # left by a killed process
        self._remove_logs()
        self.target = SqliteTarget(self._connect)

    def put_in_place(self) -> None:
        """Give the file its final name once it is synced to disk."""
        try:
            os.fsync(self._lock)
            self._part.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise CentralNotMoved(f"`{self._path}` cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Remove the temporary file."""
        self._part.unlink(missing_ok=True)
        self._remove_logs()
        os.close(self._lock)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._part)
        connection.execute("PRAGMA synchronous = OFF")  # the whole file is synced before it gets its name
        return connection

    def _remove_logs(self) -> None:
        for suffix in ("-journal", "-wal", "-shm"):
            self._part.with_name(self._part.name + suffix).unlink(missing_ok=True)


def require_free(path: Path) -> None:
    """Return if a central database can be created there. Blocks. Raises `CentralNotMoved`."""
    if not path.parent.is_dir():
        raise CentralNotMoved(f"there is no folder `{path.parent}`; make it or choose another")
    if path.exists() and _has_tables(path):
        raise CentralNotMoved(f"`{path}` is not empty; choose another file")


def _has_tables(path: Path) -> bool:
    if path.is_file() and not path.stat().st_size:
        return False
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return True  # whatever it is, it is not empty
