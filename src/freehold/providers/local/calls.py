"""Hrana calls as tasks on a connection: what a worker runs, and the bytes that come of it."""

import msgspec

from freehold.libsql.protocol import (
    BatchV1Req,
    BatchV1Resp,
    CursorErrorEntry,
    CursorReq,
    CursorResp,
    ExecuteV1Req,
    ExecuteV1Resp,
    PipelineReq,
    PipelineResp,
)
from freehold.providers.failures import SqlFailure, error_of
from freehold.providers.local.jobs import Task
from freehold.providers.local.streams import Stream
from freehold.providers.serving import Reply
from freehold.providers.sqlite.limits import Budget
from freehold.providers.sqlite.pipeline import Pipeline, cursor_entries
from freehold.providers.sqlite.rights import Rights
from freehold.providers.sqlite.session import Session
from freehold.sql.guard import RefusedSql
from freehold.sql.profiles import ProfileNeeded

_encoder = msgspec.json.Encoder()


def pipeline(
    request: PipelineReq, stream: Stream, rights: Rights, result_bytes: int, *, goes_on: bool
) -> Task:
    """The requests of a pipeline; with `goes_on` the stream has a baton for the next one."""

    def task(session: Session) -> Reply:
        results = Pipeline(session, stream.stored_sql, Budget(result_bytes), rights).run(request.requests)
        baton = stream.next_baton if goes_on else None
        return Reply(_encoder.encode(PipelineResp(baton, None, results)))

    return task


def cursor(request: CursorReq, stream: Stream, rights: Rights, result_bytes: int) -> Task:
    """The batch of a cursor, one document a line."""

    def task(session: Session) -> Reply:
        on_session = Pipeline(session, stream.stored_sql, Budget(result_bytes), rights)
        try:
            entries = cursor_entries(on_session.batch(request.batch))
        except (ProfileNeeded, RefusedSql) as error:
            entries = [CursorErrorEntry(error_of(error))]
        return Reply(_encoder.encode_lines([CursorResp(stream.next_baton, None), *entries]))

    return task


def stateless(request: ExecuteV1Req | BatchV1Req, rights: Rights, result_bytes: int) -> Task:
    """A call of version 1, which has no stream."""

    def task(session: Session) -> Reply:
        on_session = Pipeline(session, {}, Budget(result_bytes), rights)
        if isinstance(request, BatchV1Req):
            return Reply(_encoder.encode(BatchV1Resp(on_session.batch(request.batch))))
        try:
            return Reply(_encoder.encode(ExecuteV1Resp(on_session.execute(request.stmt))))
        except SqlFailure as failure:
            return Reply(_encoder.encode(failure.error), status=400)

    return task
