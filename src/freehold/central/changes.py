"""The change feed of the central database.

Triggers add a row to `change` in every transaction that changes a session, a user or the registry, from whatever
process. For a file, SQLite's `data_version` tells whether anything was committed: a look at shared memory that takes
some three microseconds and never waits, so a cached read needs no query. A server has no such thing, so each reader
there queries the feed once, together with all who wait meanwhile. See docs/decisions/0002.
"""

import asyncio
import sqlite3
import time
from collections import defaultdict
from pathlib import Path
from typing import get_args

from sqlalchemy import bindparam, func, select

from freehold.central.engine import Central
from freehold.central.tables import change
from freehold.changes import Listener, Topic

_PAGE = 1_000
_NOTHING_SEEN, _NOT_TOLD = -1, -2
# One query for everything: the range of the feed, and a page of new rows, if any. Two subqueries, because one for both
# ends would scan every row.
_REACH = select(
    select(func.min(change.c.seq)).scalar_subquery().label("lowest"),
    select(func.max(change.c.seq)).scalar_subquery().label("newest"),
).subquery()
_NEWS = (
    select(_REACH.c.lowest, _REACH.c.newest, change.c.seq, change.c.topic, change.c.key)
    .select_from(_REACH.outerjoin(change, change.c.seq > bindparam("position")))
    .order_by(change.c.seq)
    .limit(bindparam("page"))
)


class ChangeFeed:
    """Follows the feed; one per process. Implements `freehold.changes.Changes`."""

    def __init__(self, central: Central, *, tells_past: bool = False) -> None:
        """With `tells_past`, listeners first get the changes still in the feed, for copies made before this process."""
        self._central = central
        self._tells_past = tells_past
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._position = -1
        self._seen_version = _NOTHING_SEEN
        self._running: asyncio.Task[None] | None = None
        self._read_at = float("-inf")
        self._read_commits = -1

    @property
    def position(self) -> int:
        return self._position

    def subscribe(self, topic: Topic, listener: Listener) -> None:
        self._listeners[topic].append(listener)

    def is_current(self) -> bool:
        version = self._data_version()
        return version == self._seen_version and version != _NOT_TOLD

    def is_recent(self, within_s: float) -> bool:
        is_new = time.monotonic() - self._read_at <= within_s
        return is_new and self._read_commits == self._central.commits.count

    async def catch_up(self) -> None:
        running = self._running
        if running is not None and not running.done():
            # It may have read the feed before the change that our caller must see: wait for its end, then look again.
            await asyncio.wait([running])
            if self.is_current():
                return
        if self._running is running:
            self._running = asyncio.create_task(self._catch_up())
        # All who waited above share the query that began after they asked. It is shielded because the cancellation of
        # one caller must not affect the others.
        assert self._running is not None
        await asyncio.shield(self._running)

    def close(self) -> None:
        """Release the feed's resources."""

    def _data_version(self) -> int:
        """A number that changes with every commit. Servers have none, so the feed always counts as changed."""
        return _NOT_TOLD

    async def _catch_up(self) -> None:
        # Before reading, so that a commit in between is noticed next time.
        version, commits, began_at = self._data_version(), self._central.commits.count, time.monotonic()
        more = True
        while more:
            more = await self._read_page()
        self._seen_version = version
        self._read_commits, self._read_at = commits, began_at

    async def _read_page(self) -> bool:
        """Pass on one page of changes; returns whether there may be more."""
        async with self._central.read(ahead=True) as db:
            found = (await db.execute(_NEWS, {"position": self._position, "page": _PAGE})).all()
        lowest, newest = found[0].lowest, found[0].newest or 0
        if self._position < 0:  # nothing is cached yet
            self._position = lowest - 1 if self._tells_past and lowest is not None else newest
            return newest > self._position
        if newest < self._position:  # an older state was restored, and numbers will be reused
            self._tell_everything()
            self._position = newest
        if newest == self._position:
            return False
        if lowest > self._position + 1:
            self._tell_everything()  # some changes were pruned before they were read
        for row in found:
            self._position = row.seq
            for listener in self._listeners[row.topic]:
                listener(row.key)
        return len(found) == _PAGE

    def _tell_everything(self) -> None:
        for topic in get_args(Topic):
            for listener in self._listeners[topic]:
                listener(None)


class FileChanges(ChangeFeed):
    """The feed of a central database in a SQLite file, where checking for news is cheap."""

    def __init__(self, central: Central, path: Path, *, tells_past: bool = False) -> None:
        super().__init__(central, tells_past=tells_past)
        # Used only for `data_version`; it holds no lock between calls and waits for none. It must be opened with the
        # same SQLite library as the rest of this process: a second copy of SQLite would not see the first one's locks,
        # would think that it is the first user of the WAL index, and would truncate it. Source:
        # https://www.sqlite.org/howtocorrupt.html, section 2.2.1.
        self._probe = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self._current_at_commits = -1

    def close(self) -> None:
        self._probe.close()

    def is_recent(self, within_s: float) -> bool:  # noqa: ARG002
        """Calls in one iteration of the event loop share a look: later commits came after their question, too."""
        commits = self._central.commits.count
        if self._current_at_commits == commits:
            return True
        if not self.is_current():
            return False
        self._current_at_commits = commits
        asyncio.get_running_loop().call_soon(self._look_again)
        return True

    def _look_again(self) -> None:
        self._current_at_commits = -1

    def _data_version(self) -> int:
        try:
            return int(self._probe.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            return _NOT_TOLD  # the caller queries the database and gets the error there
