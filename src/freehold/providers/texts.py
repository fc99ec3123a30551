"""Clients' requests as received, and the SQL in them."""

from collections.abc import Callable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from freehold.errors import InvalidInput
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchV1Req,
    CursorReq,
    DescribeReq,
    ExecuteReq,
    ExecuteV1Req,
    GetAutocommitReq,
    PipelineReq,
    SequenceReq,
    Stmt,
    StoreSqlReq,
    StreamReq,
)
from freehold.providers.serving import Endpoint

Body = PipelineReq | CursorReq | ExecuteV1Req | BatchV1Req

_DECODERS: dict[Endpoint, Callable[[bytes], Body]] = {
    "v1/execute": msgspec.json.Decoder(ExecuteV1Req).decode,
    "v1/batch": msgspec.json.Decoder(BatchV1Req).decode,
    "v2/pipeline": msgspec.json.Decoder(PipelineReq).decode,
    "v3/pipeline": msgspec.json.Decoder(PipelineReq).decode,
    "v3/cursor": msgspec.json.Decoder(CursorReq).decode,
}


def request_in(endpoint: Endpoint, body: bytes) -> Body:
    """The request for this endpoint. Blocks in proportion to the size of the body.

    Raises:
        InvalidInput: the body is not such a request.
    """
    try:
        request = _DECODERS[endpoint](body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request does not have the form of the protocol: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("the request is not valid JSON") from error
    if (
        endpoint == "v2/pipeline"
        and isinstance(request, PipelineReq)
        and any(isinstance(each, GetAutocommitReq) for each in request.requests)
    ):
        raise InvalidInput("`get_autocommit` needs version 3 of the protocol: use v3/pipeline")
    return request


def texts_of(request: Body) -> Iterator[str]:
    """All SQL in the request, in order, without what is stored on its stream."""
    for sql in _texts(request):
        if sql is not None:
            yield sql


def with_texts(request: Body, instead: Mapping[str, str]) -> Body:
    """The request with some texts replaced."""

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
