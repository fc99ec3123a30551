"""Hits counted in this process's memory. Implements `freehold.limiting.Limiter`."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from freehold.limiting import UNLIMITED, Rate, Verdict

_CAPACITY = 100_000


@dataclass(slots=True)
class _Window:
    ends_at: float
    count: int = 0
    times: deque[float] = field(default_factory=deque)


class MemoryLimiter:
    """For one process and one event loop. A hit takes a microsecond, and the number of keys is bounded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._windows: dict[str, _Window] = {}

    def __len__(self) -> int:
        return len(self._windows)

    async def hit(self, key: str, rate: Rate) -> Verdict:
        return self.count(key, rate)

    def count(self, key: str, rate: Rate) -> Verdict:
        """`hit` without a coroutine."""
        if rate.is_off:
            return UNLIMITED
        now = self._clock()
        window = self._windows.get(key)
        if window is None or window.ends_at <= now:
            if window is None and len(self._windows) >= self._capacity:
                self._make_room(now)
            window = self._windows[key] = _Window(now + rate.window_s)
        return _log(window, rate, now) if rate.is_exact else _add(window, rate, now)

    def _make_room(self, now: float) -> None:
        """Forget closed windows; if that is not enough, the tenth of all that came first."""
        for key in [key for key, window in self._windows.items() if window.ends_at <= now]:
            del self._windows[key]
        if len(self._windows) >= self._capacity:
            for key in list(self._windows)[: self._capacity // 10 + 1]:
                del self._windows[key]


def _add(window: _Window, rate: Rate, now: float) -> Verdict:
    window.count += 1
    return Verdict(window.count <= rate.hits, max(0, rate.hits - window.count), _seconds(window.ends_at - now))


def _log(window: _Window, rate: Rate, now: float) -> Verdict:
    times = window.times
    while times and times[0] <= now - rate.window_s:
        times.popleft()
    is_allowed = len(times) < rate.hits
    if is_allowed:
        times.append(now)
        window.ends_at = now + rate.window_s
    return Verdict(is_allowed, rate.hits - len(times), _seconds(times[0] + rate.window_s - now))


def _seconds(span_s: float) -> int:
    return max(1, math.ceil(span_s))
