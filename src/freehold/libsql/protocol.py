"""Hrana over HTTP, JSON encoding, as structs that the client and the server share.

Source: the Hrana 3 specification in libSQL's repository (docs/HRANA_3_SPEC.md), and what sqld 0.24 answers.
"""

from msgspec import Struct

# Values ------------------------------------------------------------------------------------------
# There are many of these, and they hold nothing that the garbage collector would have to track.


class Null(Struct, tag="null", frozen=True, gc=False):
    """SQL NULL."""


class Integer(Struct, tag="integer", frozen=True, gc=False):
    """64-bit integer; a decimal string on the wire, since JavaScript cannot hold it."""

    value: str


class Float(Struct, tag="float", frozen=True, gc=False):
    """64-bit float. JSON has no infinities: their value is sent as null, as sqld does."""

    value: float | None


class Text(Struct, tag="text", frozen=True, gc=False):
    """UTF-8 text."""

    value: str


class Blob(Struct, tag="blob", frozen=True, gc=False):
    """Bytes as standard base64: padded or not when read, unpadded when written."""

    base64: str


Value = Null | Integer | Float | Text | Blob


# Statements and batches --------------------------------------------------------------------------


class NamedArg(Struct, frozen=True):
    """An argument by name; the prefix `:`, `@` or `$` may be left out."""

    name: str
    value: Value


class Stmt(Struct, frozen=True, omit_defaults=True):
    """One SQL statement with its arguments. Exactly one of `sql` and `sql_id`."""

    sql: str | None = None
    sql_id: int | None = None
    args: tuple[Value, ...] = ()
    named_args: tuple[NamedArg, ...] = ()
    want_rows: bool = True
    replication_index: str | int | None = None


class CondOk(Struct, tag="ok", frozen=True):
    """True when step `step` ran without error."""

    step: int


class CondError(Struct, tag="error", frozen=True):
    """True when step `step` ran and failed."""

    step: int


class CondNot(Struct, tag="not", frozen=True):
    """True when `cond` is false."""

    cond: "Cond"


class CondAnd(Struct, tag="and", frozen=True):
    """True when all of `conds` are true."""

    conds: tuple["Cond", ...]


class CondOr(Struct, tag="or", frozen=True):
    """True when one of `conds` is true."""

    conds: tuple["Cond", ...]


class CondIsAutocommit(Struct, tag="is_autocommit", frozen=True):
    """True when no transaction is open."""


Cond = CondOk | CondError | CondNot | CondAnd | CondOr | CondIsAutocommit


class BatchStep(Struct, frozen=True, omit_defaults=True):
    """A statement that runs when its condition, if any, holds."""

    stmt: Stmt
    condition: Cond | None = None


class Batch(Struct, frozen=True, omit_defaults=True):
    """Steps run in order on one stream. A batch is not a transaction by itself."""

    steps: tuple[BatchStep, ...]
    replication_index: str | int | None = None


# Requests ----------------------------------------------------------------------------------------


class CloseReq(Struct, tag="close", frozen=True):
    """End the stream."""


class ExecuteReq(Struct, tag="execute", frozen=True):
    """Run one statement."""

    stmt: Stmt


class BatchReq(Struct, tag="batch", frozen=True):
    """Run a batch."""

    batch: Batch


class SequenceReq(Struct, tag="sequence", frozen=True):
    """Run statements separated by `;` until the first error; no rows come back."""

    sql: str | None = None
    sql_id: int | None = None


class DescribeReq(Struct, tag="describe", frozen=True):
    """Parse a statement and describe its parameters and columns."""

    sql: str | None = None
    sql_id: int | None = None


class StoreSqlReq(Struct, tag="store_sql", frozen=True):
    """Keep SQL text on the stream under a number."""

    sql_id: int
    sql: str


class CloseSqlReq(Struct, tag="close_sql", frozen=True):
    """Forget a stored SQL text."""

    sql_id: int


class GetAutocommitReq(Struct, tag="get_autocommit", frozen=True):
    """Ask whether a transaction is open (v3)."""


StreamReq = CloseReq | ExecuteReq | BatchReq | SequenceReq | DescribeReq | StoreSqlReq | CloseSqlReq | GetAutocommitReq


class PipelineReq(Struct, frozen=True):
    """Body of `POST v2/pipeline` and `v3/pipeline`."""

    requests: tuple[StreamReq, ...]
    baton: str | None = None


# Results -----------------------------------------------------------------------------------------


class Error(Struct, frozen=True):
    """Why something failed. `code` is for programs, e.g. `SQLITE_CONSTRAINT`."""

    message: str
    code: str | None = None


class Col(Struct, frozen=True):
    """A result column."""

    name: str | None
    decltype: str | None = None


class StmtResult(Struct, frozen=True):
    """The result of one statement. `rows` are in column order."""

    cols: tuple[Col, ...] = ()
    rows: list[list[Value]] = []
    affected_row_count: int = 0
    last_insert_rowid: str | None = None
    replication_index: str | None = None
    rows_read: int = 0
    rows_written: int = 0
    query_duration_ms: float = 0.0


class BatchResult(Struct, frozen=True):
    """One entry per step in both lists; a step that was skipped has `None` in both."""

    step_results: list[StmtResult | None]
    step_errors: list[Error | None]
    replication_index: str | None = None


class CloseResp(Struct, tag="close", frozen=True):
    """The stream is closed."""


class ExecuteResp(Struct, tag="execute", frozen=True):
    """Answer to `ExecuteReq`."""

    result: StmtResult


class BatchResp(Struct, tag="batch", frozen=True):
    """Answer to `BatchReq`."""

    result: BatchResult


class SequenceResp(Struct, tag="sequence", frozen=True):
    """The whole sequence ran."""


class DescribeParam(Struct, frozen=True):
    """A parameter; `name` is None for a positional one."""

    name: str | None


class DescribeCol(Struct, frozen=True):
    """A column that the statement would return."""

    name: str
    decltype: str | None


class DescribeResult(Struct, frozen=True):
    """The description of a statement that was not run."""

    params: list[DescribeParam]
    cols: list[DescribeCol]
    is_explain: bool
    is_readonly: bool


class DescribeResp(Struct, tag="describe", frozen=True):
    """Answer to `DescribeReq`."""

    result: DescribeResult


class StoreSqlResp(Struct, tag="store_sql", frozen=True):
    """The text is stored."""


class CloseSqlResp(Struct, tag="close_sql", frozen=True):
    """The text is forgotten."""


class GetAutocommitResp(Struct, tag="get_autocommit", frozen=True):
    """Whether the stream is outside any transaction."""

    is_autocommit: bool


StreamResp = (
    CloseResp | ExecuteResp | BatchResp | SequenceResp | DescribeResp | StoreSqlResp | CloseSqlResp | GetAutocommitResp
)


class StreamOk(Struct, tag="ok", frozen=True):
    """A request of the pipeline that worked."""

    response: StreamResp


class StreamError(Struct, tag="error", frozen=True):
    """A request of the pipeline that failed; later ones still ran."""

    error: Error


class PipelineResp(Struct, frozen=True):
    """Response to a pipeline; one entry in `results` for each request."""

    baton: str | None
    base_url: str | None
    results: list[StreamOk | StreamError]


class CursorReq(Struct, frozen=True):
    """Body of `POST v3/cursor`."""

    batch: Batch
    baton: str | None = None


class CursorResp(Struct, frozen=True):
    """First line of the response to a cursor request; the entries follow, one per line."""

    baton: str | None
    base_url: str | None


class StepBeginEntry(Struct, tag="step_begin", frozen=True):
    """Rows of a step follow."""

    step: int
    cols: tuple[Col, ...]


class RowEntry(Struct, tag="row", frozen=True):
    """A row of the current step."""

    row: list[Value]


class StepEndEntry(Struct, tag="step_end", frozen=True):
    """The current step is done."""

    affected_row_count: int
    last_insert_rowid: str | None


class StepErrorEntry(Struct, tag="step_error", frozen=True):
    """A step failed."""

    step: int
    error: Error


class CursorErrorEntry(Struct, tag="error", frozen=True):
    """The cursor's batch failed as a whole; this is the last entry."""

    error: Error


CursorEntry = StepBeginEntry | RowEntry | StepEndEntry | StepErrorEntry | CursorErrorEntry


class ExecuteV1Req(Struct, frozen=True):
    """Body of `POST v1/execute`."""

    stmt: Stmt


class ExecuteV1Resp(Struct, frozen=True):
    """Answer to `POST v1/execute`."""

    result: StmtResult


class BatchV1Req(Struct, frozen=True):
    """Body of `POST v1/batch`."""

    batch: Batch


class BatchV1Resp(Struct, frozen=True):
    """Answer to `POST v1/batch`."""

    result: BatchResult
