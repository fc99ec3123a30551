"""Forks engine processes and looks after them.

`python -m freehold.providers.local.processes.supervisor LOCK` is started with a clean environment and the descriptor of
the lock of the process that runs the engines. It reads an `EngineConfig` as a line of JSON from stdin; when stdin
closes, it ends, and the engines with it. It has neither threads nor an event loop, so that it can fork, and has
imported all modules, so that a new engine serves within milliseconds.
"""

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

import msgspec

from freehold.backoff import Backoff
from freehold.log import configure_logging, get_logger
from freehold.processes import die_with
from freehold.providers.local.processes.addresses import PENALTY, SocketFolder, socket_of
from freehold.providers.local.processes.children import Child, Place
from freehold.providers.local.processes.config import EngineConfig
from freehold.providers.local.processes.confinement import confine
from freehold.providers.local.processes.control import ASK, News, Orders, encode_orders
from freehold.providers.local.processes.engine_process import run
from freehold.providers.local.processes.frames import Penalties

log = get_logger()

_PENALTY_S = 600.0
_PENALTY_NICE = 10
# The time that calls and streams on a replaced engine have to end.
_LEAVE_S = 30.0
# On one seat: as many as leave at once when each is replaced after the usual limit on a statement.
_MOST_LEAVING = 5
_PING_EVERY_S = 1.0
_SILENT_S = 10.0
# Before restarts on one seat; the first engine that ends after serving is replaced immediately.
_PAUSES = Backoff(base_s=0.05, cap_s=5.0, steady=1.0)
_LASTS_S = 30.0  # an engine that ran this long did not fail to start
_STARTS_S = 30.0
_TRY_EVERY_S = 1.0  # while an engine cannot be started
_END_S = 0.7  # the rest of the three seconds that a service has, after `Parent`'s processes that serve HTTP


class Supervisor:
    """Keeps an engine on every seat, in one loop without threads."""

    def __init__(self, config: EngineConfig, lock: int) -> None:
        self._config = config
        self._lock = lock
        self._run_dir = Path(config.run_dir)
        self._seats: dict[int | str, Place] = {number: Place(number) for number in range(config.engines)}
        self._penalties: dict[str, float] = {}
        self._selector = selectors.DefaultSelector()
        self._parent = os.getpid()

    def run(self) -> None:
        """Keep the engines running until stdin closes."""
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        pinged = time.monotonic()
        while True:
            for seat in self._seats.values():
                self._fill(seat)
            for key, _ in self._selector.select(0.1):
                if key.data is None:
                    if not os.read(sys.stdin.fileno(), 100):
                        self._stop()
                        return
                    continue
                seat, child = key.data
                for news in child.news():
                    self._hear(seat, child, news)
            now = time.monotonic()
            if now - pinged >= _PING_EVERY_S:
                pinged = now
                self._ping(now)

    def _hear(self, seat: Place, child: Child, news: News | None) -> None:
        if news is None:
            self._ended(seat, child)
        elif news.is_ready:
            child.is_ready = True
            if child is seat.next:
                self._hand_over(seat)
        elif news.stuck is not None and child is seat.child:
            self._penalties[news.stuck] = time.monotonic() + _PENALTY_S
            if PENALTY not in self._seats:
                self._seats[PENALTY] = Place(PENALTY)
            seat.is_stuck = True

    def _fill(self, seat: Place) -> None:
        """Start the engine that the seat lacks."""
        now = time.monotonic()
        if now < seat.starts_at:
            return
        try:
            if seat.child is None:
                seat.child = self._fork(seat)
            elif seat.is_stuck and seat.next is None:
                seat.next = self._fork(seat)
        except OSError as error:  # no memory, or too many processes
            log.warning("engine.not_started", engine=seat.name, reason=str(error))
            seat.starts_at = now + _TRY_EVERY_S

    def _hand_over(self, seat: Place) -> None:
        """Switch to the replacement; the old engine accepts nothing new, and finishes what it can."""
        old, seat.child, seat.next = seat.child, seat.next, None
        seat.is_stuck = False
        if old is None:
            return
        old.tell(encode_orders(Orders(penalties=self._current())))
        seat.leaving.append(old)
        if len(seat.leaving) > _MOST_LEAVING:
            seat.leaving.pop(0).end(signal.SIGKILL)

    def _ended(self, seat: Place, child: Child) -> None:
        self._selector.unregister(child.control)
        child.control.close()
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(child.pid, 0)
            if child is seat.child:
                log.warning("engine.ended", engine=seat.name, code=os.waitstatus_to_exitcode(status))
        if child in seat.leaving:
            seat.leaving.remove(child)
        elif child is seat.next:
            seat.next = None
            seat.starts_at = time.monotonic() + _TRY_EVERY_S
        elif child is not seat.child:
            pass  # it was killed in `_hand_over`, when too many were leaving
        elif seat.next is not None:  # it was about to be replaced anyway
            seat.child, seat.next, seat.is_stuck = seat.next, None, False
        else:
            seat.child, seat.is_stuck = None, False
            now = time.monotonic()
            seat.ends = 0 if now - child.began >= _LASTS_S else seat.ends + 1
            at_once = seat.ends == 0 or (seat.ends == 1 and child.is_ready)
            seat.starts_at = now if at_once else now + _PAUSES.delay_s(seat.ends)

    def _ping(self, now: float) -> None:
        for name, until in list(self._penalties.items()):
            if until <= now:
                del self._penalties[name]
        for seat in self._seats.values():
            for child in (seat.child, seat.next, *seat.leaving):
                if child is None:
                    continue
                if not child.is_ready:
                    if now - child.began > _STARTS_S:
                        child.end(signal.SIGKILL)
                elif child in seat.leaving and now - child.began > _LEAVE_S and now - child.heard_at > _SILENT_S:
                    child.end(signal.SIGKILL)
                elif now - child.heard_at > _SILENT_S:
                    log.warning("engine.silent", engine=seat.name)
                    child.end(signal.SIGKILL)
                else:
                    child.tell(ASK)

    def _current(self) -> dict[str, float]:
        now = time.monotonic()
        return {name: until - now for name, until in self._penalties.items() if until > now}

    def _fork(self, seat: Place) -> Child:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid:
            theirs.close()
            ours.setblocking(False)
            child = Child(pid, ours)
            self._selector.register(ours, selectors.EVENT_READ, (seat, child))
            return child
        try:
            self._become_engine(seat, ours, theirs)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)

    def _become_engine(self, seat: Place, ours: socket.socket, control: socket.socket) -> NoReturn:
        die_with(self._parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Otherwise an engine would keep the other engines' sockets and this process's stdin open.
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.data[1].control.close()
        self._selector.close()
        ours.close()
        os.close(self._lock)
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        if seat.name == PENALTY:
            os.nice(_PENALTY_NICE)
        _let_the_kernel_take_it_first()
        listener = _listen(socket_of(self._run_dir, seat.name))
        confine(self._databases_dir())
        run(self._config, listener, control, Penalties(self._current()), _LEAVE_S)

    def _databases_dir(self) -> Path:
        """The tenants' folder, created if missing: confinement needs an existing folder."""
        folder = Path(self._config.databases_dir)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _stop(self) -> None:
        children = [each for seat in self._seats.values() for each in (seat.child, seat.next, *seat.leaving) if each]
        for child in children:
            child.tell(encode_orders(Orders(stop=True)))
        until = time.monotonic() + _END_S
        left = {child.pid for child in children}
        while left and time.monotonic() < until:
            for pid in list(left):
                with contextlib.suppress(ChildProcessError):
                    if os.waitpid(pid, os.WNOHANG) == (0, 0):
                        continue
                left.discard(pid)
            time.sleep(0.01)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for seat in self._seats:
            socket_of(self._run_dir, seat).unlink(missing_ok=True)


def _let_the_kernel_take_it_first() -> None:
    """Make the OOM killer prefer engines, the cheapest loss. Source: proc_pid_oom_score_adj(5)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _listen(path: Path) -> socket.socket:
    """Listen where the previous engine did. The socket is replaced atomically, and only its owner can connect."""
    draft = path.with_suffix(f".{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX)
    draft.unlink(missing_ok=True)
    listener.bind(SocketFolder(path.parent).address(draft))
    draft.chmod(0o600)
    listener.listen(512)
    listener.setblocking(False)
    draft.rename(path)
    return listener


def _line(descriptor: int) -> bytes:
    """Read one line, and nothing beyond it."""
    found = b""
    while not found.endswith(b"\n") and (part := os.read(descriptor, 1)):
        found += part
    return found


def main() -> None:
    """Keep the engines running until stdin closes."""
    # Only the process that started it decides when it ends, even if a signal goes to all processes of a service.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with(os.getppid())
    config = msgspec.json.decode(_line(sys.stdin.fileno()), type=EngineConfig)
    configure_logging(config.log_level, config.log_format)
    # structlog would import it for a form of tracebacks that is not used: 40 ms, and megabytes in every engine.
    sys.modules["rich"] = None  # type: ignore[assignment]
    get_logger().bind()  # imports structlog's modules, which confined engines could not read
    gc.collect()
    gc.freeze()
    Supervisor(config, lock=int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
