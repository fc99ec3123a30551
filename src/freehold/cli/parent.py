"""The parent process of a service: it starts the others, restarts those that die, and stops them in order.

It serves nothing itself, and has neither threads nor an event loop, so that it can fork.
"""

import contextlib
import gc
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from freehold.backoff import Backoff
from freehold.cli.context import fail
from freehold.errors import FreeholdError
from freehold.log import get_logger
from freehold.processes import die_with
from freehold.providers.local.processes.running import StartedEngines
from freehold.settings.fields import BadSettings

log = get_logger()

Worker = Callable[[int, Callable[[], None]], int]
"""Serves HTTP until SIGTERM as the worker with this number, from 0, and returns the exit code.

It calls the other argument once it serves.
"""

_LOOK_EVERY_S = 0.2
_PAUSES = Backoff(base_s=0.1, cap_s=5.0, steady=1.0)
_LASTS_S = 30.0  # a worker that ran this long did not fail to start
_TRY_EVERY_S = 1.0  # while the system lacks what a process needs: memory, space on the disk
# Of the three seconds for stopping; the rest is for the engines.
_HTTP_ENDS_S = 2.3


@dataclass(slots=True)
class _Running:
    """One process that serves HTTP. `told` becomes readable once it serves, and when it ends."""

    number: int
    told: int
    began: float = field(default_factory=time.monotonic)
    has_served: bool = False


class Parent:
    """Runs `workers` processes that each call `worker`, beside the engines, if there are any."""

    def __init__(self, worker: Worker, workers: int, engines: StartedEngines | None) -> None:
        self._worker = worker
        self._workers = workers
        self._engines = engines
        self._running: dict[int, _Running] = {}
        self._ends = 0  # workers in a row that ended before _LASTS_S
        self._starts_at = 0.0
        self._engines_start_at = 0.0
        self._has_engines = False  # whether they have been started once
        self._is_stopping = False
        self._has_served = False
        self._parent = os.getpid()

    def run(self) -> int:
        """Serve until stopped by a signal. Return the exit code: 0, or that of a worker that failed to start."""
        gc.freeze()  # so that collections do not copy pages shared with the workers
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        before = {each: signal.signal(each, self._heard) for each in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            return self._look_after(woken)
        finally:
            self._stop()
            signal.set_wakeup_fd(-1)
            for each, handler in before.items():
                signal.signal(each, handler)

    def _heard(self, *_: object) -> None:
        if self._is_stopping:  # the second signal: stop at once
            self._end_all(signal.SIGKILL)
        self._is_stopping = True

    def _look_after(self, woken: int) -> int:
        while not self._is_stopping:
            now = time.monotonic()
            if self._engines is not None and self._engines.has_ended and now >= self._engines_start_at:
                self._start_engines(self._engines, now)
            while len(self._running) < self._workers and now >= self._starts_at:
                try:
                    self._start()
                except OSError as error:
                    log.warning("service.worker_not_started", reason=_reason(error))
                    self._starts_at = now + _TRY_EVERY_S
            waiting = [each.told for each in self._running.values() if not each.has_served]
            readable, _, _ = select.select([woken, *waiting], [], [], _LOOK_EVERY_S)
            if woken in readable:
                os.read(woken, 1000)
            for each in self._running.values():
                if each.told in readable:
                    each.has_served = os.read(each.told, 1) != b"" or each.has_served
            code = self._reap()
            if code is not None:
                return code
        return 0

    def _reap(self) -> int | None:
        """Remove workers that have ended. Return an exit code if none has ever served: a restart would not help."""
        for pid, worker in list(self._running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            if os.read(worker.told, 1):
                worker.has_served = True
            os.close(worker.told)
            del self._running[pid]
            code = os.waitstatus_to_exitcode(status)
            self._has_served |= worker.has_served or any(each.has_served for each in self._running.values())
            if not self._has_served:
                return code if code >= 0 else 1
            if self._is_stopping:
                continue
            log.error("service.worker_ended", code=code)
            now = time.monotonic()
            self._ends = 0 if now - worker.began >= _LASTS_S else self._ends + 1
            self._starts_at = now + _PAUSES.delay_s(self._ends) if self._ends else now
        return None

    def _start_engines(self, engines: StartedEngines, now: float) -> None:
        """Start them, unless another process runs them.

        Raises:
            BadSettings: they cannot be started; later on, that is tried again.
        """
        try:
            if engines.start():
                self._engines_start_at = now + _TRY_EVERY_S  # not at once if they end at once
            self._has_engines = True
        except OSError as error:
            reason = _reason(error)
            if not self._has_engines:
                raise BadSettings([f"DATA_DIR: the databases' engines cannot be started in it ({reason})"]) from error
            log.warning("service.engines_not_started", reason=reason)
            self._engines_start_at = now + _TRY_EVERY_S

    def _start(self) -> None:
        number = min(set(range(self._workers)) - {each.number for each in self._running.values()})
        told, tell = os.pipe()
        os.set_blocking(told, False)
        try:
            pid = os.fork()
        except OSError:
            os.close(told)
            os.close(tell)
            raise
        if pid == 0:
            os.close(told)
            self._become_worker(number, tell)
        os.close(tell)
        self._running[pid] = _Running(number, told)

    def _become_worker(self, number: int, tell: int) -> NoReturn:
        code = 1
        try:
            die_with(self._parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # A terminal sends Ctrl-C to all processes; only the parent stops its workers.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code = self._worker(number, lambda: _tell(tell))
        except FreeholdError as error:
            code = fail(error)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _stop(self) -> None:
        self._is_stopping = True
        self._end_all(signal.SIGTERM)
        until = time.monotonic() + _HTTP_ENDS_S
        while self._running and time.monotonic() < until:
            self._reap()
            time.sleep(0.01)
        self._end_all(signal.SIGKILL)
        while self._running:
            self._reap()
            time.sleep(0.01)
        if self._engines is not None:
            self._engines.close()

    def _end_all(self, how: signal.Signals) -> None:
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _tell(descriptor: int) -> None:
    os.write(descriptor, b"1")
