"""Keeps the published registry in memory, right at every moment."""

import asyncio

import structlog

from freehold.changes import Changes
from freehold.migrate.signature import RegistryTampered
from freehold.registry.ports import RegistryStore
from freehold.registry.snapshot import Snapshot, checked

log = structlog.get_logger()


class SnapshotCache:
    """One for each process. What another process published is seen by the next `get`."""

    def __init__(self, store: RegistryStore, changes: Changes) -> None:
        self._store = store
        self._changes = changes
        self._held: Snapshot | RegistryTampered | None = None
        self._told = 0  # how often a change of the registry was told
        self._loading = asyncio.Lock()
        changes.subscribe("registry", self._forget)

    async def get(self) -> Snapshot:
        """The registry as it is now; costs microseconds when nothing was committed since the last call.

        Raises:
            RegistryTampered: the rows do not fit their signatures.
            CentralUnavailable: the central database does not answer.
        """
        if not self._changes.is_current():
            await self._changes.catch_up()
        held = self._held or await self._load()
        if isinstance(held, RegistryTampered):
            raise RegistryTampered(str(held))
        return held

    async def _load(self) -> Snapshot | RegistryTampered:
        async with self._loading:
            if self._held is not None:  # read by another request while this one waited
                return self._held
            told = self._told
            stored = await self._store.load()
            found: Snapshot | RegistryTampered
            try:
                found = await asyncio.to_thread(checked, stored)
            except RegistryTampered as error:
                log.error("registry.tampered", reason=str(error))  # noqa: TRY400 - the reason says it all
                found = error.with_traceback(None)
            # A change told since then may be missing in what was read: good for this caller, who asked before
            # it, but not to be kept.
            if told == self._told:
                self._held = found
            return found

    def _forget(self, _version: str | None) -> None:
        self._told += 1
        self._held = None
