"""Who waits for a hash, and who goes next: whoever has had the fewest of late, by the address that they ask from.

Somebody who signs in once does not stand behind a stranger who tries hundreds of passwords.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from freehold.errors import Unavailable
from freehold.waiting import Place, WaitingLine

_HALF_LIFE_S = 30.0
_MOST_SOURCES = 10_000
_FORGOTTEN = 0.01  # hashes of late


class HashLine(WaitingLine):
    """Lets so many go on at once, and so many wait. One event loop uses it."""

    __slots__ = ("_had", "_most", "_now", "_sources")

    def __init__(self, at_once: int, waiting: int, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(at_once)
        self._most = waiting
        self._now = now
        self._sources: dict[Place, str] = {}  # of those who wait
        self._had: dict[str, tuple[float, float]] = {}  # by source: hashes of late, and when that was

    @asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[None]:
        """Enter when it is one's turn.

        Raises:
            Unavailable: too many wait, and nobody among them has had more of late.
        """
        if not self._is_let_in():
            await self._stand_in_line(source)
        self._count(source)
        try:
            yield
        finally:
            self.leave()

    async def _stand_in_line(self, source: str) -> None:
        if len(self._waiting) >= self._most:
            self._make_room(source)
        place: Place = asyncio.get_running_loop().create_future()
        self._sources[place] = source
        try:
            await self._wait(place)
        finally:
            del self._sources[place]

    def _make_room(self, source: str) -> None:
        """Send away the one of whoever has had most, who came last; or the one who comes now."""
        refusal = Unavailable("too many people are signing in at this moment; try again in a moment")
        shares = [self._share(self._sources[place]) for place in self._waiting]
        most = max(shares, default=0.0)
        if most <= self._share(source) + 1:
            raise refusal
        place = self._waiting[len(shares) - 1 - shares[::-1].index(most)]
        self._waiting.remove(place)
        if not place.done():
            place.set_exception(refusal)

    def _share(self, source: str) -> float:
        """What a source has had of late, and what it waits for."""
        return self._of_late(source) + sum(self._sources[place] == source for place in self._waiting)

    def _next(self) -> Place:
        place = min(
            self._waiting, key=lambda each: self._of_late(self._sources[each])
        )  # of several the first
        self._waiting.remove(place)
        return place

    def _of_late(self, source: str) -> float:
        count, at = self._had.get(source, (0.0, 0.0))
        return count * 0.5 ** ((self._now() - at) / _HALF_LIFE_S) if count else 0.0

    def _count(self, source: str) -> None:
        if len(self._had) >= _MOST_SOURCES:
            self._had = {each: had for each, had in self._had.items() if self._of_late(each) > _FORGOTTEN}
            if len(self._had) >= _MOST_SOURCES:
                self._had.clear()
        self._had[source] = self._of_late(source) + 1, self._now()
