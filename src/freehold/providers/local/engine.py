"""Runs Hrana calls of many tenants on SQLite files, so that none of them slows down another.

All state belongs to the event loop's thread; a request moves to a worker once. New requests of one database share a
few places; the next step of an open stream has a lane of its own, so that it never waits for requests that wait for
its lock.
"""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import apsw

from freehold.errors import FreeholdError, ProviderUnavailable, Unavailable
from freehold.libsql.protocol import Batch, BatchResult, CloseReq, CursorReq, ExecuteReq, PipelineReq
from freehold.providers.desk import Desk
from freehold.providers.failures import Gone, SqlFailure
from freehold.providers.fair_semaphore import FairSemaphore
from freehold.providers.local.files import TenantFiles
from freehold.providers.local.jobs import DatabaseQueue, Job, Task, cursor, pipeline, stateless
from freehold.providers.local.pool import Pool
from freehold.providers.local.streams import Stream, Streams
from freehold.providers.local.workers import Workers
from freehold.providers.published import BatchRegistry
from freehold.providers.serving import Call, Disconnect, Reply
from freehold.providers.sqlite.budget import Budget
from freehold.providers.sqlite.limits import EngineLimits, Limits
from freehold.providers.sqlite.pipeline import Pipeline, Rights, rights_of
from freehold.providers.sqlite.session import Session
from freehold.providers.texts import Body, request_in, texts_of
from freehold.sql.statements import reads_only

_SHORT_BODY_BYTES = 8192
_SMALL_BODY_BYTES = 65_536
_TICK_S = 0.05
_IDLE_TICK_S = 0.5
_DEMOTE_AFTER_S = 0.25
_CLOSE_LIMIT_S = 7.0
_END_LIMIT_S = 0.5
_MEMORY_PRESSURE = 0.75
_MEMORY_SPARED = 0.5
_FILES_EACH = 3
_FILES_OF_OTHERS = 128


def _nothing(_job: Job) -> None:
    pass


class Engine:
    """Implements `LocalEngine` on the files of this machine. One for each process and event loop.

    `on_stuck` is called repeatedly for each job whose statement runs on past its limit.
    """

    def __init__(
        self,
        files: TenantFiles,
        limits: Limits,
        engine_limits: EngineLimits,
        registry: BatchRegistry,
        on_stuck: Callable[[Job], None] = _nothing,
    ) -> None:
        self._registry = registry
        self._on_stuck = on_stuck
        self._files = files
        self._limits = limits
        self._engine_limits = engine_limits
        connections = min(engine_limits.connections, _affordable_connections())
        self._new = Workers("tenant-sql", engine_limits.threads)
        self._continuing = Workers("tenant-stream", engine_limits.threads)
        self._desk = Desk()
        self.pool = Pool(self._new, connections, engine_limits.connection_idle_s)
        # Streams keep connections; half of all stay free for requests that do not.
        streams = min(engine_limits.streams, connections // 2)
        self.streams = Streams(engine_limits.stream_idle_s, streams, engine_limits.streams_each)
        # The rest must suffice for all requests that do not continue a stream; more of these wait their turn.
        self._gate = FairSemaphore(connections - streams, engine_limits.waiting)
        self._queues: dict[str, DatabaseQueue] = {}
        self._jobs: set[Job] = set()
        self._timer: asyncio.TimerHandle | None = None
        # SQLite counts memory for the whole process. Past this a statement fails instead of the process.
        apsw.hard_heap_limit(engine_limits.memory_bytes)
        # Past this one, page caches are freed first.
        apsw.soft_heap_limit(int(engine_limits.memory_bytes * _MEMORY_SPARED))

    # Calls ---------------------------------------------------------------------------------------------

    async def answer(self, call: Call, disconnect: Disconnect, registry: BatchRegistry | None = None) -> Reply:
        """Run one Hrana call; see `DatabaseServer`. `registry`, if given, is asked instead of the engine's."""
        registry = registry or self._registry
        if len(call.body) <= _SHORT_BODY_BYTES:
            return await self._answer(call, disconnect, request_in(call.endpoint, call.body), registry)
        # Reading much SQL here would delay everyone else.
        name = call.grant.database_name
        if len(call.body) <= _SMALL_BODY_BYTES:
            request = request_in(call.endpoint, call.body)
        else:
            request = await self._desk.run(name, disconnect, lambda: request_in(call.endpoint, call.body))
        async with self._desk.looked_at(name, disconnect, list(texts_of(request))):
            return await self._answer(call, disconnect, request, registry)

    async def _answer(self, call: Call, disconnect: Disconnect, request: Body, registry: BatchRegistry) -> Reply:
        rights = rights_of(call.grant, registry)
        match request:
            case PipelineReq():
                return await self._pipeline(call, disconnect, request, rights)
            case CursorReq():
                return await self._cursor(call, disconnect, request, rights)
        read_only = call.grant.access_level == "read_only"
        task = stateless(request, rights, self._limits.result_bytes)
        reply: Reply = await self._run(call.grant.database_name, task, disconnect, read_only=read_only)
        return reply

    async def run_batches(self, database_name: str, batches: Sequence[Batch], limits: Limits) -> list[BatchResult]:
        """Run batches of our own code on one connection, under the same rules for the SQL.

        Raises:
            FreeholdError: no transaction is left open; earlier batches may have been committed.
        """

        def task(session: Session) -> list[BatchResult]:
            pipeline = Pipeline(session, {}, Budget(limits.result_bytes), is_ours=True)
            return [pipeline.batch(batch) for batch in batches]

        found: list[BatchResult] = await self._run(
            database_name, task, Disconnect(), limits=limits, read_only=False, is_ours=True
        )
        return found

    async def check_moving(self) -> None:
        """Check that requests make progress.

        Raises:
            ProviderUnavailable: requests wait while only statements run that are past their limit and do not end.
        """
        if not (self._gate.has_waiting or self._new.has_waiting):
            return
        now = time.monotonic()
        running = [job.session.alarm for job in self._jobs if job.lane is self._new and job.session]
        if running and all(alarm.overdue_s(now) > self._engine_limits.overdue_s for alarm in running):
            raise ProviderUnavailable(
                f"all {len(running)} places for tenants' SQL are held by statements that do not end"
            )

    @contextlib.asynccontextmanager
    async def closed(self, database_name: str) -> AsyncIterator[None]:
        """Inside this context no connection to the database is open here; requests end with `NotFound`."""
        queue = self._queue_of(database_name)
        queue.closing += 1
        try:
            queue.refuse_all()
            self._drop(self.streams.idle_of(database_name))
            self.pool.drop(database_name)
            until = time.monotonic() + _CLOSE_LIMIT_S
            # SQLite never removes another file's log, so a connection that cannot be interrupted may stay open.
            while self.pool.open_of(database_name) and time.monotonic() < until:  # noqa: ASYNC110 - rare
                await asyncio.sleep(0.005)
            yield
        finally:
            queue.closing -= 1
            self._forget_if_quiet(queue)

    async def close(self) -> None:
        """Stop everything, roll back what is open, close all connections."""
        for gate in (self._gate, *(queue.gate for queue in self._queues.values())):
            gate.refuse_all(_stopping)
        for job in list(self._jobs):
            job.cancel(_stopping())
        self._drop(self.streams.idle_of(None))
        until = time.monotonic() + _END_LIMIT_S
        while self.pool.open_count and time.monotonic() < until:
            self.pool.drop_all()
            await asyncio.sleep(0.005)
        if self._timer is not None:
            self._timer.cancel()
        self._new.close()
        self._continuing.close()
        self._desk.close()

    @property
    def databases_with_streams(self) -> set[str]:
        """Databases with an open stream."""
        return self.streams.database_names

    # Kinds of calls ------------------------------------------------------------------------------------

    async def _pipeline(self, call: Call, disconnect: Disconnect, request: PipelineReq, rights: Rights) -> Reply:
        closes = any(type(each) is CloseReq for each in request.requests)
        stream = self._stream_of(call, request.baton, closes=closes)
        task = pipeline(request, stream, rights, self._limits.result_bytes, goes_on=not closes)
        is_quick = len(call.body) <= _SHORT_BODY_BYTES and _only_reads(request)
        return await self._on_stream(call, stream, task, disconnect, goes_on=not closes, is_quick=is_quick)

    async def _cursor(self, call: Call, disconnect: Disconnect, request: CursorReq, rights: Rights) -> Reply:
        stream = self._stream_of(call, request.baton, closes=False)
        task = cursor(request, stream, rights, self._limits.result_bytes)
        return await self._on_stream(call, stream, task, disconnect, goes_on=True)

    def _stream_of(self, call: Call, baton: str | None, *, closes: bool) -> Stream:
        if baton is not None:
            self._drop(self.streams.overdue(baton))
            return self.streams.take(baton, call.grant)
        # A stream that ends with its own request has no baton and does not count as open.
        if closes:
            return Stream("", call.grant)
        self._drop(self.streams.make_room(call.grant))
        return self.streams.open(call.grant)

    async def _on_stream(
        self, call: Call, stream: Stream, task: Task, disconnect: Disconnect, *, goes_on: bool, is_quick: bool = False
    ) -> Reply:
        try:
            reply: Reply = await self._run(
                call.grant.database_name,
                task,
                disconnect,
                read_only=call.grant.access_level == "read_only",
                stream=stream,
                goes_on=goes_on,
                is_quick=is_quick,
            )
            return reply
        finally:
            if stream.secret is None:
                self.streams.close(stream)
                self._drop([stream])

    # Running -------------------------------------------------------------------------------------------

    async def _run(
        self,
        database_name: str,
        task: Task,
        disconnect: Disconnect,
        *,
        read_only: bool,
        stream: Stream | None = None,
        goes_on: bool = False,
        limits: Limits | None = None,
        is_ours: bool = False,
        is_quick: bool = False,
    ) -> Any:
        """Run `task` on a connection of the database; the stream keeps the connection if it continues."""
        queue = self._queue_of(database_name)
        queue.check_open(is_ours=is_ours)
        gates: list[FairSemaphore] = []
        session = None
        if stream is not None and stream.session is not None:
            session, stream.session = stream.session, None
        else:
            try:
                for gate in (self._gate,) if is_ours else (queue.gate, self._gate):
                    await gate.enter(disconnect)
                    gates.append(gate)
                queue.check_open(is_ours=is_ours)  # again, since that may have changed while we waited
                session = self.pool.take(database_name, read_only=read_only)
            except BaseException:
                self._leave(queue, gates)
                raise
        job = Job(
            queue,
            task,
            limits or self._limits,
            self._files.path_of(database_name),
            read_only=read_only,
            session=session,
            stream=stream if goes_on else None,
            gates=gates,
        )
        lane = self._new if gates else self._continuing
        queue.jobs.add(job)
        self._jobs.add(job)
        job.lane = lane
        job.submitted = lane.submit(
            job.run, lambda result, error: self._finish(job, result, error), is_quick=is_quick and lane is self._new
        )
        disconnect.when_lost(lambda: job.cancel(Gone()))
        self._start_timer()
        return await job.future

    def _finish(self, job: Job, result: Any, error: BaseException | None) -> None:
        queue, session, future = job.queue, job.session, job.future
        # It refers to the job: together they would keep a large answer until the next collection, which may be far off.
        job.submitted = None
        queue.jobs.discard(job)
        queue.stuck.discard(job)
        self._jobs.discard(job)
        if session is None:
            self.pool.forget(queue.name)
        elif job.stream is not None and not (job.is_cancelled or future.done()):
            job.stream.session = session
            job.stream.in_transaction = not session.is_autocommit
            job.stream.transaction_ends_at = session.transaction_since + job.limits.transaction_s
            self.streams.put_back(job.stream)
        elif job.is_clean and not queue.closing:
            self.pool.give_back(session)
        else:
            self._drop_session(session)
        self._leave(queue, job.gates)
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        elif error is not None and not isinstance(error, FreeholdError):
            asyncio.get_running_loop().call_exception_handler({"message": "a job failed", "exception": error})

    def _queue_of(self, database_name: str) -> DatabaseQueue:
        queue = self._queues.get(database_name)
        if queue is None:
            limit = self._engine_limits
            queue = DatabaseQueue(database_name, FairSemaphore(limit.requests_each, limit.waiting_each))
            self._queues[database_name] = queue
        return queue

    def _leave(self, queue: DatabaseQueue, gates: Sequence[FairSemaphore]) -> None:
        for gate in gates:
            gate.leave()
        self._forget_if_quiet(queue)

    def _forget_if_quiet(self, queue: DatabaseQueue) -> None:
        if queue.is_quiet and self._queues.get(queue.name) is queue:
            del self._queues[queue.name]

    def _drop(self, streams: Sequence[Stream]) -> None:
        for stream in streams:
            session, stream.session = stream.session, None
            if session is not None:
                self._drop_session(session)

    def _drop_session(self, session: Session) -> None:
        """Close it, which rolls back, in the lane that is never full of requests that wait for its lock."""
        self._continuing.submit(session.close, lambda _result, _error: self.pool.forget(session.name))

    # Time ----------------------------------------------------------------------------------------------

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        """Stop statements that exceed their time, end idle streams, close idle connections; repeat while any exist."""
        self._timer = None
        try:
            self._look_after(time.monotonic())
        finally:
            if self._jobs:
                self._start_timer()
            elif len(self.streams) or self.pool.open_count:
                self._timer = asyncio.get_running_loop().call_later(_IDLE_TICK_S, self._tick)

    def _look_after(self, now: float) -> None:
        longest, longest_s = None, 0.0
        for job in self._jobs:
            if job.session is None:
                continue
            ran_s = job.session.alarm.check_time(now)
            if ran_s > _DEMOTE_AFTER_S:
                job.demote()
                if job.session.alarm.overdue_s(now) > self._engine_limits.overdue_s:
                    job.is_stuck()
                    self._on_stuck(job)
            if ran_s > longest_s:
                longest, longest_s = job.session, ran_s
        if longest is not None and apsw.memory_used() > self._engine_limits.memory_bytes * _MEMORY_PRESSURE:
            longest.alarm.stop(SqlFailure("the statement was stopped: memory is short", "SQLITE_NOMEM"))
        self._drop(self.streams.expired(now))
        self.pool.sweep(now)


def _only_reads(request: PipelineReq) -> bool:
    """Whether it only reads, and so rarely waits for a disk or a lock."""
    for each in request.requests:
        if type(each) is ExecuteReq:
            sql = each.stmt.sql
            if sql is None or not reads_only(sql):
                return False
        elif type(each) is not CloseReq:
            return False
    return True


def _stopping() -> Unavailable:
    return Unavailable("the server is stopping")


def _affordable_connections() -> int:
    """The number of connections that the limit on open files allows: each takes three, and others need some too."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max((soft - _FILES_OF_OTHERS) // _FILES_EACH, 8)
