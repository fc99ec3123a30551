"""Ends a statement from outside: when it exceeds its time, when memory runs short, or when nobody waits for it."""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from freehold.errors import FreeholdError
from freehold.providers.failures import SqlFailure

# A statement that has run for this long takes turns with the others, each of this length. Most apps' never do.
_LONG_S = 0.02
_TURN_S = 0.02
# Some functions cannot be interrupted, and a statement inside one gives no place back: nobody waits longer for it.
_PATIENCE_S = 1.0
# Steps of SQLite's virtual machine between two checks of the clock: about a millisecond.
LOOK_EVERY_STEPS = 50_000


class StatementTimeout:
    """Limits what one connection runs. The worker arms and disarms it; the event loop triggers it.

    The lock ensures that it stops the statement that was meant, never the next one.
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
        """Start the limits of a new request."""
        with self._lock:
            self._takes_turns = takes_turns
            self._statement_limit_s = statement_limit_s
            self._request_limit_s = request_limit_s
            self._request_end = time.monotonic() + request_limit_s
            self._cancelled = None
            self._failure = None

    def arm(self) -> None:
        """Note that a statement starts.

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
        """Note that the statement has ended."""
        with self._lock:
            self._started_at = None
        if self._has_turn:
            self._has_turn = False
            TURNS.give()

    def take_turn(self) -> bool:
        """Wait until it is this statement's turn, if it takes long. In its thread; returning True would end it."""
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
        """Interrupt the statement if it has exceeded its time; returns how long it has run, 0 if none runs."""
        with self._lock:
            if self._started_at is None:
                return 0.0
            if now >= self._end:
                self._failure = self._too_long()
                self._interrupt()
            return now - self._started_at

    def overdue_s(self, now: float) -> float:
        """How long the statement has run on after it should have ended; 0 if it may still run, or none does."""
        with self._lock:
            return 0.0 if self._started_at is None else max(now - self._end, 0.0)

    def stop(self, failure: SqlFailure) -> None:
        """Interrupt the statement, if one runs, with this reason."""
        with self._lock:
            if self._started_at is not None:
                self._failure = failure
                self._interrupt()

    def cancel(self, reason: FreeholdError) -> None:
        """End the whole request: the running statement and all that would follow."""
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


# Turns for statements that take long: as many run at a time as there are cores, the others sleep meanwhile.
#
# Threads of a lower priority are not enough. A hundred of them leave the event loop a hundredth of a core, and a
# thread that holds the interpreter lock when its time slice ends keeps everyone waiting until it gets the next one.


class Turns:
    """Places that are given in the order of requests. Usable from any thread."""

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
        """Give the place back, to the one that has waited for longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


# One for the whole process, as cores are.
TURNS = Turns(cores())


def share_cores(processes: int) -> None:
    """Use an equal share of the cores, one of `processes`. Call it before any statement runs."""
    global TURNS  # noqa: PLW0603 - as global as the cores
    TURNS = Turns(max(1, cores() // processes))
