"""The state behind a DB-API connection: a transaction if one is open, otherwise nothing on the server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from freehold.libsql.answers import Result, Rows
from freehold.libsql.arguments import to_stmt
from freehold.libsql.endpoint import Endpoint
from freehold.libsql.errors import LibsqlError
from freehold.libsql.protocol import BatchReq, ExecuteReq, Stmt
from freehold.libsql.stream import Stream, all_or_none, batch_results, misfit, once
from freehold.sql.statements import Verb, reads_only, verb

# Statements of an executemany in one request; the answer to more may exceed the server's limit.
_STATEMENTS_A_REQUEST = 5_000
_DEFERRED = frozenset({"BEGIN", "BEGIN DEFERRED", "BEGIN TRANSACTION", "BEGIN DEFERRED TRANSACTION"})


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a statement, or of many. `row_count` is -1 where it does not apply."""

    result: Result[Rows]
    row_count: int


_NOTHING = Done(Result(), -1)


class Session:
    """Statements and transactions on one database, in the order of the calls.

    Outside a transaction a statement is one request and leaves nothing on the server. BEGIN is sent with the first
    statement and the close with COMMIT, so an idle session never expires. Only a PRAGMA that sets something, or
    ATTACH, keeps its stream until `reset`.
    """

    def __init__(self, endpoint: Endpoint, begin: str) -> None:
        self._endpoint = endpoint
        self._begin = begin
        self._stream: Stream | None = None
        self._is_pinned = False
        # Whether the open transaction has changed nothing and holds no write lock, so that it can end without waiting.
        self._is_light = True
        self.is_autocommit = False

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or begins with the next statement."""
        return self._stream is not None and self._stream.in_transaction

    async def execute(self, sql: str, args: Any = None) -> Done:
        """Run one statement, in the open transaction or in one that it begins."""
        kind = verb(sql)
        if kind is Verb.BEGIN:
            return self._on_begin(sql)
        if kind in {Verb.COMMIT, Verb.ROLLBACK}:
            return await self._on_end(kind)
        stmt = to_stmt(sql, args)
        reads = reads_only(sql)
        if kind is Verb.SETTING:
            self._is_pinned = True
        elif kind is not Verb.PRAGMA and not self.is_autocommit:
            self._begin_if_needed()
        if self._stream is None and not self._is_pinned and kind is not Verb.SAVEPOINT:
            outcome = await once(self._endpoint, ExecuteReq(stmt), repeatable=lambda: reads)
            if not isinstance(outcome, Result):
                raise misfit()
            return Done(outcome, -1 if reads else outcome.affected_row_count)
        [result] = await self._run([stmt], reads=reads)
        return Done(result, -1 if reads else result.affected_row_count)

    async def execute_many(self, sql: str, many: Sequence[Any]) -> Done:
        """Run one statement with many sets of arguments. Outside a transaction all of them run, or none."""
        stmts = [to_stmt(sql, args) for args in many]
        if not stmts:
            return Done(Result(), 0)
        is_whole = self.is_autocommit and not self.in_transaction
        if is_whole and self._stream is None and len(stmts) <= _STATEMENTS_A_REQUEST:
            outcome = await once(self._endpoint, BatchReq(all_or_none(stmts, self._begin)))
            return _sum(batch_results(outcome, len(stmts)))
        self._begin_if_needed()
        results: list[Result[Rows]] = []
        try:
            for start in range(0, len(stmts), _STATEMENTS_A_REQUEST):
                results += await self._run(stmts[start : start + _STATEMENTS_A_REQUEST], reads=False)
            if is_whole:
                await self.commit()
        except LibsqlError:
            if is_whole:
                await self.rollback()
            raise
        return _sum(results)

    async def commit(self) -> None:
        """Commit the open transaction, if there is one."""
        stream = self._stream
        if stream is None:
            return
        if stream.is_begun and self._is_light and not self._is_pinned:
            self.drop()
            return
        try:
            await stream.end("COMMIT", close=not self._is_pinned)
        finally:
            self._settle()

    async def rollback(self) -> None:
        """Roll back the open transaction, if there is one. A lost one is rolled back already."""
        stream = self._stream
        if stream is None:
            return
        if not self._is_pinned and (self._is_light or stream.is_lost or not stream.is_begun):
            self.drop()
            return
        try:
            await stream.end("ROLLBACK", close=not self._is_pinned)
            self._settle()
        except LibsqlError:
            self.drop()  # closing the stream rolls back as well

    async def reset(self) -> None:
        """Return to the initial state."""
        await self.rollback()
        self.drop()

    def drop(self) -> None:
        """Return to the initial state without waiting; the server rolls back an open transaction."""
        stream, self._stream = self._stream, None
        self._is_light, self._is_pinned = True, False
        if stream is not None:
            stream.close_later()

    def _on_begin(self, sql: str) -> Done:
        if self._stream is not None and self._stream.is_begun:
            raise LibsqlError("cannot start a transaction within a transaction", "SQLITE_ERROR")
        self._start(sql)
        return _NOTHING

    async def _on_end(self, kind: Verb) -> Done:
        if not self.in_transaction and (self._stream is None or not self._stream.is_lost):
            raise LibsqlError(f"cannot {kind.name.lower()} - no transaction is active", "SQLITE_ERROR")
        await (self.commit() if kind is Verb.COMMIT else self.rollback())
        return _NOTHING

    def _begin_if_needed(self) -> None:
        if self._stream is None or not (self._stream.in_transaction or self._stream.is_lost):
            self._start(self._begin)

    def _start(self, sql: str) -> None:
        if self._stream is None:
            self._stream = Stream(self._endpoint)
        self._stream.begin(sql)
        self._is_light = " ".join(sql.upper().rstrip("; \n\t").split()) in _DEFERRED

    async def _run(self, stmts: Sequence[Stmt], *, reads: bool) -> list[Result[Rows]]:
        if self._stream is None:
            self._stream = Stream(self._endpoint)
        self._is_light = self._is_light and reads
        try:
            return await self._stream.run(stmts, repeatable=lambda: reads)
        finally:
            self._settle()

    def _settle(self) -> None:
        """Keep the stream only while it holds a transaction or settings, or has lost a transaction."""
        stream = self._stream
        if stream is not None and not (stream.in_transaction or stream.is_lost or self._is_pinned):
            self.drop()


def _sum(results: Sequence[Result[Rows]]) -> Done:
    return Done(
        Result(last_insert_rowid=results[-1].last_insert_rowid), sum(result.affected_row_count for result in results)
    )
