"""Removes guests who cannot come back, with their databases.

A guest cannot sign in again, so one without a live session or an API key in use can never return. Guests with a live
session are kept, and so are those who did anything within the configured number of days.
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
    """Removes departed guests in batches. Several processes may do this at once. With 0 `days` nobody is removed.

    `remove(before, now, limit)` removes guests inactive since `before`, schedules the deletion of their databases, and
    returns how many. It checks each guest again in the same transaction. Raises `CentralUnavailable`.
    """

    remove: Callable[[datetime, datetime, int], Awaitable[int]]
    days: int
    clock: Callable[[], datetime] = utc_now
    seconds: Callable[[], float] = time.monotonic
    _next_at: float = field(default=float("-inf"), init=False)

    async def sweep(self) -> int:
        """Remove a batch if it is time to look again; returns the number removed."""
        if not self.days or self.seconds() < self._next_at:
            return 0
        now = self.clock()
        removed = await self.remove(now - timedelta(days=self.days), now, BATCH)
        if removed < BATCH:  # otherwise there may be more
            self._next_at = self.seconds() + _EVERY_S
        if removed:
            log.info("user.guests_departed", count=removed)
        return removed
