"""The SQL in a client's request."""

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchV1Req,
    CursorReq,
    DescribeReq,
    ExecuteReq,
    ExecuteV1Req,
    PipelineReq,
    SequenceReq,
    Stmt,
    StoreSqlReq,
    StreamReq,
)

Body = PipelineReq | CursorReq | ExecuteV1Req | BatchV1Req


def texts_of(request: Body) -> Iterator[str]:
    """All SQL in it, in order. What is stored on its stream is not."""
    for sql in _texts(request):
        if sql is not None:
            yield sql


def with_texts(request: Body, instead: Mapping[str, str]) -> Body:
    """The request with other texts in the place of some."""

    def other(sql: str | None) -> str | None:
        return sql if sql is None else instead.get(sql, sql)

    def of_batch(batch: Batch) -> Batch:
        return replace(batch, steps=tuple(replace(step, stmt=of_stmt(step.stmt)) for step in batch.steps))

    def of_stmt(stmt: Stmt) -> Stmt:
        return replace(stmt, sql=other(stmt.sql))

    def of_step(each: StreamReq) -> StreamReq:
        match each:
            case ExecuteReq(stmt=stmt):
                return replace(each, stmt=of_stmt(stmt))
            case BatchReq(batch=batch):
                return replace(each, batch=of_batch(batch))
            case SequenceReq(sql=sql) | DescribeReq(sql=sql) | StoreSqlReq(sql=sql):
                return replace(each, sql=other(sql))
        return each

    match request:
        case PipelineReq(requests=requests):
            return replace(request, requests=tuple(map(of_step, requests)))
        case ExecuteV1Req(stmt=stmt):
            return replace(request, stmt=of_stmt(stmt))
        case CursorReq(batch=batch) | BatchV1Req(batch=batch):
            return replace(request, batch=of_batch(batch))


def _texts(request: Body) -> Iterator[str | None]:
    match request:
        case PipelineReq(requests=requests):
            for each in requests:
                yield from _texts_of_step(each)
        case ExecuteV1Req(stmt=stmt):
            yield stmt.sql
        case CursorReq(batch=batch) | BatchV1Req(batch=batch):
            yield from _texts_of_batch(batch)


def _texts_of_step(request: StreamReq) -> Iterator[str | None]:
    match request:
        case ExecuteReq(stmt=stmt):
            yield stmt.sql
        case BatchReq(batch=batch):
            yield from _texts_of_batch(batch)
        case SequenceReq(sql=sql) | DescribeReq(sql=sql) | StoreSqlReq(sql=sql):
            yield sql


def _texts_of_batch(batch: Batch) -> Iterator[str | None]:
    for step in batch.steps:
        yield step.stmt.sql
