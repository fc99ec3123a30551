"""The snapshot of the newest published version, built once per version and process."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from freehold.errors import FreeholdError, Unavailable
from freehold.log import get_logger
from freehold.migrate.apply import apply
from freehold.migrate.failures import DatabaseBusy
from freehold.migrate.history import History
from freehold.migrate.snapshot import Scratch, Snapshot, SnapshotUnfit, build_snapshot, is_result_of, load
from freehold.migrate.target import Target
from freehold.migrate.types import LedgerState
from freehold.registry.published import PublishedRegistry

log = get_logger()

# Beyond this, a tenant replays the history instead of waiting for the snapshot.
_PATIENCE_S = 20.0
_RETRY_S = 30.0
_CONSEQUENCE = "every new tenant replays all migrations"


class _Build(NamedTuple):
    chain: str
    task: "asyncio.Task[Snapshot | None]"
    wait_until: float
    retry_at: list[float]  # when to retry, if the cause was external


class Snapshots:
    """For use on one event loop. `published` returns the current registry at no cost.

    With `prove`, the scratch databases use another engine than the tenants': the first tenant of each version replays,
    and others use the snapshot only if the result was the same.
    """

    def __init__(
        self,
        published: Callable[[], Awaitable[PublishedRegistry]],
        scratch: Scratch,
        *,
        prove: bool = False,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._published = published
        self._scratch = scratch
        self._prove = prove
        self._patience_s = patience_s
        self._build: _Build | None = None
        self._history: tuple[PublishedRegistry, History] | None = None
        self._proven: set[str] = set()  # chain hashes, as in _refused
        self._refused: set[str] = set()

    async def get(self) -> Snapshot | None:
        """Return the newest version's snapshot; None if tenants have to replay. Raises as `published` does."""
        return await self._of(await self._published())

    async def history(self) -> History:
        """Return everything published, the same object until more is. Raises as `published` does."""
        published = await self._published()
        if self._history is None or self._history[0] is not published:
            self._history = (published, History(published.migrations))
        return self._history[1]

    async def bring_up_to_date(self, target: Target) -> int:
        """Implements `BringUpToDate`. A fresh database is loaded from the snapshot. Raises as `apply` does."""
        published = await self._published()
        snapshot = await self._of(published)
        is_proven = snapshot is not None and (not self._prove or snapshot.chain in self._proven)
        if snapshot is not None and is_proven and await self._load(target, snapshot):
            return snapshot.version
        # Not fresh, at another version, or overtaken: apply what is missing one by one.
        done = await apply(target, published.migrations)
        if snapshot is not None and not is_proven and len(done.applied) == snapshot.version:
            await self._compare(target, snapshot)
        return done.version

    async def _compare(self, target: Target, snapshot: Snapshot) -> None:
        """Check that replaying on the tenants' own engine gave what the snapshot holds."""
        try:
            if await is_result_of(target, snapshot):
                self._proven.add(snapshot.chain)
            else:
                self._refuse(snapshot, "the tenants' engine makes something else of the migrations")
        except Unavailable:
            pass  # the next tenant may decide
        except FreeholdError as error:
            self._refuse(snapshot, str(error))

    async def _load(self, target: Target, snapshot: Snapshot) -> bool:
        """Load the snapshot; return whether the database is at its version now."""
        try:
            state = await load(target, snapshot)
        except DatabaseBusy:
            return False  # whoever is working there may be doing just this
        except SnapshotUnfit as error:
            self._refuse(snapshot, str(error))
            return False
        return state == LedgerState(snapshot.version, snapshot.chain)

    def _refuse(self, snapshot: Snapshot, reason: str) -> None:
        """Log the reason and stop using the snapshot."""
        if snapshot.chain not in self._refused:
            self._refused.add(snapshot.chain)
            log.warning("snapshot.refused", version=snapshot.version, reason=reason, consequence=_CONSEQUENCE)

    async def _of(self, published: PublishedRegistry) -> Snapshot | None:
        if not published.version or published.chain in self._refused:
            return None
        build = self._build
        if build is None or build.chain != published.chain or time.monotonic() > build.retry_at[0]:
            retry_at = [float("inf")]
            task = asyncio.create_task(self._try(published, retry_at))
            build = self._build = _Build(published.chain, task, time.monotonic() + self._patience_s, retry_at)
        # Several tenants wait for one build, and none of them cancels it by giving up.
        await asyncio.wait({build.task}, timeout=max(build.wait_until - time.monotonic(), 0))
        return build.task.result() if build.task.done() else None

    async def _try(self, published: PublishedRegistry, retry_at: list[float]) -> Snapshot | None:
        began = time.monotonic()
        version, migrations = published.version, published.migrations
        try:
            # A separate loop: replaying blocks, and the scratch database may block too.
            snapshot = await asyncio.to_thread(lambda: asyncio.run(build_snapshot(migrations, self._scratch)))
        except (Unavailable, OSError) as error:
            retry_at[0] = time.monotonic() + _RETRY_S
            reason = str(error) if isinstance(error, FreeholdError) else f"{type(error).__name__}: {error}"
            log.warning("snapshot.failed", version=version, reason=reason, retry_in_s=_RETRY_S)
            return None
        except SnapshotUnfit as error:
            log.warning("snapshot.unfit", version=version, reason=str(error), consequence=_CONSEQUENCE)
            return None
        except Exception as error:  # a bug here must cost time, not tenants
            log.error("snapshot.unfit", version=version, exc_info=error)  # noqa: TRY400 - no handler of ours
            return None
        log.info("snapshot.built", version=version, duration_ms=round((time.monotonic() - began) * 1000))
        return snapshot
