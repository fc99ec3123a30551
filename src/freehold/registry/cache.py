"""Keeps the published registry in memory, right at every moment."""

import asyncio

from freehold.changes import Changes
from freehold.feed_cache import FeedCell
from freehold.log import get_logger
from freehold.migrate.signature import RegistryTampered
from freehold.registry.ports import RegistryStore
from freehold.registry.snapshot import Snapshot, checked

log = get_logger()


class SnapshotCache:
    """One for each process. What another process published is seen by the next `get`."""

    def __init__(self, store: RegistryStore, changes: Changes) -> None:
        self._store = store
        self._changes = changes
        self._cell: FeedCell[Snapshot | RegistryTampered] = FeedCell(changes, "registry")
        self._loading = asyncio.Lock()

    async def get(self) -> Snapshot:
        """The registry as it is now; costs microseconds when nothing was committed since the last call.

        Raises:
            RegistryTampered: the rows do not fit their signatures.
            CentralUnavailable: the central database does not answer.
        """
        if not self._changes.is_current():
            await self._changes.catch_up()
        held = self._cell.held or await self._load()
        if isinstance(held, RegistryTampered):
            raise RegistryTampered(str(held))
        return held

    async def _load(self) -> Snapshot | RegistryTampered:
        async with self._loading:
            if self._cell.held is not None:  # read by another request while this one waited
                return self._cell.held
            begun = self._cell.begin()
            stored = await self._store.load()
            found: Snapshot | RegistryTampered
            try:
                found = await asyncio.to_thread(checked, stored)
            except RegistryTampered as error:
                log.error("registry.tampered", reason=str(error))  # noqa: TRY400 - the reason says it all
                found = error.with_traceback(None)
            self._cell.keep(found, begun)
            return found
