"""The client for a database behind HTTP."""

from collections.abc import Callable, Sequence

from freehold.libsql.answers import BatchResult, Result, Rows
from freehold.libsql.arguments import to_stmt
from freehold.libsql.endpoint import Endpoint
from freehold.libsql.errors import LibsqlError, Unreachable
from freehold.libsql.interface import Client, InArgs, InStatement, Mode, Transaction
from freehold.libsql.protocol import Batch, BatchReq, BatchStep, CondNot, CondOk, ExecuteReq, Stmt
from freehold.libsql.result import ResultSet, result_set
from freehold.libsql.statements import reads_only
from freehold.libsql.stream import Stream, failed, once

_BEGIN: dict[Mode, str] = {"deferred": "BEGIN", "write": "BEGIN IMMEDIATE", "read": "BEGIN"}


class HranaClient(Client):
    """One database behind HTTP. Statements on their own hold nothing on the server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._open: set[HranaTransaction] = set()

    async def execute(self, stmt: InStatement, args: InArgs = None, *, idempotent: bool = False) -> ResultSet:
        request = to_stmt(stmt, args)
        outcome = await once(
            self._endpoint, ExecuteReq(request), repeatable=_repeatable([request], idempotent)
        )
        if not isinstance(outcome, Result):
            raise _misfit()
        return _result_set(outcome)

    async def batch(
        self, stmts: Sequence[InStatement], *, mode: Mode = "deferred", idempotent: bool = False
    ) -> list[ResultSet]:
        if not stmts:
            return []
        requests = [to_stmt(stmt) for stmt in stmts]
        outcome = await once(
            self._endpoint,
            BatchReq(_all_or_none(requests, mode)),
            repeatable=_repeatable(requests, idempotent),
        )
        if not isinstance(outcome, BatchResult) or len(outcome.step_results) != len(requests) + 3:
            raise _misfit()
        for error in outcome.step_errors:
            if error is not None:
                raise failed(error)
        results = [one for one in outcome.step_results[1:-2] if one is not None]
        if len(results) != len(requests):
            raise _misfit()
        return [_result_set(one) for one in results]

    def transaction(self, mode: Mode = "deferred") -> "HranaTransaction":
        if self._endpoint.is_closed:
            raise LibsqlError("the client is closed", "CLIENT_CLOSED")
        transaction = HranaTransaction(Stream(self._endpoint), mode, self._open.discard)
        self._open.add(transaction)
        return transaction

    async def close(self) -> None:
        for transaction in list(self._open):
            transaction.close()
        await self._endpoint.close()

    @property
    def closed(self) -> bool:
        return self._endpoint.is_closed


class HranaTransaction(Transaction):
    """A transaction on a stream of its own. BEGIN goes with the first statement, COMMIT with the close."""

    def __init__(self, stream: Stream, mode: Mode, on_close: "Callable[[HranaTransaction], None]") -> None:
        self._stream = stream
        self._stream.begin(_BEGIN[mode])
        self._on_close = on_close
        self._is_closed = False

    async def execute(self, stmt: InStatement, args: InArgs = None) -> ResultSet:
        self._must_be_open()
        request = to_stmt(stmt, args)
        try:
            [result] = await self._stream.run([request], repeatable=_repeatable([request], idempotent=False))
        finally:
            if not self._stream.in_transaction:
                self._finish()
        return _result_set(result)

    async def commit(self) -> None:
        self._must_be_open()
        self._finish()
        await self._stream.end("COMMIT")

    async def rollback(self) -> None:
        if not self._is_closed:
            self._finish()
            await self._stream.end("ROLLBACK")

    def close(self) -> None:
        self._finish()
        self._stream.close_later()

    @property
    def closed(self) -> bool:
        return self._is_closed

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise LibsqlError("the transaction is closed", "TRANSACTION_CLOSED")

    def _finish(self) -> None:
        self._is_closed = True
        self._on_close(self)


def _all_or_none(stmts: Sequence[Stmt], mode: Mode) -> Batch:
    steps = [BatchStep(Stmt(sql=_BEGIN[mode]))]
    steps += [BatchStep(stmt, CondOk(before)) for before, stmt in enumerate(stmts)]
    committing = len(steps)
    steps.append(BatchStep(Stmt(sql="COMMIT"), CondOk(committing - 1)))
    steps.append(BatchStep(Stmt(sql="ROLLBACK"), CondNot(CondOk(committing))))
    return Batch(tuple(steps))


def _repeatable(stmts: Sequence[Stmt], idempotent: bool) -> Callable[[], bool]:
    return lambda: idempotent or all(reads_only(stmt.sql or "") for stmt in stmts)


def _result_set(result: Result[Rows]) -> ResultSet:
    columns = tuple([col.name or "" for col in result.cols])
    return result_set(columns, result.rows, result.affected_row_count, result.last_insert_rowid)


def _misfit() -> Unreachable:
    return Unreachable("the database's answer does not fit what it was asked", "HRANA_PROTO_ERROR")
