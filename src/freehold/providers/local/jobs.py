"""Jobs on tenant databases: who may run now, on which connection, and what becomes of it afterwards."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from freehold.errors import FreeholdError, NotFound
from freehold.providers.local.failures import Gone, Overloaded
from freehold.providers.local.limits import Limits
from freehold.providers.local.session import Session
from freehold.providers.local.streams import Stream
from freehold.providers.local.workers import Ticket, Workers

Task = Callable[[Session], Any]


class Tenant:
    """What goes on at one database now. `closing` counts deletions under way."""

    __slots__ = ("closing", "jobs", "name", "running", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.running = 0
        self.closing = 0
        self.jobs: set[Job] = set()
        self.waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing would be lost by forgetting it."""
        return not (self.jobs or self.waiting or self.running or self.closing)

    def gone(self) -> NotFound:
        return NotFound(f"database `{self.name}` does not exist")

    async def enter(
        self, limit: int, queue_limit: int, on_wait: Callable[[Callable[[], None]], None]
    ) -> None:
        """Wait for a place; `leave` gives it to the next. `on_wait` is told how to give up waiting.

        Raises:
            Overloaded: too many wait already, or waiting was given up.
            NotFound: the database was deleted meanwhile.
        """
        if self.running < limit:
            self.running += 1
            return
        if len(self.waiting) >= queue_limit:
            raise Overloaded("too many requests at once for this database; try again in a moment")
        place = asyncio.get_running_loop().create_future()
        self.waiting.append(place)
        on_wait(lambda: _fail(place, Gone("the client went away")))
        try:
            await place
        except BaseException:
            with contextlib.suppress(ValueError):
                self.waiting.remove(place)
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()  # the place was given to us in the very moment that we gave up
            raise

    def leave(self) -> None:
        """Hand the place to the next who waits."""
        while self.waiting:
            place = self.waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1

    def refuse_all(self) -> None:
        """The database is being deleted: nobody gets in, and who is in is stopped."""
        for place in self.waiting:
            _fail(place, self.gone())
        for job in list(self.jobs):
            job.cancel(self.gone())


def _fail(place: "asyncio.Future[None]", error: FreeholdError) -> None:
    if not place.done():
        place.set_exception(error)


class Job:
    """One task on one database. `run` is the worker's side; the rest is the event loop's."""

    __slots__ = (
        "_cancelled",
        "_path",
        "_read_only",
        "_task",
        "is_clean",
        "lane",
        "limits",
        "needs_place",
        "session",
        "stream",
        "tenant",
        "ticket",
    )

    def __init__(
        self,
        tenant: Tenant,
        task: Task,
        limits: Limits,
        path: Path,
        *,
        read_only: bool,
        session: Session | None,
        stream: Stream | None,
        needs_place: bool,
    ) -> None:
        self.tenant = tenant
        self.session = session
        self.stream = stream
        self.limits = limits
        self.needs_place = needs_place
        self.is_clean = False
        self.lane: Workers | None = None
        self.ticket: Ticket | None = None
        self._task = task
        self._path = path
        self._read_only = read_only
        self._cancelled: FreeholdError | None = None

    def cancel(self, reason: FreeholdError) -> None:
        """Stop it as soon as can be; its transaction is rolled back."""
        self._cancelled = reason
        if self.session is not None:
            self.session.alarm.cancel(reason)

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled is not None

    def demote(self) -> None:
        """It takes long: let others go first."""
        if self.lane is not None and self.ticket is not None:
            self.lane.demote(self.ticket)

    def run(self) -> Any:
        """Get a connection that is still good, run the task, leave the connection clean unless a stream goes on.

        Raises:
            FreeholdError: the task as a whole fails.
        """
        session = self._usable()
        session.start_request(self.limits)
        self.session = session
        goes_on = False
        try:
            if self._cancelled is not None:
                raise self._cancelled
            result = self._task(session)
            goes_on = self.stream is not None and self._cancelled is None
            return result
        finally:
            if not goes_on:
                self.stream = None
                self.is_clean = session.reset()

    def _usable(self) -> Session:
        session = self.session
        if session is not None:
            self.session = None
            try:
                is_same = session.check_file()
            except FreeholdError:
                session.close()
                raise
            if is_same:
                return session
            session.close()
        return Session(self._path, self.limits, read_only=self._read_only)
