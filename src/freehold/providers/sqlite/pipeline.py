"""Hrana requests on a session, within a token's rights: structs in, structs out. Runs in a worker thread."""

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct

from freehold.errors import Forbidden, InvalidInput, Unavailable
from freehold.libsql.conditions import holds
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchResp,
    BatchResult,
    CloseReq,
    CloseResp,
    CloseSqlReq,
    CloseSqlResp,
    CursorEntry,
    DescribeCol,
    DescribeParam,
    DescribeReq,
    DescribeResp,
    DescribeResult,
    Error,
    ExecuteReq,
    ExecuteResp,
    GetAutocommitReq,
    GetAutocommitResp,
    RowEntry,
    SequenceReq,
    SequenceResp,
    StepBeginEntry,
    StepEndEntry,
    StepErrorEntry,
    Stmt,
    StmtResult,
    StoreSqlReq,
    StoreSqlResp,
    StreamError,
    StreamOk,
    StreamReq,
    StreamResp,
)
from freehold.profiles import Profile
from freehold.providers.failures import SqlFailure, error_of
from freehold.providers.grants import Grant
from freehold.providers.published import BatchRegistry, inlined
from freehold.providers.sqlite.budget import Budget
from freehold.providers.sqlite.run import Bindings
from freehold.providers.sqlite.session import Session
from freehold.providers.sqlite.values import to_native_map, to_natives
from freehold.sql.guard import RefusedSql, is_inside
from freehold.sql.profiles import ProfileNeeded, refusal
from freehold.sql.tokens import variables

_REGISTRY_S = 10.0
_MAX_ENTRIES = 20_000
_MAX_STORED = 150
_MAX_STORED_LENGTH = 1_000_000
_ENTRY_BYTES = 200  # of JSON around each result
_NOTHING = StmtResult()


class Rights(Struct, frozen=True):
    """What a client may do: what the token's profile allows, and the registry's own changes of the schema.

    `is_of_registry` may block. It is called only for batches that the profile does not cover.
    """

    profile: Profile
    is_of_registry: Callable[[Batch], bool]


def rights_of(grant: Grant, registry: BatchRegistry) -> Rights:
    """The rights of a grant. Call it on the event loop; the result is used in another thread."""
    if grant.access_level == "read_only":
        return Rights(grant.profile, _is_none)
    loop = asyncio.get_running_loop()

    def is_of_registry(batch: Batch) -> bool:
        asked = asyncio.run_coroutine_threadsafe(registry.includes(batch), loop)
        try:
            return asked.result(_REGISTRY_S)
        except TimeoutError as error:
            asked.cancel()
            raise Unavailable("the registry cannot be looked at now; try again later") from error

    return Rights(grant.profile, is_of_registry)


def _is_none(_batch: Batch) -> bool:
    """With a read-only token, not even the registry's batches are allowed."""
    return False


class Pipeline:
    """Runs the requests of one stream. `stored_sql` belongs to the stream and lives as long.

    Without `rights` they are Freehold's own; with `is_ours` they come from our own code, which sends one statement per
    text.
    """

    def __init__(
        self,
        session: Session,
        stored_sql: dict[int, str],
        budget: Budget,
        rights: Rights | None = None,
        *,
        is_ours: bool = False,
    ) -> None:
        session.profile = rights.profile if rights else None
        self._rights = rights
        session.is_ours = self._is_ours = is_ours
        self._session = session
        self._stored_sql = stored_sql
        self._budget = budget

    def run(self, requests: Sequence[StreamReq]) -> list[StreamOk | StreamError]:
        """One result for each request; later ones run even after an error.

        Raises:
            FreeholdError: the whole call fails.
        """
        _check_count(requests, "pipeline", "requests")
        return [self._result(request) for request in requests]

    def execute(self, stmt: Stmt) -> StmtResult:
        """Run one statement.

        Raises:
            SqlFailure: it failed.
            FreeholdError: the whole call fails.
        """
        self._budget.spend(_ENTRY_BYTES)
        sql = self._text(stmt.sql, stmt.sql_id)
        if self._is_ours and not stmt.want_rows:
            self._session.perform(sql, _bindings(stmt))
            return _NOTHING
        return self._session.execute(sql, _bindings(stmt), self._budget, want_rows=stmt.want_rows)

    def batch(self, batch: Batch) -> BatchResult:
        """Run the steps whose conditions hold; none if one of them needs a wider profile than the token has.

        Official clients handle the refusal of a whole batch better than that of a step that they do not check.

        Raises:
            ProfileNeeded, RefusedSql: nothing ran.
            FreeholdError: the whole call fails.
        """
        _check_count(batch.steps, "batch", "steps")
        refused = self._refusal(batch)
        if refused is None:
            return self._batch(batch)
        if self._rights is None or not self._rights.is_of_registry(inlined(batch, self._stored_sql)):
            raise refused
        with self._session.of_the_registry():
            return self._batch(batch)

    def _refusal(self, batch: Batch) -> Forbidden | None:
        """Why the batch may not run unless it is the registry's. What no profile allows is refused at its step."""
        if self._rights is None:
            return None
        for step in inlined(batch, self._stored_sql).steps:
            found = refusal(step.stmt.sql or "", self._rights.profile)
            if found is not None and is_inside(step.stmt.sql or ""):
                return found
        return None

    def _batch(self, batch: Batch) -> BatchResult:
        results: list[StmtResult | None] = []
        errors: list[Error | None] = []
        for step in batch.steps:
            result: StmtResult | None = None
            error: Error | None = None
            if holds(step.condition, results, errors, lambda: self._session.is_autocommit):
                try:
                    result = self.execute(step.stmt)
                except SqlFailure as failure:
                    error = failure.error
            results.append(result)
            errors.append(error)
        return BatchResult(results, errors)

    def _result(self, request: StreamReq) -> StreamOk | StreamError:
        try:
            return StreamOk(self._response(request))
        except SqlFailure as failure:
            return StreamError(failure.error)
        except (ProfileNeeded, RefusedSql) as error:
            return StreamError(error_of(error))

    def _response(self, request: StreamReq) -> StreamResp:  # noqa: PLR0911 - one for each kind
        match request:
            case ExecuteReq(stmt=stmt):
                return ExecuteResp(self.execute(stmt))
            case BatchReq(batch=batch):
                return BatchResp(self.batch(batch))
            case SequenceReq(sql=sql, sql_id=sql_id):
                self._session.run_all(self._text(sql, sql_id))
                return SequenceResp()
            case DescribeReq(sql=sql, sql_id=sql_id):
                return DescribeResp(self._describe(self._text(sql, sql_id)))
            case StoreSqlReq(sql_id=sql_id, sql=sql):
                self._store(sql_id, sql)
                return StoreSqlResp()
            case CloseSqlReq(sql_id=sql_id):
                self._stored_sql.pop(sql_id, None)
                return CloseSqlResp()
            case GetAutocommitReq():
                return GetAutocommitResp(self._session.is_autocommit)
            case CloseReq():
                return CloseResp()

    def _text(self, sql: str | None, sql_id: int | None) -> str:
        if sql is not None and sql_id is None:
            return sql
        if sql is not None or sql_id is None:
            raise InvalidInput("a statement needs either `sql` or `sql_id`")
        if sql_id not in self._stored_sql:
            raise InvalidInput(f"no SQL is stored under `sql_id` {sql_id}")
        return self._stored_sql[sql_id]

    def _store(self, sql_id: int, sql: str) -> None:
        if sql_id in self._stored_sql:
            raise InvalidInput(f"SQL is already stored under `sql_id` {sql_id}; close it first")
        if len(self._stored_sql) >= _MAX_STORED:
            raise SqlFailure(f"a stream stores at most {_MAX_STORED} SQL texts", "SQL_STORE_TOO_MANY")
        if sum(map(len, self._stored_sql.values())) + len(sql) > _MAX_STORED_LENGTH:
            raise SqlFailure(f"a stream stores at most {_MAX_STORED_LENGTH} characters of SQL", "SQL_STORE_TOO_LARGE")
        self._stored_sql[sql_id] = sql

    def _describe(self, sql: str) -> DescribeResult:
        found = self._session.describe(sql)
        # The binding reports names without their prefix, which the text has.
        prefixed = {sql[start + 1 : end]: sql[start:end] for start, end in reversed(variables(sql))}
        return DescribeResult(
            params=[DescribeParam(name and prefixed.get(name, name)) for name in found.names],
            cols=[DescribeCol(col.name or "", col.decltype) for col in found.columns],
            is_explain=found.is_explain,
            is_readonly=found.is_readonly,
        )


def cursor_entries(result: BatchResult) -> list[CursorEntry]:
    """A batch's result as the entries of a cursor."""
    entries: list[CursorEntry] = []
    for step, (done, error) in enumerate(zip(result.step_results, result.step_errors, strict=True)):
        if error is not None:
            entries.append(StepErrorEntry(step, error))
        if done is not None:
            entries.append(StepBeginEntry(step, done.cols))
            entries.extend(RowEntry(row) for row in done.rows)
            entries.append(StepEndEntry(done.affected_row_count, done.last_insert_rowid))
    return entries


def _check_count(entries: Sequence[object], what: str, of_what: str) -> None:
    """Limit the number of entries: each has a part in the answer, even as an error, and many small ones add up."""
    if len(entries) > _MAX_ENTRIES:
        raise InvalidInput(f"a {what} may have {_MAX_ENTRIES} {of_what}; send the rest in another")


def _bindings(stmt: Stmt) -> Bindings:
    if stmt.args and stmt.named_args:
        raise SqlFailure("give arguments by position or by name, not both", "ARGS_BOTH_POSITIONAL_AND_NAMED")
    return to_native_map(stmt.named_args) if stmt.named_args else to_natives(stmt.args)
