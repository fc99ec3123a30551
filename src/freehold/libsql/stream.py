"""One Hrana stream: requests that run in order on one of the server's connections."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import msgspec

from freehold.libsql.answers import BatchResult, Outcome, Result, Rows, read_answer
from freehold.libsql.endpoint import Encode, Endpoint, Retry, Version, never
from freehold.libsql.errors import LibsqlError, Refused, StreamLost, Unreachable
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchStep,
    CloseReq,
    Cond,
    CondIsAutocommit,
    CondNot,
    CondOk,
    Error,
    ExecuteReq,
    GetAutocommitReq,
    PipelineReq,
    Stmt,
    StreamReq,
)

_encode = msgspec.json.Encoder().encode
_CLOSE_TIMEOUT_S = 5.0
_CLOSE = CloseReq()
_ASK = GetAutocommitReq()
_IN_TRANSACTION = CondNot(CondIsAutocommit())
# After these errors the server may have rolled back on its own.
_ENDS_TRANSACTIONS = frozenset(
    {"TRANSACTION_TIMEOUT", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_INTERRUPT", "SQLITE_BUSY"}
)
BUSY = "SQLITE_BUSY"
_LOST = "the server has ended the transaction; nothing of it was kept"


async def once(endpoint: Endpoint, request: StreamReq, *, repeatable: Callable[[], bool] = never) -> Outcome:
    """Run one request on its own stream, in one round trip. If it finds a lock, nothing ran and it is retried.

    Raises:
        LibsqlError: the request failed as a whole.
        Refused, Unreachable: as `Endpoint.post`.
    """
    body = _encode(PipelineReq((request, _CLOSE)))
    retry: Retry | None = None
    while True:
        answer = await read_answer(await endpoint.post(lambda _: body, repeatable=repeatable))
        if len(answer.outcomes) != 2:
            raise misfit()
        outcome = answer.outcomes[0]
        if not _found_lock(outcome):
            break
        retry = retry or endpoint.retry()
        if not await retry.wait():
            break
    if isinstance(outcome, Error):
        raise failed(outcome)
    return outcome


def all_or_none(stmts: Sequence[Stmt], begin: str) -> Batch:
    """A batch that runs the statements in one transaction, and rolls back when one fails."""
    steps = [BatchStep(Stmt(sql=begin))]
    steps += [BatchStep(stmt, CondOk(before)) for before, stmt in enumerate(stmts)]
    committing = len(steps)
    steps.append(BatchStep(Stmt(sql="COMMIT"), CondOk(committing - 1)))
    steps.append(BatchStep(Stmt(sql="ROLLBACK"), CondNot(CondOk(committing))))
    return Batch(tuple(steps))


def batch_results(outcome: Outcome, count: int) -> list[Result[Rows]]:
    """The results of the `count` statements passed to `all_or_none`; raises the error of the one that failed."""
    if not isinstance(outcome, BatchResult) or len(outcome.step_results) != count + 3:
        raise misfit()
    for error in outcome.step_errors:
        if error is not None:
            raise failed(error)
    results = [one for one in outcome.step_results[1:-2] if one is not None]
    if len(results) != count or outcome.step_results[-2] is None:
        raise misfit()
    return results


def failed(error: Error) -> LibsqlError:
    """The exception for an error in the server's answer."""
    return LibsqlError(error.message, error.code or "UNKNOWN")


class Stream:
    """Opens with its first call and lasts until it is closed, fails, or the server drops it for being idle.

    Calls run one at a time. A call that is cancelled or gets no answer ends the stream. Once it has lost a
    transaction it runs nothing more: later statements must not be committed on their own.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._base = endpoint.base
        self._baton: str | None = None
        self._lock = asyncio.Lock()
        self._begin: str | None = None
        self._has_begun = False
        self._is_closed = False
        self.is_lost = False

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or begins with the next statement."""
        return self._has_begun or self._begin is not None

    @property
    def is_begun(self) -> bool:
        """Whether a transaction is open on the server."""
        return self._has_begun

    def begin(self, sql: str) -> None:
        """Send `sql`, a BEGIN, together with the next statement."""
        self._begin = sql

    async def run(self, stmts: Sequence[Stmt], *, repeatable: Callable[[], bool] = never) -> list[Result[Rows]]:
        """Run statements in order until one fails, in one round trip.

        In a transaction they run only while it is still open, since the server may have ended it.

        Raises:
            LibsqlError: one of them failed; those before it have run.
            StreamLost: the stream or its transaction is lost.
            Refused, Unreachable: as `Endpoint.post`.
        """
        async with self._lock:
            if self._begin is None:
                return await self._run(stmts, False, repeatable)
            return await self._run_first(stmts, repeatable)

    async def end(self, sql: str, *, close: bool = True) -> None:
        """COMMIT or ROLLBACK, and close; nothing is sent if no transaction has begun. Raises as `run`."""
        async with self._lock:
            self._begin = None
            if self._has_begun or self.is_lost:
                await self._run([Stmt(sql=sql)], close, never)

    def close_later(self) -> None:
        """Close for good, without waiting; the server rolls back an open transaction."""
        self._is_closed = True
        baton, self._baton = self._baton, None
        self._begin, self._has_begun = None, False
        if baton is not None:
            self._endpoint.later(self._close(baton))

    async def _run_first(self, stmts: Sequence[Stmt], repeatable: Callable[[], bool]) -> list[Result[Rows]]:
        """Begin, and begin again if it finds a lock: the caller has seen nothing of the transaction yet."""
        begin = self._begin
        retry = self._endpoint.retry()
        while True:
            try:
                return await self._run(stmts, False, repeatable)
            except LibsqlError as error:
                if error.code != BUSY or self.is_lost or not await retry.wait():
                    raise
            await self._drop()
            self._begin = begin

    async def _drop(self) -> None:
        baton, self._baton = self._baton, None
        self._begin, self._has_begun = None, False
        if baton is not None:
            await self._close(baton)

    async def _run(self, stmts: Sequence[Stmt], close: bool, repeatable: Callable[[], bool]) -> list[Result[Rows]]:
        if self.is_lost:
            raise StreamLost(_LOST, "TRANSACTION_LOST")
        was_begun, begin = self._has_begun, self._begin
        outcome, is_autocommit = await self._call(_Work(stmts, begin, was_begun, close), repeatable)
        steps = _Steps.of(outcome)
        if begin and steps.first_ran:
            self._begin, self._has_begun = None, True
        if is_autocommit is not None:
            self._has_begun = not is_autocommit
        elif steps.is_unclear and self._has_begun:
            self._lose()  # version 2 does not say whether the transaction is still open
        elif steps.is_unclear and begin:
            await self._drop()  # nor whether it has begun at all
            self._begin = begin
        if steps.error is not None:
            if was_begun and not self._has_begun:
                self._lose()  # the server rolled back
            raise failed(steps.error)
        results = steps.results[1:] if begin else steps.results
        if len(results) != len(stmts):
            self._lose()
            raise StreamLost(_LOST, "TRANSACTION_LOST")
        return results

    async def _call(self, work: "_Work", repeatable: Callable[[], bool]) -> tuple[Outcome, bool | None]:
        is_new = self._baton is None
        try:
            body = await self._endpoint.post(
                work.encoder(self._baton), base=self._base, is_new=is_new, repeatable=repeatable if is_new else never
            )
            answer = await read_answer(body)
            if len(answer.outcomes) != work.count(v3=self._endpoint.speaks_v3):
                raise misfit()
            self._follow(answer.base_url)
        except (LibsqlError, asyncio.CancelledError) as error:
            # If nothing was sent, the baton is still valid and the same call may be made again.
            unused = isinstance(error, Unreachable) and not error.maybe_applied
            if isinstance(error, StreamLost):
                self._baton = None  # there is nothing left to close
            if not unused and not (is_new and isinstance(error, Refused)):
                self._lose()
            raise
        if self._is_closed and answer.baton is not None:  # closed by another task in the meantime
            self._endpoint.later(self._close(answer.baton))
            raise StreamLost(_LOST, "TRANSACTION_LOST")
        if work.close:
            self._baton = None
            return answer.outcomes[0], True
        self._baton = answer.baton
        told = answer.outcomes[-1]
        return answer.outcomes[0], told if isinstance(told, bool) else None

    def _lose(self) -> None:
        self.is_lost = True
        self.close_later()

    def _follow(self, base_url: str | None) -> None:
        if base_url is None:
            return
        url = urljoin(self._base, base_url)
        secure = urlsplit(self._base).scheme == "https"
        if urlsplit(url).scheme not in ({"https"} if secure else {"https", "http"}):
            raise Unreachable("the database moved to a URL that cannot be used", "HRANA_PROTO_ERROR")
        self._base = url if url.endswith("/") else f"{url}/"

    async def _close(self, baton: str) -> None:
        body = _encode(PipelineReq((_CLOSE,), baton))
        with contextlib.suppress(LibsqlError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._endpoint.post(lambda _: body, base=self._base, is_new=False)


class _Work:
    """The requests of one call, for either version of the protocol."""

    __slots__ = ("_begin", "_guarded", "_stmts", "close")

    def __init__(self, stmts: Sequence[Stmt], begin: str | None, guarded: bool, close: bool) -> None:
        self._stmts = stmts
        self._begin = begin
        self._guarded = guarded
        self.close = close

    def encoder(self, baton: str | None) -> Encode:
        return lambda version: _encode(PipelineReq(self._requests(version), baton))

    def count(self, *, v3: bool) -> int:
        return 1 + int(self.close or v3)

    def _requests(self, version: Version) -> tuple[StreamReq, ...]:
        guard = _IN_TRANSACTION if self._guarded and version == "v3" else None
        if self.close:
            return (self._request(guard), _CLOSE)
        return (self._request(guard), _ASK) if version == "v3" else (self._request(guard),)

    def _request(self, guard: Cond | None) -> StreamReq:
        if self._begin is None and guard is None and len(self._stmts) == 1:
            return ExecuteReq(self._stmts[0])
        stmts = [Stmt(sql=self._begin), *self._stmts] if self._begin else self._stmts
        steps = [BatchStep(stmts[0], guard)]
        steps += [BatchStep(stmt, CondOk(before)) for before, stmt in enumerate(stmts[1:])]
        return BatchReq(Batch(tuple(steps)))


@dataclass(frozen=True, slots=True)
class _Steps:
    """The outcome of the statements of one call."""

    results: list[Result[Rows]]
    error: Error | None = None
    first_ran: bool = False
    is_unclear: bool = False

    @classmethod
    def of(cls, outcome: Outcome) -> "_Steps":
        match outcome:
            case Result():
                return cls([outcome], first_ran=True)
            case BatchResult(step_results=results, step_errors=errors):
                error = next((one for one in errors if one is not None), None)
                done = [one for one in results if one is not None]
                first_ran = bool(results) and results[0] is not None
                return cls(done, error, first_ran, error is not None and error.code in _ENDS_TRANSACTIONS)
            case Error():
                return cls([], outcome, is_unclear=True)
        raise misfit()


def _found_lock(outcome: Outcome) -> bool:
    """Whether a lock stopped it before anything was committed: one statement, or a batch that ends in ROLLBACK."""
    match outcome:
        case Error(code=code):
            return code == BUSY
        case BatchResult(step_results=[*_, None, _], step_errors=errors):
            return any(error is not None and error.code == BUSY for error in errors)
    return False


def misfit() -> Unreachable:
    """The error for an answer whose shape does not match the request."""
    return Unreachable("the database's answer does not fit what it was asked", "HRANA_PROTO_ERROR")
