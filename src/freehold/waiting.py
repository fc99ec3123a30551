"""The base of queues that admit a limited number of callers at once. For the event loop's thread."""

import asyncio
from collections import deque

Place = asyncio.Future[None]


class WaitingLine:
    """`inside` is the number of callers who have been admitted and have not left."""

    __slots__ = ("_at_once", "_waiting", "inside")

    def __init__(self, at_once: int) -> None:
        self.inside = 0
        self._at_once = at_once
        self._waiting: deque[Place] = deque()

    def leave(self) -> None:
        """Pass the place on to the next caller who still waits."""
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
        """Wait for a place, `ahead` of all others or after them. Raises the error that is set on it instead."""
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
                self.leave()  # it was passed on just when we gave up
            raise

    def _next(self) -> Place:
        """Remove and return the next in line: the first, unless a subclass decides otherwise."""
        return self._waiting.popleft()
