"""Ends a statement from outside: when its time is over, when memory runs short, or when nobody waits any more."""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from freehold.errors import FreeholdError
from freehold.providers.failures import SqlFailure

# A statement that has run for so long takes turns with the others, so long each. What most apps ask is over before.
_LONG_S = 0.02
_TURN_S = 0.02
# Some functions look neither left nor right, and whoever is in one gives no place back: nobody waits longer for it.
_PATIENCE_S = 1.0
# Steps of SQLite's machine between two looks at the clock: about a millisecond.
LOOK_EVERY_STEPS = 50_000


class StatementTimeout:
    """Guards what one connection runs. The worker arms and disarms it; the event loop rings it.

    The lock makes sure that a ring meets the statement it was meant for, never the next one.
    """

    def __init__(self, interrupt: Callable[[], None], statement_limit_s: float) -> None:
        self._interrupt = interrupt
        self._statement_limit_s = statement_limit_s
        self._request_limit_s = statement_limit_s
        self._request_end = 0.0
        self._lock = threading.Lock()
        self._started_at: float | None = None
        self._end = 0.0
        self._failure: SqlFailure | None = None
        self._cancelled: FreeholdError | None = None
        self._takes_turns = True
        self._has_turn = False
        self._turn_end = 0.0

    def start_request(self, statement_limit_s: float, request_limit_s: float, *, takes_turns: bool = True) -> None:
        """A new request: its limits count from now."""
        with self._lock:
            self._takes_turns = takes_turns
            self._statement_limit_s = statement_limit_s
            self._request_limit_s = request_limit_s
            self._request_end = time.monotonic() + request_limit_s
            self._cancelled = None
            self._failure = None

    def arm(self) -> None:
        """A statement starts.

        Raises:
            SqlFailure: the request has used up its time.
            FreeholdError: the request was cancelled.
        """
        with self._lock:
            if self._cancelled is not None:
                raise self._cancelled
            now = time.monotonic()
            if now >= self._request_end:
                raise self._too_long()
            self._failure = None
            self._started_at = now
            self._end = min(now + self._statement_limit_s, self._request_end)

    def disarm(self) -> None:
        """The statement is over."""
        with self._lock:
            self._started_at = None
        if self._has_turn:
            self._has_turn = False
            TURNS.give()

    def take_turn(self) -> bool:
        """Wait until it is this statement's turn, if it takes long. In its thread; True would end the statement."""
        now, started_at = time.monotonic(), self._started_at
        if started_at is None or not self._takes_turns or now - started_at < _LONG_S:
            return False
        if self._has_turn:
            if now < self._turn_end:
                return False
            self._has_turn = False
            TURNS.give()
        self._has_turn = TURNS.take(min(_PATIENCE_S, self._end - now))
        self._turn_end = time.monotonic() + _TURN_S
        return False

    def check_time(self, now: float) -> float:
        """Interrupt the statement if its time is over; returns how long it has run (0 when none does)."""
        with self._lock:
            if self._started_at is None:
                return 0.0
            if now >= self._end:
                self._failure = self._too_long()
                self._interrupt()
            return now - self._started_at

    def overdue_s(self, now: float) -> float:
        """For how long the statement has gone on after it was to end; 0 when it may still run, or none does."""
        with self._lock:
            return 0.0 if self._started_at is None else max(now - self._end, 0.0)

    def stop(self, failure: SqlFailure) -> None:
        """Interrupt the statement, if one runs, with this reason."""
        with self._lock:
            if self._started_at is not None:
                self._failure = failure
                self._interrupt()

    def cancel(self, reason: FreeholdError) -> None:
        """End the whole request: the statement that runs, and all that would follow."""
        with self._lock:
            self._cancelled = reason
            if self._started_at is not None:
                self._interrupt()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled is not None

    def reason(self) -> Exception:
        """Why the statement was interrupted."""
        return self._cancelled or self._failure or SqlFailure("interrupted", "SQLITE_INTERRUPT")

    def _too_long(self) -> SqlFailure:
        if self._end >= self._request_end or time.monotonic() >= self._request_end:
            what, limit_s = "the request", self._request_limit_s
        else:
            what, limit_s = "the statement", self._statement_limit_s
        return SqlFailure(f"{what} was stopped: it ran longer than {limit_s:g} s", "QUERY_TIMEOUT")


# Turns for statements that take long: as many run at once as there are cores, the others sleep meanwhile.
#
# Threads of a lower priority are not enough. A hundred of them leave the event loop a hundredth of a core, and
# whoever holds the interpreter's lock when its time slice is over keeps everyone waiting until it gets the next
# one.


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
            return True  # it was given just then

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
