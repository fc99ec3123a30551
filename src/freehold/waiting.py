"""What all queues share that admit a limited number of callers at once. For the event loop's thread."""

import asyncio
from collections import deque

Place = asyncio.Future[None]


class WaitingLine:
    """`inside` are those who have been let in and have not left."""

    __slots__ = ("_at_once", "_waiting", "inside")

    def __init__(self, at_once: int) -> None:
        self.inside = 0
        self._at_once = at_once
        self._waiting: deque[Place] = deque()

    def leave(self) -> None:
        """Hand the place to the next who still waits."""
        while self._waiting:
            place = self._next()
            if not place.done():
                place.set_result(None)
                return
        self.inside -= 1

    def _is_let_in(self) -> bool:
        """Take a place if one is free."""
        if self.inside < self._at_once:
            self.inside += 1
            return True
        return False

    async def _wait(self, place: Place, *, ahead: bool = False) -> None:
        """Wait for a place, `ahead` of all others or after them. Raises the error that is handed over instead."""
        if ahead:
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        try:
            await place
        except BaseException:
            if place in self._waiting:
                self._waiting.remove(place)
            elif place.done() and not place.cancelled() and place.exception() is None:
                self.leave()  # it was handed over just when we gave up
            raise

    def _next(self) -> Place:
        """Take out whoever is to go next: the first, unless a kind of line knows better."""
        return self._waiting.popleft()
