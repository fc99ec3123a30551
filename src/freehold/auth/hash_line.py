"""Who waits for a hash, and who goes next: whoever has had the fewest of late, by the place that they ask from.

Somebody who signs in once does not stand behind a stranger who tries hundreds of passwords.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from freehold.errors import Unavailable

_HALF_LIFE_S = 30.0
_MOST_PLACES = 10_000
_FORGOTTEN = 0.01  # hashes of late

Place = tuple[str, "asyncio.Future[None]"]


class HashLine:
    """Lets so many go on at once, and so many wait. One event loop uses it."""

    def __init__(self, at_once: int, waiting: int, now: Callable[[], float] = time.monotonic) -> None:
        self._free = at_once
        self._most = waiting
        self._now = now
        self._waiting: list[Place] = []
        self._had: dict[str, tuple[float, float]] = {}  # by place: hashes of late, and when that was

    @asynccontextmanager
    async def turn(self, place: str) -> AsyncIterator[None]:
        """Enter when it is one's turn.

        Raises:
            Unavailable: too many wait, and nobody among them has had more of late.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(place)
        self._count(place)
        try:
            yield
        finally:
            self._next()

    async def _wait(self, place: str) -> None:
        if len(self._waiting) >= self._most:
            self._make_room(place)
        entry = place, asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        try:
            await entry[1]
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif entry[1].done() and not entry[1].cancelled() and entry[1].exception() is None:
                self._next()  # it had just been told to go
            raise

    def _make_room(self, place: str) -> None:
        """Send away the one of whoever has had most, who came last; or the one who comes now."""
        refusal = Unavailable("too many people are signing in at this moment; try again in a moment")
        shares = [self._share(each) for each, _ in self._waiting]
        most = max(shares, default=0.0)
        if most <= self._share(place) + 1:
            raise refusal
        last = len(shares) - 1 - shares[::-1].index(most)
        _, future = self._waiting.pop(last)
        if not future.done():
            future.set_exception(refusal)

    def _share(self, place: str) -> float:
        """What a place has had of late, and what it waits for."""
        return self._of_late(place) + sum(each == place for each, _ in self._waiting)

    def _next(self) -> None:
        while self._waiting:
            entry = min(self._waiting, key=lambda each: self._of_late(each[0]))  # of several the first
            self._waiting.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)
                return
        self._free += 1

    def _of_late(self, place: str) -> float:
        count, at = self._had.get(place, (0.0, 0.0))
        return count * 0.5 ** ((self._now() - at) / _HALF_LIFE_S) if count else 0.0

    def _count(self, place: str) -> None:
        if len(self._had) >= _MOST_PLACES:
            self._had = {each: had for each, had in self._had.items() if self._of_late(each) > _FORGOTTEN}
            if len(self._had) >= _MOST_PLACES:
                self._had.clear()
        self._had[place] = self._of_late(place) + 1, self._now()
