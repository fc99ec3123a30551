"""Who writes to the central database next. For the event loop's thread."""

import asyncio
from collections import deque


class Line:
    """One at a time, in the order of asking."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, *, ahead: bool = False) -> None:
        """Wait for one's turn, which ends with `leave`; `ahead` of all who wait, or after them."""
        if not self._is_taken:
            self._is_taken = True
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if ahead:
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():
                self.leave()  # it was given to us in the very moment that we gave up
            raise

    def leave(self) -> None:
        """Hand the turn to the next who still waits."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._is_taken = False
