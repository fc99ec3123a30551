"""Threads that run blocking jobs for the event loop: one hop there, one hop back."""

import asyncio
import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
Done = Callable[[Any, BaseException | None], None]

_LOW_PRIORITY = 10


class SubmittedJob:
    """A submitted job. Its holder may lower the priority of the thread that runs it."""

    __slots__ = ("_done", "_ident", "_job", "_lock", "_retires", "_thread_id")

    def __init__(self, job: Callable[[], Any], done: Done) -> None:
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
        """The processor time of the thread that runs it, in seconds; None when none does."""
        with self._lock:  # a thread that has ended must not be asked about
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
    are at most `limit` demoted jobs too.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._queue: queue.SimpleQueue[tuple[SubmittedJob, asyncio.AbstractEventLoop] | None] = queue.SimpleQueue()
        self._threads = 0
        self._jobs = 0
        self._demoted = 0

    @property
    def has_waiting(self) -> bool:
        """Whether a job has to wait for another to end, or to be demoted."""
        return self._jobs > self._limit

    def submit(self, job: Callable[[], Any], done: Done) -> SubmittedJob:
        """Run `job` in a thread, then `done(result, error)` on the event loop."""
        submitted = SubmittedJob(job, done)
        self._jobs += 1
        self._start_thread()
        self._queue.put((submitted, asyncio.get_running_loop()))
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
            self._start_thread()

    def close(self) -> None:
        """Let the threads end once they have nothing left to do."""
        for _ in range(self._threads):
            self._queue.put(None)
        self._threads = 0

    def _start_thread(self) -> None:
        if self._jobs > self._threads and self._threads < self._limit:
            self._threads += 1
            # A daemon: SQL that cannot be interrupted must not keep the process from ending.
            threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            submitted, loop = entry
            result, error, is_last = submitted.run()
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits
                loop.call_soon_threadsafe(self._finish, submitted, result, error, is_last)
            if is_last:
                return
            del entry, submitted, result, error

    def _finish(self, submitted: SubmittedJob, result: Any, error: BaseException | None, was_last: bool) -> None:
        if was_last:
            self._demoted -= 1  # since it was demoted it counts neither as a job nor as a thread
        else:
            self._jobs -= 1
        submitted.finish(result, error)
