"""A database file at the newest version, to be copied for each new tenant."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from freehold.errors import FreeholdError
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.log import get_logger
from freehold.migrate.ledger import LEDGER_TABLE
from freehold.migrate.snapshot import Snapshot, SnapshotUnfit, load
from freehold.migrate.types import LedgerState
from freehold.providers.sqlite.file_target import FileTarget

log = get_logger()

# A placeholder for the timestamps of the ledger's rows in the file, of the same length.
_MARK = "@freehold-applied-at@@@@"


class Template(Struct, frozen=True):
    """The bytes of a database file between the timestamps in its ledger."""

    parts: tuple[bytes, ...]

    def fill(self) -> bytes:
        """The file with the current time in every row of its ledger."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        return now.encode().join(self.parts)


class Templates:
    """Holds the template of the newest snapshot, created on first use."""

    def __init__(self, snapshot: Callable[[], Awaitable[Snapshot | None]]) -> None:
        self._snapshot = snapshot
        self._made: tuple[Snapshot, Template | None] | None = None
        self._making = asyncio.Lock()

    async def get(self) -> Template | None:
        """The template, or None if a new database has to start empty."""
        snapshot = await self._snapshot()
        if snapshot is None:
            return None
        async with self._making:
            if self._made is None or self._made[0] is not snapshot:
                self._made = snapshot, await asyncio.to_thread(_try, snapshot)
            return self._made[1]


def _try(snapshot: Snapshot) -> Template | None:
    try:
        return make_template(snapshot)
    except (FreeholdError, OSError) as error:
        # Loading the snapshot has the same result, only slower.
        log.warning("template.failed", version=snapshot.version, reason=str(error))
        return None


def make_template(snapshot: Snapshot) -> Template:
    """Load the snapshot into a file and read that. Blocking.

    Raises:
        SnapshotUnfit: it cannot be loaded into a file.
        OSError: there is no space for it.
    """
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        path = Path(folder) / "template.db"
        asyncio.run(_fill(path, snapshot))
        content = path.read_bytes()
        has_log = path.with_name(path.name + "-wal").exists()
    parts = tuple(content.split(_MARK.encode()))
    if has_log or len(parts) != len(snapshot.ledger) + 1:
        raise SnapshotUnfit("the file does not hold one moment for each version")
    return Template(parts)


async def _fill(path: Path, snapshot: Snapshot) -> None:
    target = FileTarget.scratch(path)
    try:
        if await load(target, snapshot) != LedgerState(snapshot.version, snapshot.chain):
            raise SnapshotUnfit("an empty file does not take it")
        mark = Stmt(sql=f"UPDATE {LEDGER_TABLE} SET applied_at = '{_MARK}'")
        [answer] = await target.run([Batch((BatchStep(mark),))])
        if error := answer.step_errors[0]:
            raise SnapshotUnfit(f"its ledger cannot be marked: {error.message}")
    finally:
        await target.close()
