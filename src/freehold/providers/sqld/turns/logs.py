"""Keeps the log of each database on sqld short: SQLite restarts it only when nobody reads from it.

A tenant whose readers overlap without a gap makes it grow for ever. sqld reports for each database how many pages it
has written in total, so tenants who wrote much are checked: their log is checkpointed into the file when nothing of
theirs runs. Once it has grown beyond its limit, none of their calls begins, and their streams are closed, until it is.
"""

import asyncio

from freehold.errors import ProviderUnavailable
from freehold.log import get_logger
from freehold.lru import Lru
from freehold.providers.sqld.client.admin import SqldAdmin
from freehold.providers.sqld.client.namespaces import Namespaces
from freehold.providers.sqld.turns.shares import Share
from freehold.providers.sqld.turns.turns import Turns
from freehold.tenants.errors import DatabaseDamaged

log = get_logger()

_PAGE_BYTES = 4096 + 24  # with its head in the log
_WORTH_BYTES = 16_000_000
_SLACK_BYTES = 64_000_000
_GRACE_S = 5.0
_LOOK_S = 0.05
# Each opens the database. sqld keeps the most frequently used ones open, and denies for as long as it runs one that was
# not open when asked for a checkpoint: of 60 after no such call 48 (sqld 0.24.32, 300 databases, 50 open).
_OPENERS = 5
_REMEMBERED = 10_000


class Logs:
    """`limit_bytes` is the limit of one database's log; a transaction as large as a database still fits."""

    def __init__(self, admin: SqldAdmin, namespaces: Namespaces, turns: Turns, max_size_bytes: int) -> None:
        self.limit_bytes = max_size_bytes + _SLACK_BYTES
        self.forced = 0  # times that a tenant's streams were closed for it
        self._admin = admin
        self._namespaces = namespaces
        self._turns = turns
        self._folded: Lru[str, int] = Lru(_REMEMBERED)  # the count of pages at the last checkpoint
        self._unfolded: dict[str, None] = {}

    @property
    def is_needed(self) -> bool:
        """Whether `look` has anything to do."""
        return bool(self._turns.unlooked or self._unfolded)

    async def look(self) -> None:
        """Check the logs of tenants who recently used much, and checkpoint those that can be checkpointed now.

        A database that cannot be opened is skipped.

        Raises:
            ProviderUnavailable: no answer about one; the next time it comes last.
        """
        try:
            await self._measure_all()
        finally:
            await self._fold_all()

    async def _measure_all(self) -> None:
        for share in list(self._turns.unlooked):
            del self._turns.unlooked[share]
            used_s, share.unlooked_s = share.unlooked_s, 0.0
            try:
                await self._measure(share)
            except DatabaseDamaged:
                continue
            except ProviderUnavailable:
                share.unlooked_s += used_s
                self._turns.unlooked[share] = None
                raise

    async def _fold_all(self) -> None:
        for name in list(self._unfolded):
            streams, others = self._namespaces.open_in(name)
            if self._turns.is_quiet(name) and not streams and not others:
                del self._unfolded[name]
                try:
                    await self._fold(name)
                except DatabaseDamaged:
                    continue
                except ProviderUnavailable:
                    self._unfolded[name] = None
                    raise

    async def _measure(self, share: Share) -> None:
        stats = await self._admin.stats(share.name)
        if stats is None:
            return
        pages = stats.replication_index or 0
        if share.name not in self._folded and pages * _PAGE_BYTES >= _WORTH_BYTES:
            self._remember(share.name, pages)  # how many of them an earlier process left in the log is unknown
            self._unfolded[share.name] = None
            return
        size_bytes = (pages - self._folded.get(share.name, 0)) * _PAGE_BYTES
        if size_bytes >= _WORTH_BYTES:
            self._unfolded[share.name] = None
        if size_bytes >= self.limit_bytes:
            await self._force(share.name, size_bytes)

    async def _force(self, name: str, size_bytes: int) -> None:
        """Checkpoint it even if streams are open, after giving them some time to end on their own."""
        log.warning("sqld.log_too_long", database=name, size_bytes=size_bytes)
        share = self._turns.close(name)
        try:
            if not await self._ended(share, _GRACE_S):
                self.forced += 1
                share.closed = "all"
                await self._ended(share, self._turns.call_s, with_streams=False)
                await self._namespaces.end_all(name)
            await self._fold(name)
        finally:
            self._turns.reopen(share)

    async def _ended(self, share: Share, within_s: float, *, with_streams: bool = True) -> bool:
        """Wait until nothing of this tenant runs or is open; False if that takes longer than `within_s`."""
        until = self._turns.now() + within_s
        while share.running or (with_streams and any(self._namespaces.open_in(share.name))):
            if self._turns.now() >= until:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def _fold(self, name: str) -> None:
        for _ in range(_OPENERS):
            stats = await self._admin.stats(name)
        await self._admin.checkpoint(name)
        self._unfolded.pop(name, None)
        if stats is not None:
            self._remember(name, stats.replication_index or 0)

    def _remember(self, name: str, pages: int) -> None:
        self._folded[name] = pages
