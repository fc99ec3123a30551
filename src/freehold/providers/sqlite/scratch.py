"""Databases for trying things out, on the same engine and under the same rules as the tenants' own. Blocking."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.snapshot import SnapshotUnfit
from freehold.migrate.target import Target
from freehold.providers.sqlite.empty import EMPTY_DATABASE
from freehold.providers.sqlite.limits import Limits
from freehold.providers.sqlite.session import Session
from freehold.providers.sqlite.timed import run_timed

_LIMIT_S = 60.0
# Twice that: what counts is the timer below.
_LIMITS = Limits(statement_s=2 * _LIMIT_S, request_s=2 * _LIMIT_S, result_bytes=32_000_000)


class ScratchTarget:
    """Implements `Target` on one connection, on the calling thread. `close` leaves one whole file behind.

    What takes longer than `limit_s` raises `SnapshotUnfit`.
    """

    def __init__(self, path: Path, *, limit_s: float = _LIMIT_S) -> None:
        self._limit_s = limit_s
        path.write_bytes(EMPTY_DATABASE)
        self._session = Session(path, _LIMITS, read_only=False)

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches as `Target` says."""
        reason = SnapshotUnfit(f"the migrations take longer than {self._limit_s:g} s")
        return run_timed(self._session, batches, _LIMITS, self._limit_s, reason)

    def close(self) -> None:
        self._session.close()


@asynccontextmanager
async def local_scratch() -> AsyncIterator[Target]:
    """A new empty database, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        target = ScratchTarget(Path(folder) / "scratch.db")
        try:
            yield target
        finally:
            target.close()
