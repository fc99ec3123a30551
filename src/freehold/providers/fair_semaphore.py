"""Lets a number of calls in at a time and makes the others wait their turn. For the event loop's thread."""

import asyncio
from collections.abc import Callable

from freehold.errors import FreeholdError
from freehold.providers.failures import Gone, Overloaded
from freehold.providers.serving import Disconnect
from freehold.waiting import Place, WaitingLine


class FairSemaphore(WaitingLine):
    """`limit` calls may be inside at a time; `queue_limit` may wait, first come, first served."""

    __slots__ = ("_queue_limit",)

    def __init__(self, limit: int, queue_limit: int) -> None:
        super().__init__(limit)
        self._queue_limit = queue_limit

    @property
    def is_empty(self) -> bool:
        return not (self.inside or self._waiting)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    async def enter(self, disconnect: Disconnect) -> None:
        """Wait for a place; `leave` passes it on.

        Raises:
            Overloaded: too many are waiting already.
            Gone: the client no longer waits.
            FreeholdError: nobody is let in, see `refuse_all`.
        """
        if self._is_let_in():
            return
        if len(self._waiting) >= self._queue_limit:
            raise Overloaded
        place: Place = asyncio.get_running_loop().create_future()
        disconnect.when_lost(lambda: _fail(place, Gone()))
        await self._wait(place)

    def refuse_all(self, reason: Callable[[], FreeholdError]) -> None:
        """Raise this error in all calls that wait."""
        for place in self._waiting:
            _fail(place, reason())


def _fail(place: Place, error: FreeholdError) -> None:
    if not place.done():
        place.set_exception(error)
