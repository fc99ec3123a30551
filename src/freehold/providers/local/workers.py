"""Threads that run blocking jobs for the event loop: one hop there, one hop back."""

import asyncio
import contextlib
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
Done = Callable[[Any, BaseException | None], None]

_LOW_PRIORITY = 10
_QUICK_S = 0.002  # within which one of the quick jobs should finish
_TOGETHER = 4


class SubmittedJob:
    """A submitted job. Its holder may lower the priority of the thread that runs it."""

    __slots__ = ("_done", "_ident", "_job", "_lock", "_retires", "_thread_id", "is_quick")

    def __init__(self, job: Callable[[], Any], done: Done, *, is_quick: bool = False) -> None:
        self.is_quick = is_quick
        self._job = job
        self._done = done
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._ident: int | None = None
        self._retires = False

    def demote(self) -> bool:
        """Let everything else on the machine go first. The thread ends after the job: it cannot rise again."""
        with self._lock:
            if self._thread_id is None or self._retires:
                return False
            self._retires = True
            if sys.platform == "linux":  # elsewhere threads have no priority of their own to lower
                with contextlib.suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, self._thread_id, _LOW_PRIORITY)
            return True

    def processor_s(self) -> float | None:
        """The processor time of the thread that runs it, in seconds; None if none does."""
        with self._lock:  # asking about a thread that has ended is undefined
            if self._ident is None:
                return None
            return time.clock_gettime(time.pthread_getcpuclockid(self._ident))

    def run(self) -> tuple[Any, BaseException | None, bool]:
        """Run it and return result, error, and whether the thread must end. In the worker's thread."""
        with self._lock:
            self._thread_id = threading.get_native_id()
            self._ident = threading.get_ident()
        result, error = None, None
        try:
            result = self._job()
        except BaseException as raised:
            error = raised
        with self._lock:
            self._thread_id = self._ident = None
            return result, error, self._retires

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Deliver the outcome. In the event loop's thread."""
        self._done(result, error)


class Workers:
    """At most `limit` threads, started when they are needed. Jobs are submitted and delivered on one event loop.

    A demoted job gives up its place, so that long jobs, or those that wait for a lock, do not occupy all places; there
    are at most `limit` demoted jobs, too.

    Jobs that are likely to be over at once go one after the other on one thread: several would only hand the
    interpreter lock to each other, at each row, which costs more than the jobs. When they do not move on, more
    threads join in, twice as many each time.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        # None ends the thread; a thread without a job runs the quick ones.
        self._queue: queue.SimpleQueue[tuple[SubmittedJob | None, asyncio.AbstractEventLoop] | None]
        self._queue = queue.SimpleQueue()
        self._threads = 0
        self._jobs = 0
        self._demoted = 0
        self._busy = 0  # places that are taken: jobs that are not quick, and threads for those that are
        self._quick: deque[SubmittedJob] = deque()
        self._done: deque[tuple[SubmittedJob, Any, BaseException | None, bool, bool]] = deque()  # quick ones
        self._delivers = False
        self._quick_threads = 0
        self._quick_done = self._quick_done_before = 0
        self._look: asyncio.TimerHandle | None = None

    @property
    def has_waiting(self) -> bool:
        """Whether a job has to wait for another to end, or to be demoted."""
        return self._jobs > self._limit

    def submit(self, job: Callable[[], Any], done: Done, *, is_quick: bool = False) -> SubmittedJob:
        """Run `job` in a thread, then `done(result, error)` on the event loop."""
        submitted = SubmittedJob(job, done, is_quick=is_quick)
        self._jobs += 1
        if not is_quick:
            self._take_place(submitted)
            return submitted
        self._quick.append(submitted)
        if not self._quick_threads:
            self._add_quick_thread()
        elif self._look is None:  # also for what is done and waits to be delivered with others
            self._look_later()
        return submitted

    def run(self, job: Callable[[], Result]) -> "asyncio.Future[Result]":
        """The result of `job`, run in a thread."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def done(result: Result, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.submit(job, done)
        return future

    def demote(self, submitted: SubmittedJob) -> None:
        """Lower the priority of this job's thread and let another take its place."""
        if self._demoted < self._limit and submitted.demote():
            self._demoted += 1
            self._threads -= 1
            self._jobs -= 1
            self._busy -= 1
            if submitted.is_quick:
                self._quick_threads -= 1
                if self._quick and not self._quick_threads:
                    self._add_quick_thread()
            self._start_thread()

    def close(self) -> None:
        """Let the threads end once they have nothing left to do."""
        for _ in range(self._threads):
            self._queue.put(None)
        self._threads = 0
        if self._look is not None:
            self._look.cancel()

    def _take_place(self, submitted: SubmittedJob | None) -> None:
        self._busy += 1
        self._start_thread()
        self._queue.put((submitted, asyncio.get_running_loop()))

    def _add_quick_thread(self) -> None:
        self._quick_threads += 1
        self._take_place(None)

    def _look_later(self) -> None:
        self._quick_done_before = self._quick_done
        self._look = asyncio.get_running_loop().call_later(_QUICK_S, self._look_at_quick)

    def _look_at_quick(self) -> None:
        """Let more threads run the waiting quick jobs if none has finished for a while."""
        self._look = None
        self._deliver()
        if not self._quick:
            return
        if self._quick_done == self._quick_done_before:
            for _ in range(min(max(self._quick_threads, 1), len(self._quick), self._limit - self._quick_threads)):
                self._add_quick_thread()
        self._look_later()

    def _start_thread(self) -> None:
        if self._busy > self._threads and self._threads < self._limit:
            self._threads += 1
            # A daemon: SQL that cannot be interrupted must not keep the process from ending.
            threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            submitted, loop = entry
            is_last = self._run_quick(loop) if submitted is None else self._run(submitted, loop)
            if is_last:
                return
            del entry, submitted

    def _run(self, submitted: SubmittedJob, loop: asyncio.AbstractEventLoop) -> bool:
        result, error, is_last = submitted.run()
        with contextlib.suppress(RuntimeError):  # the event loop is closed, so no one is waiting
            loop.call_soon_threadsafe(self._finish, submitted, result, error, is_last, True)
        return is_last

    def _run_quick(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Run quick jobs while there are any; returns whether the thread must end."""
        while True:
            try:
                submitted = self._quick.popleft()
            except IndexError:  # other threads took them
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._leave_empty)
                return False
            result, error, is_last = submitted.run()
            # Jobs submitted from here on are noticed when this one is delivered.
            is_over = is_last or not self._quick
            self._done.append((submitted, result, error, is_last, is_over))
            # Several at a time: otherwise the event loop would want the interpreter lock just as the next job begins.
            is_due = is_over or len(self._done) >= _TOGETHER
            if is_due and not self._delivers:  # otherwise the scheduled delivery includes this one
                self._delivers = True
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._deliver)
            if is_over:
                return is_last
            del submitted, result, error

    def _deliver(self) -> None:
        self._delivers = False
        while self._done:
            self._finish(*self._done.popleft())

    def _finish(
        self, submitted: SubmittedJob, result: Any, error: BaseException | None, was_last: bool, is_over: bool
    ) -> None:
        if was_last:
            self._demoted -= 1  # a demoted job counts neither as a job nor as a thread
        else:
            self._jobs -= 1
        if submitted.is_quick:
            self._quick_done += 1
            if is_over and not was_last:
                self._leave_quick()
        elif not was_last:
            self._busy -= 1
        submitted.finish(result, error)

    def _leave_empty(self) -> None:
        self._deliver()
        self._leave_quick()

    def _leave_quick(self) -> None:
        self._busy -= 1
        self._quick_threads -= 1
        if self._quick and not self._quick_threads:
            self._add_quick_thread()
