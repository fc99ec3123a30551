"""A SQLite file that is not a tenant's, as a target under the same rules: a copy, or a scratch database."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from freehold.errors import FreeholdError, NotFound, ProviderUnavailable, Unavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.snapshot import SnapshotUnfit
from freehold.migrate.target import Target
from freehold.providers.sqlite.budget import Budget
from freehold.providers.sqlite.connection import EMPTY_DATABASE
from freehold.providers.sqlite.limits import Limits
from freehold.providers.sqlite.pipeline import Pipeline
from freehold.providers.sqlite.session import Session
from freehold.tenants.backup import BadBackup

T = TypeVar("T")

_FILE_S = 600.0
_SCRATCH_S = 60.0
# Twice the time, since `FileTarget`'s timer is decisive. A file may be far larger than any tenant's.
_FILE = Limits(statement_s=2 * _FILE_S, request_s=2 * _FILE_S, database_bytes=2**40, result_bytes=32_000_000)
_SCRATCH = Limits(statement_s=2 * _SCRATCH_S, request_s=2 * _SCRATCH_S, result_bytes=32_000_000)


class FileTarget:
    """Implements `Target` on one connection, one call at a time. Open it with `create`, `read` or `scratch`.

    A call that takes longer than `limit_s` raises `too_slow`: an endless statement would keep the process from ending.
    With `blocks` everything runs on the calling thread.
    """

    def __init__(
        self,
        session: Session,
        limits: Limits,
        limit_s: float,
        too_slow: Callable[[], FreeholdError],
        *,
        blocks: bool = False,
    ) -> None:
        self._session = session
        self._limits = limits
        self._limit_s = limit_s
        self._too_slow = too_slow
        self._blocks = blocks

    @classmethod
    async def create(cls, path: Path) -> "FileTarget":
        """A new, empty file; an existing one is replaced."""
        return cls(await asyncio.to_thread(_create, path, _FILE), _FILE, _FILE_S, _slow_file)

    @classmethod
    async def read(cls, path: Path) -> "FileTarget":
        """An existing file, for reading only.

        Raises:
            NotFound, ProviderUnavailable: it does not exist, or cannot be opened.
        """
        session = await asyncio.to_thread(Session, path, _FILE, read_only=True)
        return cls(session, _FILE, _FILE_S, _slow_file)

    @classmethod
    def scratch(cls, path: Path, *, limit_s: float = _SCRATCH_S) -> "FileTarget":
        """A new, empty file to try migrations on. It and all calls on it block.

        A call that takes longer than `limit_s` raises `SnapshotUnfit`.
        """

        def too_slow() -> SnapshotUnfit:
            return SnapshotUnfit(f"the migrations take longer than {limit_s:g} s")

        return cls(_create(path, _SCRATCH), _SCRATCH, limit_s, too_slow, blocks=True)

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches as `Target` specifies."""
        return await self._do(lambda: self._run(batches))

    async def finish(self) -> None:
        """Close it, with everything in the one file and in no log beside it."""
        await self._do(lambda: self._session.run_ours("PRAGMA journal_mode = DELETE"))
        await self.close()

    async def close(self) -> None:
        """Close it as it is."""
        await self._do(self._session.close)

    async def _do(self, work: Callable[[], T]) -> T:
        return work() if self._blocks else await asyncio.to_thread(work)

    def _run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run them in order, and reset the connection."""
        self._session.start_request(self._limits)
        pipeline = Pipeline(self._session, {}, Budget(self._limits.result_bytes))
        timer = threading.Timer(self._limit_s, self._session.alarm.cancel, [self._too_slow()])
        timer.daemon = True
        timer.start()
        try:
            return [pipeline.batch(batch) for batch in batches]
        finally:
            timer.cancel()
            self._session.reset()


@asynccontextmanager
async def open_file(path: Path) -> AsyncIterator[FileTarget]:
    """The file, for reading only. Raises `BadBackup` if it is not a database."""
    try:
        target = await FileTarget.read(path)
    except (NotFound, ProviderUnavailable) as error:
        raise BadBackup([f"`{path}` is not a readable SQLite file"]) from error
    try:
        yield target
    finally:
        await target.close()


@asynccontextmanager
async def local_scratch() -> AsyncIterator[Target]:
    """A new empty database, removed at the end. It and all calls on it block."""
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        target = FileTarget.scratch(Path(folder) / "scratch.db")
        try:
            yield target
        finally:
            await target.close()


def _create(path: Path, limits: Limits) -> Session:
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(EMPTY_DATABASE)
    return Session(path, limits, read_only=False)


def _slow_file() -> Unavailable:
    return Unavailable(f"the file takes longer than {_FILE_S:g} s to answer")
