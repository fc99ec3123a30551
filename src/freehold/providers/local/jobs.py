"""Jobs on tenant databases: which may run now, on which connection, what a worker runs, and how it ends."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from freehold.errors import FreeholdError, NotFound
from freehold.libsql.protocol import (
    BatchV1Req,
    BatchV1Resp,
    CursorErrorEntry,
    CursorReq,
    CursorResp,
    ExecuteV1Req,
    ExecuteV1Resp,
    PipelineReq,
    PipelineResp,
)
from freehold.providers.failures import GoesOn, QueryTimeout, SqlFailure, error_of
from freehold.providers.fair_semaphore import FairSemaphore
from freehold.providers.local.streams import Stream
from freehold.providers.local.workers import SubmittedJob, Workers
from freehold.providers.names import missing
from freehold.providers.serving import Reply
from freehold.providers.sqlite.budget import Budget
from freehold.providers.sqlite.limits import Limits
from freehold.providers.sqlite.pipeline import Pipeline, Rights, cursor_entries
from freehold.providers.sqlite.session import Session
from freehold.sql.guard import RefusedSql
from freehold.sql.profiles import ProfileNeeded

Task = Callable[[Session], Any]


class DatabaseQueue:
    """What currently runs on one database. `closing` counts deletions under way, `stuck` are jobs that do not end."""

    __slots__ = ("closing", "gate", "jobs", "name", "stuck")

    def __init__(self, name: str, gate: FairSemaphore) -> None:
        self.name = name
        self.gate = gate
        self.closing = 0
        self.jobs: set[Job] = set()
        self.stuck: set[Job] = set()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing would be lost by forgetting it."""
        return not self.jobs and not self.closing and self.gate.is_empty

    def gone(self) -> NotFound:
        return missing(self.name)

    def check_open(self, *, is_ours: bool) -> None:
        """Return if a job may start: none while the database is being deleted, and none of clients while a statement
        runs past its limit. Some functions of SQLite cannot be stopped, and a client that calls one gets no second
        place to call it again.

        Raises:
            NotFound, Overloaded: no job may start.
        """
        if self.closing:
            raise self.gone()
        if self.stuck and not is_ours:
            raise GoesOn

    def is_stuck(self, job: "Job") -> None:
        """Note that this job runs past its limit; clients that wait for a place are refused."""
        if job not in self.stuck:
            self.stuck.add(job)
            self.gate.refuse_all(GoesOn)

    def refuse_all(self) -> None:
        """Let no job in and stop those that run: the database is being deleted."""
        self.gate.refuse_all(self.gone)
        for job in list(self.jobs):
            job.cancel(self.gone())


class Job:
    """One task on one database. `run` is the worker's side; the rest is the event loop's."""

    __slots__ = (
        "_cancelled",
        "_path",
        "_read_only",
        "_task",
        "future",
        "gates",
        "is_clean",
        "lane",
        "limits",
        "queue",
        "session",
        "stream",
        "submitted",
    )

    def __init__(
        self,
        queue: DatabaseQueue,
        task: Task,
        limits: Limits,
        path: Path,
        *,
        read_only: bool,
        session: Session | None,
        stream: Stream | None,
        gates: Sequence[FairSemaphore],
    ) -> None:
        self.queue = queue
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.session = session
        self.stream = stream
        self.limits = limits
        self.gates = gates
        self.is_clean = False
        self.lane: Workers | None = None
        self.submitted: SubmittedJob | None = None
        self._task = task
        self._path = path
        self._read_only = read_only
        self._cancelled: FreeholdError | None = None

    def cancel(self, reason: FreeholdError) -> None:
        """Stop it as soon as possible; its transaction is rolled back."""
        self._cancelled = reason
        if self.session is not None:
            self.session.alarm.cancel(reason)

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled is not None

    def is_stuck(self) -> None:
        """Answer the waiting client now, since the statement runs on past its limit."""
        self.queue.is_stuck(self)
        if self.future.done():
            return
        error = QueryTimeout(
            f"the statement ran longer than {self.limits.statement_s:g} s, in a function that cannot be stopped; "
            "it is undone"
        )
        self.cancel(error)
        self.future.set_exception(error)

    def demote(self) -> None:
        """Let other jobs go first, since this one takes long."""
        if self.lane is not None and self.submitted is not None:
            self.lane.demote(self.submitted)

    def processor_s(self) -> float | None:
        """The processor time that its thread has used, in seconds; None while it has no thread."""
        return None if self.submitted is None else self.submitted.processor_s()

    def run(self) -> Any:
        """Get a usable connection, run the task, and reset the connection unless a stream continues on it.

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
        return Session(self._path, self.limits, read_only=self._read_only, is_shared=True)


# Hrana calls as tasks: what a worker runs on a connection, and the bytes that it returns.

_encoder = msgspec.json.Encoder()


def pipeline(request: PipelineReq, stream: Stream, rights: Rights, result_bytes: int, *, goes_on: bool) -> Task:
    """The requests of a pipeline; with `goes_on` the stream has a baton for the next one."""

    def task(session: Session) -> Reply:
        results = Pipeline(session, stream.stored_sql, Budget(result_bytes), rights).run(request.requests)
        baton = stream.next_baton if goes_on else None
        return Reply(_encoder.encode(PipelineResp(baton, None, results)))

    return task


def cursor(request: CursorReq, stream: Stream, rights: Rights, result_bytes: int) -> Task:
    """The batch of a cursor; its answer is one JSON document per line."""

    def task(session: Session) -> Reply:
        on_session = Pipeline(session, stream.stored_sql, Budget(result_bytes), rights)
        try:
            entries = cursor_entries(on_session.batch(request.batch))
        except (ProfileNeeded, RefusedSql) as error:
            entries = [CursorErrorEntry(error_of(error))]
        return Reply(_encoder.encode_lines([CursorResp(stream.next_baton, None), *entries]))

    return task


def stateless(request: ExecuteV1Req | BatchV1Req, rights: Rights, result_bytes: int) -> Task:
    """A call of version 1, which has no stream."""

    def task(session: Session) -> Reply:
        on_session = Pipeline(session, {}, Budget(result_bytes), rights)
        if isinstance(request, BatchV1Req):
            return Reply(_encoder.encode(BatchV1Resp(on_session.batch(request.batch))))
        try:
            return Reply(_encoder.encode(ExecuteV1Resp(on_session.execute(request.stmt))))
        except SqlFailure as failure:
            return Reply(_encoder.encode(failure.error), status=400)

    return task
