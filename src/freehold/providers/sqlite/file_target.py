"""A SQLite file that is no tenant's, e.g. a copy for its user, as a target: under the same rules as the tenants'."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from freehold.errors import NotFound, ProviderUnavailable, Unavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.providers.sqlite.empty import EMPTY_DATABASE
from freehold.providers.sqlite.limits import Limits
from freehold.providers.sqlite.session import Session
from freehold.providers.sqlite.timed import run_timed
from freehold.tenants.backup import BadBackup

# Far above any tenant's: the file is read by whoever runs the service, and only the time is limited.
_LIMIT_S = 600.0
_LIMITS = Limits(
    statement_s=2 * _LIMIT_S, request_s=2 * _LIMIT_S, database_bytes=2**40, result_bytes=32_000_000
)


class FileTarget:
    """Implements `Target` on one connection, one call at a time. Open it with `create` or `read`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    async def create(cls, path: Path) -> "FileTarget":
        """A new, empty file; one that is there is replaced."""
        return cls(await asyncio.to_thread(_create, path))

    @classmethod
    async def read(cls, path: Path) -> "FileTarget":
        """An existing file, for reading only.

        Raises:
            NotFound, ProviderUnavailable: there is none, or it cannot be opened.
        """
        return cls(await asyncio.to_thread(Session, path, _LIMITS, read_only=True))

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches as `Target` says."""
        return await asyncio.to_thread(self._run, batches)

    async def finish(self) -> None:
        """Close it, with everything in the one file and in no log beside it."""
        await asyncio.to_thread(self._finish)

    async def close(self) -> None:
        """Close it as it is."""
        await asyncio.to_thread(self._session.close)

    def _run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        reason = Unavailable(f"the file takes longer than {_LIMIT_S:g} s to answer")
        return run_timed(self._session, batches, _LIMITS, _LIMIT_S, reason)

    def _finish(self) -> None:
        self._session.run_ours("PRAGMA journal_mode = DELETE")
        self._session.close()


@asynccontextmanager
async def open_file(path: Path) -> AsyncIterator[FileTarget]:
    """The file, for reading only. Raises `BadBackup` when it is none."""
    try:
        target = await FileTarget.read(path)
    except (NotFound, ProviderUnavailable) as error:
        raise BadBackup([f"`{path}` is no SQLite file that can be read"]) from error
    try:
        yield target
    finally:
        await target.close()


def _create(path: Path) -> Session:
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(EMPTY_DATABASE)
    return Session(path, _LIMITS, read_only=False)
