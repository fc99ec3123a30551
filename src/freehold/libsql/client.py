"""The driver's entry point: `create_client` for any URL, and the client for a database behind HTTP."""

from collections.abc import Callable, Sequence
from weakref import WeakSet

import aiohttp

from freehold.libsql.answers import Result, Rows
from freehold.libsql.arguments import to_stmt
from freehold.libsql.bearer import Token
from freehold.libsql.endpoint import TIMEOUT_S, Endpoint
from freehold.libsql.errors import LibsqlError, Refused, StreamLost, Unreachable
from freehold.libsql.file_client import FileClient
from freehold.libsql.interface import Client, InArgs, InStatement, InValue, Mode, Statement, Transaction
from freehold.libsql.protocol import BatchReq, ExecuteReq, Stmt
from freehold.libsql.result import ResultSet, Row, Value, result_set
from freehold.libsql.stream import Stream, all_or_none, batch_results, misfit, once
from freehold.libsql.urls import FileUrl, parse_url
from freehold.sql.statements import reads_only

__all__ = [
    "Client",
    "InArgs",
    "InStatement",
    "InValue",
    "LibsqlError",
    "Mode",
    "Refused",
    "ResultSet",
    "Row",
    "Statement",
    "StreamLost",
    "Token",
    "Transaction",
    "Unreachable",
    "Value",
    "create_client",
]


def create_client(
    url: str,
    *,
    auth_token: Token = None,
    tls: bool | None = None,
    timeout_s: float = TIMEOUT_S,
    missing_grace_s: float = 0.0,
    session: aiohttp.ClientSession | None = None,
) -> Client:
    """Return a client for `libsql:`, `https:`, `http:`, `wss:`, `ws:` (the last two over HTTP as well) or `file:`.

    Nothing is sent or opened yet. `auth_token` may be a function that returns one, async or not; it is called again
    when the server refuses the last token. `missing_grace_s` is for a database that is known to exist, on a server
    that may not have it ready: how long to retry after "not found". A `session` given here is shared, and not closed.

    Raises:
        LibsqlError: the URL cannot be used.
    """
    place = parse_url(url, token=auth_token if isinstance(auth_token, str) else None, tls=tls)
    if isinstance(place, FileUrl):
        return FileClient(place.path, timeout_s=timeout_s)
    return HranaClient(
        Endpoint(
            place.base,
            place.token if place.token is not None else auth_token,
            namespace=place.namespace,
            session=session,
            timeout_s=timeout_s,
            missing_grace_s=missing_grace_s,
        )
    )


_BEGIN: dict[Mode, str] = {"deferred": "BEGIN", "write": "BEGIN IMMEDIATE", "read": "BEGIN"}


class HranaClient(Client):
    """One database behind HTTP. Statements outside a transaction hold nothing on the server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._open: WeakSet[HranaTransaction] = WeakSet()

    async def execute(self, stmt: InStatement, args: InArgs = None, *, idempotent: bool = False) -> ResultSet:
        request = to_stmt(stmt, args)
        outcome = await once(self._endpoint, ExecuteReq(request), repeatable=_repeatable([request], idempotent))
        if not isinstance(outcome, Result):
            raise misfit()
        return _result_set(outcome)

    async def batch(
        self, stmts: Sequence[InStatement], *, mode: Mode = "deferred", idempotent: bool = False
    ) -> list[ResultSet]:
        if not stmts:
            return []
        requests = [to_stmt(stmt) for stmt in stmts]
        outcome = await once(
            self._endpoint, BatchReq(all_or_none(requests, _BEGIN[mode])), repeatable=_repeatable(requests, idempotent)
        )
        return [_result_set(one) for one in batch_results(outcome, len(requests))]

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
    """A transaction on its own stream. BEGIN is sent with the first statement, COMMIT with the close."""

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


def _repeatable(stmts: Sequence[Stmt], idempotent: bool) -> Callable[[], bool]:
    return lambda: idempotent or all(reads_only(stmt.sql or "") for stmt in stmts)


def _result_set(result: Result[Rows]) -> ResultSet:
    columns = tuple([col.name or "" for col in result.cols])
    return result_set(columns, result.rows, result.affected_row_count, result.last_insert_rowid)
