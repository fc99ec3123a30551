"""Checks that the central database's file exists and can be written to, on a separate thread."""

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from freehold.errors import CentralUnavailable

# Exists in a central database that no longer accepts writes, see `closing.py`.
MOVED_MARK = "freehold_central_move"
# No engine has this function, so a trigger that calls it makes a write fail.
MOVED_FUNCTION = "freehold_central_database_was_moved"
MOVED_SQL = f"SELECT 1 FROM sqlite_schema WHERE name = '{MOVED_MARK}'"
MOVED = "the central database was moved, or is on its way, and takes no writes here"

_LOCK_LIMIT_S = 1.5


class Probe(ABC):
    """Checks the central database without waiting in line."""

    @abstractmethod
    async def __call__(self) -> None:
        """Return when it answers. Raises `CentralUnavailable`, or an error of the driver."""

    @abstractmethod
    async def close(self) -> None:
        """Release its resources; another call acquires them again."""


class FileProbe(Probe):
    """Opens the file anew each time, since an open connection would keep using a file that was deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._seen: tuple[int, int] | None = None

    async def __call__(self) -> None:
        """Return if a transaction could be written now.

        Raises:
            CentralUnavailable: the file is gone, replaced, damaged or locked, or the database was moved.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "central-probe")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._look)

    async def close(self) -> None:
        """End the thread once it is idle."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    def _look(self) -> None:
        try:
            self._look_at_file()
            # `mode=rw` does not create a missing file. The lock is taken and released; nothing is written.
            uri = f"file:{quote(str(self._path.absolute()))}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, timeout=_LOCK_LIMIT_S, isolation_level=None)
            with closing(connection):
                connection.execute("BEGIN IMMEDIATE")
                was_moved = connection.execute(MOVED_SQL).fetchone() is not None
                connection.execute("ROLLBACK")
        except (OSError, sqlite3.Error) as error:
            raise CentralUnavailable("the central database does not answer; try again in a moment") from error
        if was_moved:
            raise CentralUnavailable(MOVED)

    def _look_at_file(self) -> None:
        found = self._path.stat()
        identity = (found.st_dev, found.st_ino)
        if self._seen is None:
            self._seen = identity
        if identity != self._seen:
            raise CentralUnavailable("the central database's file was replaced; restart the service")
