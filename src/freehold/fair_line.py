"""Admits a limited number at once, next whoever has had the fewest turns recently. For the event loop.

A source that asks once does not wait behind one that asks hundreds of times. Past turns count less the longer a source
waits: many people may share an address, and may have had many turns while nobody else wanted any. The caller names the
source of each request, usually its address. The empty name is for the service's own work, which goes first.
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
# Past turns count half after waiting this long.
_FORGIVEN_S = 1.0
_MOST_SOURCES = 10_000
_FORGOTTEN = -7.0  # a hundredth of a turn, as a logarithm
_NEVER = float("-inf")


class FairLine(WaitingLine):
    """Admits `at_once`, and lets up to `waiting` wait; others are refused with the message `told`."""

    __slots__ = ("_began", "_had", "_most", "_now", "_sources", "_told")

    def __init__(
        self, at_once: int, waiting: int | None = None, told: str = "", now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(at_once)
        self._most = waiting
        self._told = told
        self._now = now
        self._began = now()
        # Those who wait: their source, and since when, in units of `_FORGIVEN_S`.
        self._sources: dict[Place, tuple[str, float]] = {}
        # By source: the binary logarithm of its turns, weighted as if all had been when we began. All decay at the same
        # rate, so their order stays the same until someone has another turn.
        self._had: dict[str, float] = {}

    async def enter(self, source: str, *, ahead: bool = False) -> None:
        """Wait for a turn, which ends with `leave`; `ahead` goes before all who wait.

        Raises:
            Unavailable: too many wait, and none of them has had more recently.
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
        """Refuse the last request of the source that has had most, or else the new one."""
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
        least = self._ages() - 1.0  # a source without a turn goes before one that has had one
        first: dict[str, tuple[float, Place]] = {}  # the first of each source
        for place in self._waiting:
            source, since = self._sources[place]
            if source not in first:
                held = max(self._had.get(source, least), least) if source else _NEVER
                first[source] = (held + since, place)
        _, place = min(first.values(), key=itemgetter(0))
        self._waiting.remove(place)
        return place

    def _of_late(self, source: str) -> float:
        """The source's turns, of which those half a minute ago count half."""
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
