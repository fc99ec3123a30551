"""Hrana requests on their way to sqld: read, checked, and written anew.

What goes on is our own encoding of what was checked, never the bytes that came: nothing can mean one thing here and
another there.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from freehold.errors import Forbidden, InvalidInput
from freehold.libsql.guard import (
    RefusedSql,
    check_reading_sql,
    check_sql,
    may_change_schema,
    writes_shadow,
)
from freehold.libsql.protocol import (
    BatchReq,
    BatchV1Req,
    CloseReq,
    CursorReq,
    DescribeReq,
    ExecuteReq,
    ExecuteV1Req,
    GetAutocommitReq,
    PipelineReq,
    SequenceReq,
    StoreSqlReq,
)
from freehold.providers.serving import Endpoint
from freehold.providers.sqld.searches import check_searches, searches
from freehold.providers.sqld.sizes import check_sizes
from freehold.providers.texts import Body, texts_of
from freehold.tenants.types import AccessLevel

_BEGINS = re.compile("begin|savepoint", re.IGNORECASE)
_encode = msgspec.json.Encoder().encode
_DECODERS: dict[Endpoint, Callable[[bytes], Any]] = {
    "v1/execute": msgspec.json.Decoder(ExecuteV1Req).decode,
    "v1/batch": msgspec.json.Decoder(BatchV1Req).decode,
    "v2/pipeline": msgspec.json.Decoder(PipelineReq).decode,
    "v3/pipeline": msgspec.json.Decoder(PipelineReq).decode,
    "v3/cursor": msgspec.json.Decoder(CursorReq).decode,
}


class RefusedRequest(Forbidden):
    """SQL that its tenant may not run, for the reason given. `baton` is its stream's, as it came."""

    def __init__(self, reason: Forbidden, baton: str | None) -> None:
        super().__init__(str(reason))
        self.code = reason.code
        self.baton = baton


def checked(endpoint: Endpoint, body: bytes, access_level: AccessLevel) -> tuple[Body, list[str]]:
    """The request, and all its SQL, which is inside the rules. Blocking for as long as the body is large.

    sqld lets a token for reading take the write lock, and everybody else wait for it; here it does not.

    Raises:
        InvalidInput: not a request of this endpoint.
        RefusedRequest: some SQL reaches outside the tenant's own database.
    """
    request = _decoded(endpoint, body)
    texts = list(texts_of(request))
    try:
        for sql in texts:
            check_sql(sql)
            check_sizes(sql)
            if access_level == "read_only":
                check_reading_sql(sql)
        if any(map(searches, texts)):
            check_searches(request)
    except RefusedSql as error:
        raise RefusedRequest(error, baton_of(request)) from error
    if endpoint == "v2/pipeline" and isinstance(request, PipelineReq):
        _check_version_2(request)
    return request, texts


def baton_of(request: Body) -> str | None:
    """The baton that the client sent."""
    return request.baton if isinstance(request, PipelineReq | CursorReq) else None


def work_in(request: Body) -> tuple[int, bool]:
    """How many statements it has, and whether some run whatever becomes of those before. A sequence counts as two."""
    match request:
        case PipelineReq(requests=requests):
            count = 0
            is_program = False
            for each in requests:
                kind = type(each)
                if kind is ExecuteReq or kind is DescribeReq:
                    count += 1
                elif kind is SequenceReq:
                    count += 2
                elif isinstance(each, BatchReq):
                    count += len(each.batch.steps)
                    is_program = is_program or len(each.batch.steps) > 1
            return count, is_program
        case ExecuteV1Req():
            return 1, False
        case CursorReq(batch=batch) | BatchV1Req(batch=batch):
            return len(batch.steps), len(batch.steps) > 1


def may_leave_stream(request: Body) -> bool:
    """Whether sqld may have a stream open after it."""
    if isinstance(request, PipelineReq):
        return not (request.requests and type(request.requests[-1]) is CloseReq)
    return isinstance(request, CursorReq)


def may_begin_transaction(texts: Sequence[str]) -> bool:
    """Whether a stream may be in a transaction after them that was in none before; never False by mistake."""
    return any(_BEGINS.search(sql) for sql in texts)


def check_stored(request: Body) -> None:
    """Return if nothing is stored that must be seen when it runs: a stream that stays open may run it in later calls.

    Raises:
        RefusedSql: something is.
    """
    if isinstance(request, PipelineReq):
        for each in request.requests:
            if isinstance(each, StoreSqlReq) and (may_change_schema(each.sql) or writes_shadow(each.sql)):
                raise RefusedSql(
                    "SQL that may change the schema, or a table like those of indexes, cannot be stored on a stream "
                    "that stays open; send it whole"
                )


def encoded(request: Body, baton: str | None) -> bytes:
    """What sqld gets, with its own baton."""
    match request:
        case PipelineReq():
            request = PipelineReq(request.requests, baton)
        case CursorReq():
            request = CursorReq(request.batch, baton)
    try:
        return _encode(request)
    except UnicodeEncodeError as error:
        raise InvalidInput("a text holds half of a surrogate pair") from error


def _decoded(endpoint: Endpoint, body: bytes) -> Body:
    try:
        request: Body = _DECODERS[endpoint](body)
        return request
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request does not have the form of the protocol: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("the request is not valid JSON") from error


def _check_version_2(request: PipelineReq) -> None:
    if any(isinstance(each, GetAutocommitReq) for each in request.requests):
        raise InvalidInput("`get_autocommit` needs version 3 of the protocol: use v3/pipeline")
