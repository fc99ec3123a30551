"""Lets so many in at once and makes the others wait their turn. For the event loop's thread."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from freehold.errors import FreeholdError
from freehold.providers.local.failures import Gone, Overloaded
from freehold.providers.serving import Interest


class Turnstile:
    """`limit` may be inside at once; `queue_limit` may wait, first come first served."""

    __slots__ = ("_limit", "_queue_limit", "_waiting", "inside")

    def __init__(self, limit: int, queue_limit: int) -> None:
        self.inside = 0
        self._limit = limit
        self._queue_limit = queue_limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_empty(self) -> bool:
        return not (self.inside or self._waiting)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    async def enter(self, interest: Interest) -> None:
        """Wait for a place; `leave` gives it to the next.

        Raises:
            Overloaded: too many wait already.
            Gone: the client did not want to wait any longer.
            FreeholdError: nobody gets in any more, see `refuse_all`.
        """
        if self.inside < self._limit:
            self.inside += 1
            return
        if len(self._waiting) >= self._queue_limit:
            raise Overloaded("too many requests at once; try again in a moment")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        interest.when_lost(lambda: _fail(place, Gone("the client went away")))
        try:
            await place
        except BaseException:
            with contextlib.suppress(ValueError):
                self._waiting.remove(place)
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()  # the place was given to us in the very moment that we gave up
            raise

    def leave(self) -> None:
        """Hand the place to the next who waits."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.inside -= 1

    def refuse_all(self, reason: Callable[[], FreeholdError]) -> None:
        """Those who wait get this error."""
        for place in self._waiting:
            _fail(place, reason())


def _fail(place: "asyncio.Future[None]", error: FreeholdError) -> None:
    if not place.done():
        place.set_exception(error)
