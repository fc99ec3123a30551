"""An engine process: `providers.local.engine.Engine` behind a Unix socket.

It has no key, no central database and no secret in its environment, and its end costs only the calls in progress.
`supervisor.py` forks it, and is notified of statements that cannot be stopped.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Collection, Coroutine, Iterator, Set
from pathlib import Path
from typing import NoReturn

import uvloop

from freehold.log import get_logger
from freehold.memory import give_back_memory, keep_less_memory
from freehold.providers.local.engine import Engine
from freehold.providers.local.files import TenantFiles
from freehold.providers.local.jobs import Job
from freehold.providers.local.processes.config import EngineConfig, share_of
from freehold.providers.local.processes.control import ASK, News, decode_orders, encode_news
from freehold.providers.local.processes.frames import GoAway, Kind, Penalties, encode, frame
from freehold.providers.local.processes.peer import Peer
from freehold.providers.published import RegistryBatches
from freehold.providers.sqlite.statement_timeout import share_cores

log = get_logger()

_REPLACED = 75  # the exit code of an engine that another has replaced
_LOOK_EVERY_S = 0.02
_HEARD_S = 2.0
_WORTH_BYTES = 12_000_000  # there are several engines
# This much processor time shows that a thread is working, not waiting for a disk or a lock.
_AT_WORK_S = 0.02


class _Serving:
    """What all connections to this engine share."""

    def __init__(self, config: EngineConfig, control: socket.socket, penalties: Penalties) -> None:
        files = TenantFiles(Path(config.databases_dir))
        limits = share_of(config.engine_limits, config.engines)
        self.engine = Engine(files, config.limits, limits, RegistryBatches(), self._is_stuck)
        self.peers: set[Peer] = set()
        self.penalties = penalties
        self._since = time.monotonic()
        self._control = control
        self._seen: dict[Job, float] = {}
        self._named: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_leaving = False
        self._calls: Counter[str] = Counter()  # by database, from their arrival until they are answered
        self._apart: Set[str] = frozenset()  # databases that the penalty engine serves from now on
        self._admitted: Collection[str] | None = None  # databases that all peers know are served here; None: all
        self._changed = asyncio.Event()

    def say(self, news: News) -> None:
        with contextlib.suppress(OSError):  # the supervisor has ended, and this process ends with it
            self._control.sendall(encode_news(news) + b"\n")

    def hello(self) -> bytes:
        """The first frame of a connection: which databases are under penalty now."""
        passed_s = time.monotonic() - self._since
        left = {name: left_s - passed_s for name, left_s in self.penalties.seconds.items() if left_s > passed_s}
        return frame(0, Kind.HELLO, encode(Penalties(left)))

    @contextlib.contextmanager
    def counted(self, database_name: str) -> Iterator[None]:
        """The process does not leave inside this context."""
        self._calls[database_name] += 1
        try:
            yield
        finally:
            self._calls[database_name] -= 1
            if not self._calls[database_name]:
                del self._calls[database_name]

    async def admitted(self, database_name: str) -> None:
        """Return once a call for this database may run.

        One that was sent before its sender knew that another engine serves its database waits until all peers know
        that this one still does: it might open a stream, whose next step any peer may send.
        """
        while not (self._admitted is None or database_name in self._admitted or database_name in self._apart):
            await self._changed.wait()

    def leave(self, penalties: Penalties, within_s: float) -> None:
        """End the process once only statements that cannot be stopped are left, or when the time is up.

        Databases with open streams are served here until these end. No call is lost: each peer confirms that it has
        sent its last one.
        """
        self._apart = penalties.seconds.keys()
        self.is_leaving = True
        self._start(self._leave(penalties, time.monotonic() + within_s))

    async def _leave(self, penalties: Penalties, until: float) -> None:
        told = None
        while True:
            kept = (self.engine.databases_with_streams | self._calls.keys()) - self._apart
            now = kept, bool(self._calls)
            if now != told:  # also after the last answer: whoever confirms this has received it
                self._admitted = kept if self._admitted is None else kept.intersection(self._admitted)
                await self._send_away(GoAway(sorted(kept), penalties))
                self._admitted, told = kept, now
                self._changed.set()
                self._changed = asyncio.Event()
            elif not any(now) or time.monotonic() >= until:
                break
            else:
                await asyncio.sleep(_LOOK_EVERY_S)
        await asyncio.sleep(_LOOK_EVERY_S)  # the last answers
        os._exit(_REPLACED)

    async def _send_away(self, goaway: GoAway) -> None:
        """Tell all peers, and wait until they have confirmed."""
        for peer in self.peers:
            peer.has_left = False
            peer.send(frame(0, Kind.GOAWAY, encode(goaway)))
        until = time.monotonic() + _HEARD_S
        while not all(peer.has_left for peer in self.peers) and time.monotonic() < until:  # noqa: ASYNC110 - rare
            await asyncio.sleep(_LOOK_EVERY_S)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_stuck(self, job: Job) -> None:
        """Report the job if it has used the processor since the last call, so is not just waiting."""
        used_s = job.processor_s()
        if used_s is None:
            return
        before_s = self._seen.setdefault(job, used_s)
        name = job.queue.name
        if used_s - before_s >= _AT_WORK_S and name not in self._named:
            self._named.add(name)
            log.warning("engine.stuck", database=name)
            self.say(News(stuck=name))


def run(
    config: EngineConfig, listener: socket.socket, control: socket.socket, penalties: Penalties, leave_within_s: float
) -> NoReturn:
    """Serve until the supervisor says stop, then end the process."""
    keep_less_memory()
    share_cores(config.engines)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, listener, control, penalties, leave_within_s))
    os._exit(0)


async def _serve(
    config: EngineConfig, listener: socket.socket, control: socket.socket, penalties: Penalties, leave_within_s: float
) -> None:
    serving = _Serving(config, control, penalties)
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()
    server = await loop.create_unix_server(lambda: Peer(serving), sock=listener)
    control.setblocking(False)

    def heard() -> None:
        try:
            text = control.recv(65_536)
        except BlockingIOError:
            return
        if not text:  # the supervisor is gone
            os._exit(0)
        for line in text.splitlines():
            if line == ASK:
                serving.say(News(is_alive=True))
            elif (orders := decode_orders(line)).stop:
                is_over.set()
            elif not serving.is_leaving:
                server.close()
                serving.leave(Penalties(orders.penalties), leave_within_s)

    loop.add_reader(control, heard)
    serving.say(News(is_ready=True))
    giving_back = loop.create_task(give_back_memory(_WORTH_BYTES))
    await is_over.wait()
    giving_back.cancel()
    server.close()
    await serving.engine.close()
    os._exit(0)  # threads that do not stop end with the process
