"""The SQL in a client's request."""

from collections.abc import Iterator

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
    StoreSqlReq,
    StreamReq,
)

Body = PipelineReq | CursorReq | ExecuteV1Req | BatchV1Req


def texts_of(request: Body) -> Iterator[str]:
    """All SQL in it, in order. What is stored on its stream is not."""
    for sql in _texts(request):
        if sql is not None:
            yield sql


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
