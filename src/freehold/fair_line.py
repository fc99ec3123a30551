"""Lets a limited number in at once; whoever has had the fewest turns recently goes next. For the event loop.

Someone who asks once does not stand behind a stranger who asks hundreds of times. What a source has had counts less
the longer it waits: many people may share an address, and have had much while nobody else wanted anything. The caller
names the source of each request, which is the address as a rule. The empty name is for the service's own work, which
goes first.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from operator import itemgetter

from freehold.errors import Unavailable
from freehold.waiting import Place, WaitingLine

_HALF_LIFE_S = 30.0
# What was had counts half after so long a wait.
_FORGIVEN_S = 1.0
_MOST_SOURCES = 10_000
_FORGOTTEN = -7.0  # a hundredth of a turn, as logarithm
_NEVER = float("-inf")


class FairLine(WaitingLine):
    """Lets `at_once` in and up to `waiting` wait. Whoever finds no room is refused with the message `told`."""

    __slots__ = ("_began", "_had", "_most", "_now", "_sources", "_told")

    def __init__(
        self, at_once: int, waiting: int | None = None, told: str = "", now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(at_once)
        self._most = waiting
        self._told = told
        self._now = now
        self._began = now()
        # Of those who wait, and since when, in `_FORGIVEN_S`.
        self._sources: dict[Place, tuple[str, float]] = {}
        # By source: the binary logarithm of how many turns it had, as if all of them had been when we began. As all
        # are forgotten at the same pace, who had fewer stays the same until someone has another.
        self._had: dict[str, float] = {}

    async def enter(self, source: str, *, ahead: bool = False) -> None:
        """Wait for one's turn, which ends with `leave`; `ahead` of all who wait, or when one's source may.

        Raises:
            Unavailable: too many wait, and nobody among them has had more of late.
        """
        if not self._is_let_in():
            await self._stand_in_line("" if ahead else source, ahead=ahead)
        if source:
            self._count(source)

    async def _stand_in_line(self, source: str, *, ahead: bool) -> None:
        if self._most is not None and len(self._waiting) >= self._most:
            self._make_room(source)
        place: Place = asyncio.get_running_loop().create_future()
        self._sources[place] = (source, (self._now() - self._began) / _FORGIVEN_S)
        try:
            await self._wait(place, ahead=ahead)
        finally:
            del self._sources[place]

    def _make_room(self, source: str) -> None:
        """Send away the one of whoever has had most, who came last; or the one who comes now."""
        sources = [self._sources[place][0] for place in self._waiting]
        waiting = Counter(sources)
        shares = {each: self._of_late(each) + count for each, count in waiting.items()}
        greatest = max(shares, key=shares.__getitem__, default=source)
        if shares.get(greatest, 0.0) <= self._of_late(source) + waiting[source] + 1:
            raise Unavailable(self._told)
        place = self._waiting[len(sources) - 1 - sources[::-1].index(greatest)]
        self._waiting.remove(place)
        if not place.done():
            place.set_exception(Unavailable(self._told))

    def _next(self) -> Place:
        least = self._ages() - 1.0  # whoever has had nothing goes before whoever has had one
        first: dict[str, tuple[float, Place]] = {}  # of each source who came first
        for place in self._waiting:
            source, since = self._sources[place]
            if source not in first:
                held = max(self._had.get(source, least), least) if source else _NEVER
                first[source] = (held + since, place)
        _, place = min(first.values(), key=itemgetter(0))
        self._waiting.remove(place)
        return place

    def _of_late(self, source: str) -> float:
        """How many turns it had, those of half a minute ago counting half."""
        return float(2 ** (self._had.get(source, _NEVER) - self._ages()))

    def _count(self, source: str) -> None:
        if len(self._had) >= _MOST_SOURCES:
            least = self._ages() + _FORGOTTEN
            self._had = {each: had for each, had in self._had.items() if had > least}
            if len(self._had) >= _MOST_SOURCES:
                self._had.clear()
        self._had[source] = math.log2(self._of_late(source) + 1) + self._ages()

    def _ages(self) -> float:
        return (self._now() - self._began) / _HALF_LIFE_S
