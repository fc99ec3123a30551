"""Turns for statements that take long: as many run at once as there are cores, the others sleep meanwhile.

Threads of a lower priority are not enough. A hundred of them leave the event loop a hundredth of a core, and whoever
holds the interpreter's lock when its time slice is over keeps everybody waiting until it gets the next one.
"""

import contextlib
import os
import threading
from collections import deque


class Turns:
    """Places that are given in the order of asking. To be used from any thread."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def take(self, limit_s: float) -> bool:
        """Wait for a place; False if there was none within the limit."""
        with self._lock:
            if self._free and not self._waiting:
                self._free -= 1
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=max(limit_s, 0.0)):
            return True
        with self._lock:
            with contextlib.suppress(ValueError):
                self._waiting.remove(mine)
                return False
            return True  # it was given in that very moment

    def give(self) -> None:
        """Give the place back, to whoever waits for longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


# Of the whole process: cores are.
TURNS = Turns(cores())
