"""Guests who never come back: they go after a time, with their database.

A guest cannot sign in again: who has neither a session nor an API key that still works can never return. Those who
can are left alone for as long as they can, and for the days that were set since they last did anything.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from freehold.dates import utc_now
from freehold.log import get_logger

log = get_logger()

BATCH = 50
_EVERY_S = 600.0


@dataclass(slots=True)
class DepartedGuests:
    """Any number of processes may do this at once. With 0 `days` nobody goes.

    `remove(before, now, limit)` removes guests of whom nothing was heard since `before`, and has their databases
    deleted. In one transaction, in which each is looked at again. Returns how many. Raises `CentralUnavailable`.
    """

    remove: Callable[[datetime, datetime, int], Awaitable[int]]
    days: int
    clock: Callable[[], datetime] = utc_now
    seconds: Callable[[], float] = time.monotonic
    _next_at: float = field(default=float("-inf"), init=False)

    async def sweep(self) -> int:
        """Remove a batch, if it is time to look again; returns how many went."""
        if not self.days or self.seconds() < self._next_at:
            return 0
        now = self.clock()
        removed = await self.remove(now - timedelta(days=self.days), now, BATCH)
        if removed < BATCH:  # else there may be more at once
            self._next_at = self.seconds() + _EVERY_S
        if removed:
            log.info("user.guests_departed", count=removed)
        return removed
