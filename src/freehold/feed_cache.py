"""Caches of the central database in memory, correct at every use: the change feed says what became outdated.

The rule, which stands only here: what was read may be kept only if the feed has announced nothing since the read began.
A change that the read missed may have been announced already, and is never announced again. What may not be kept is
still valid for the caller, who asked before the change. See docs/decisions/0002-session-cache.md.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from freehold.changes import Changes, RecentChanges, Topic
from freehold.errors import CentralUnavailable
from freehold.log import get_logger

log = get_logger()

Value = TypeVar("Value")

# A central database in a file is checked for changes at each use, in microseconds; one on a server once in this time,
# so that other processes' changes are noticed this much later. A process's own are noticed at once.
_RECENT_S = 1.0
_PATIENCE_S = 1.0


class FeedCell(Generic[Value]):
    """One value, forgotten at the next change of its topic."""

    def __init__(self, changes: Changes, topic: Topic) -> None:
        self._changes = changes
        self._told = 0
        self.held: Value | None = None
        changes.subscribe(topic, self._forget)

    def begin(self) -> int:
        """Call this before reading, and pass the result to `keep`.

        A feed that nobody has followed yet, at -1, announces nothing until someone does.
        """
        return self._told if self._changes.position >= 0 else -1

    def keep(self, value: Value, begun: int, seen: int | None = None) -> None:
        """Keep what was read since `begin`, if the rule allows.

        `seen` is the feed's position in the view that was read, if known, as that may have been an old one.
        """
        if begun == self._told and (seen is None or self._changes.position <= seen):
            self.held = value

    def forget(self) -> None:
        """Forget a value that was changed here, without waiting for the feed."""
        self._forget(None)

    def _forget(self, _key: str | None) -> None:
        self._told += 1
        self.held = None


class FeedCache(Generic[Value]):
    """Values by key, each with the feed's names for it and for its owner. The least recently used is dropped.

    The code that creates it subscribes `forget_name` and `forget_owner` to the feed.
    """

    def __init__(self, changes: Changes, capacity: int) -> None:
        self._changes = changes
        self._capacity = capacity
        self._entries: OrderedDict[str, tuple[Value, str, str]] = OrderedDict()
        self._key_of: dict[str, str] = {}
        self._keys_of: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Value | None:
        """The value, if it is kept."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def keep(self, key: str, value: Value, seen: int, *, name: str, owner: str) -> None:
        """Keep what was read when the feed was at `seen`, if the rule allows."""
        if self._changes.position <= seen:
            self.put(key, value, name=name, owner=owner)

    def put(self, key: str, value: Value, *, name: str, owner: str) -> None:
        """Keep a value that is known by other means to be current."""
        self._forget(key)
        self._entries[key] = value, name, owner
        self._key_of[name] = key
        self._keys_of[owner].add(key)
        if len(self._entries) > self._capacity:
            self._forget(next(iter(self._entries)))

    def forget_name(self, name: str | None) -> None:
        """Forget the value with this name; None: everything."""
        if name is None:
            self._forget_all()
        elif (key := self._key_of.get(name)) is not None:
            self._forget(key)

    def forget_owner(self, owner: str | None) -> None:
        """Forget all values of this owner; None: everything."""
        if owner is None:
            self._forget_all()
            return
        for key in tuple(self._keys_of.get(owner, ())):
            self._forget(key)

    def _forget(self, key: str) -> None:
        found = self._entries.pop(key, None)
        if found is None:
            return
        _, name, owner = found
        self._key_of.pop(name, None)
        keys = self._keys_of[owner]
        keys.discard(key)
        if not keys:
            del self._keys_of[owner]

    def _forget_all(self) -> None:
        self._entries.clear()
        self._key_of.clear()
        self._keys_of.clear()


class Follower:
    """Follows the feed for caches that stay in use while the central database does not answer.

    Nothing can be changed in it meanwhile, so what is cached stays true.
    """

    def __init__(self, changes: RecentChanges, event: str, patience_s: float = _PATIENCE_S) -> None:
        self._changes = changes
        self._event = event
        self._patience_s = patience_s
        self._alone_until = 0.0

    @property
    def is_behind(self) -> bool:
        """Whether the feed should be followed before what is cached is used."""
        return not self._changes.is_recent(_RECENT_S)

    async def catch_up(self, *, is_known: bool, then: Callable[[], Awaitable[None]] | None = None) -> None:
        """Follow the feed, then call `then`. If that fails, what is known is used for a while without asking.

        Raises:
            CentralUnavailable: nothing is known, and the central database does not answer in time.
        """
        if is_known and time.monotonic() < self._alone_until:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await self._changes.catch_up()
                if then is not None:
                    await then()
        except (CentralUnavailable, TimeoutError) as error:
            self._alone_until = time.monotonic() + _RECENT_S
            log.warning(self._event, reason=type(error).__name__)
            if not is_known:
                raise CentralUnavailable("the central database does not answer; try again in a moment") from error
