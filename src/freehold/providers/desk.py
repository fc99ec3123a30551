"""Where long SQL is read before it runs: in separate threads, one at a time, each for a short turn.

Python reads a token in some microseconds and holds the interpreter lock meanwhile, in whatever thread. So readers
take turns of a millisecond, all others wait without holding anything, and a database has one reader at a time. After
each turn nobody reads until the event loop has completed a pass, and then for twice as long as that took: with an idle
event loop reading is quick, with a busy one it waits. Long SQL costs time only for the client that sent it.
"""

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from freehold.providers.failures import Gone
from freehold.providers.fair_semaphore import FairSemaphore
from freehold.providers.serving import Disconnect
from freehold.sql import profiles
from freehold.sql.guard import RefusedSql, looked_at, verdict
from freehold.sql.profiles import need_of
from freehold.sql.tokens import paced

Result = TypeVar("Result")

_TURN_S = 0.001
# The pause between two turns of any readers: this many times the event loop's last pass, within these bounds.
_PAUSES = 2
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = _TURN_S / 4, 0.01
# The limit for reading one call's SQL, counting its turns only.
_LIMIT_S = 5.0
# SQL that takes no longer is read on the event loop.
_AT_ONCE_S = 0.003
_MUCH_SQL = 8192
_READERS = 32
_WAITING_EACH = 64


class Desk:
    """Runs the readers of long texts. For one event loop."""

    def __init__(self) -> None:
        # Threads that wait for their turn cost nothing; past their number databases wait, first come first served.
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="sql-reader")
        self._turns = _Turns()
        self._gates: dict[str, FairSemaphore] = {}

    async def run(self, database_name: str, disconnect: Disconnect, read: Callable[[], Result]) -> Result:
        """The result of `read`, which calls `breathe`; one at a time for a database.

        Raises:
            RefusedSql: it takes too long.
            Overloaded: too many are waiting already.
            Gone: the client no longer waits.
        """
        gate = self._gates.get(database_name)
        if gate is None:
            gate = self._gates[database_name] = FairSemaphore(1, _WAITING_EACH)
        try:
            await gate.enter(disconnect)
            try:
                return await asyncio.shield(self._start(read, disconnect))
            finally:
                gate.leave()
        finally:
            if gate.is_empty:
                self._gates.pop(database_name, None)

    @asynccontextmanager
    async def looked_at(self, database_name: str, disconnect: Disconnect, texts: Sequence[str]) -> AsyncIterator[None]:
        """Inside this context the guard's verdicts on these texts and the profiles they need are known, if there is
        much to read."""
        if sum(map(len, texts)) <= _MUCH_SQL:
            yield
            return
        distinct = set(texts)
        found = await self.run(
            database_name, disconnect, lambda: {sql: (verdict(sql), need_of(sql)) for sql in distinct}
        )
        verdicts = {sql: reason for sql, (reason, _) in found.items()}
        with looked_at(verdicts), profiles.looked_at({sql: need for sql, (_, need) in found.items()}):
            yield

    async def run_soon(self, database_name: str, disconnect: Disconnect, read: Callable[[], Result]) -> Result:
        """The same for texts that are mostly short: reading begins at once, and again in a thread if it takes long."""
        try:
            with paced(_Impatience()):
                return read()
        except _TakesLong:
            return await self.run(database_name, disconnect, read)

    def close(self) -> None:
        """Read no more texts."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, read: Callable[[], Result], disconnect: Disconnect) -> "asyncio.Future[Result]":
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, self._read, read, _Turn(self._turns, disconnect, loop))

    def _read(self, read: Callable[[], Result], turn: "_Turn") -> Result:
        with turn as pause, paced(pause):
            return read()


class _TakesLong(Exception):
    """Reading that began at once takes too long for that."""


class _Impatience:
    def __init__(self) -> None:
        self._until = time.perf_counter() + _AT_ONCE_S

    def __call__(self) -> None:
        if time.perf_counter() > self._until:
            raise _TakesLong


class _Turns:
    """One thread at a time; the one that has read for the shortest time goes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, int, threading.Lock]] = []
        self._numbers = itertools.count()
        self._is_taken = False

    def take(self, spent_s: float) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            heapq.heappush(self._waiting, (spent_s, next(self._numbers), mine))
        mine.acquire()

    def give(self) -> None:
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[2].release()
            else:
                self._is_taken = False


class _Turn:
    """A thread's turns, from the first to the last."""

    def __init__(self, turns: _Turns, disconnect: Disconnect, loop: asyncio.AbstractEventLoop) -> None:
        self._turns = turns
        self._disconnect = disconnect
        self._loop = loop
        self._since = 0.0
        self._spent_s = 0.0

    def __enter__(self) -> Callable[[], None]:
        self._turns.take(self._spent_s)
        self._since = time.perf_counter()
        return self._pause

    def __exit__(self, *_error: object) -> None:
        self._turns.give()

    def _pause(self) -> None:
        went_on_s = time.perf_counter() - self._since
        if went_on_s < _TURN_S:
            return
        self._spent_s += went_on_s
        if self._spent_s > _LIMIT_S:
            raise RefusedSql("the SQL takes too long to read; send values as arguments, or in several calls")
        self._let_the_loop_go_on()  # and only then the next reader: else one would follow the other
        self._turns.give()
        self._turns.take(self._spent_s)
        if self._disconnect.is_lost:
            raise Gone
        self._since = time.perf_counter()

    def _let_the_loop_go_on(self) -> None:
        began = time.perf_counter()
        came_round = threading.Lock()
        came_round.acquire()
        try:
            self._loop.call_soon_threadsafe(came_round.release)
        except RuntimeError as error:  # it is closed
            raise Gone("the service stops") from error
        came_round.acquire(timeout=2 * _LONGEST_PAUSE_S)
        took_s = time.perf_counter() - began
        time.sleep(min(max(_PAUSES * took_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S))
