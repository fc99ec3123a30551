"""Databases for trying things out, on the same engine and under the same rules as the tenants' own. Blocking."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.target import Target
from freehold.providers.local.files import EMPTY_DATABASE
from freehold.providers.local.limits import Budget, Limits
from freehold.providers.local.pipeline import Pipeline
from freehold.providers.local.session import Session

_LIMITS = Limits(statement_s=60.0, request_s=120.0, result_bytes=32_000_000)


class ScratchTarget:
    """Implements `Target` on one connection, on the calling thread. `close` leaves one whole file behind."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(EMPTY_DATABASE)
        self._session = Session(path, _LIMITS, read_only=False)

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches as `Target` says."""
        self._session.start_request(_LIMITS)
        pipeline = Pipeline(self._session, {}, Budget(_LIMITS.result_bytes))
        try:
            return [pipeline.batch(batch) for batch in batches]
        finally:
            self._session.reset()

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
