"""Requests on their way to sqld, held against their token's profile.

sqld knows reading and writing only, so what may change a schema is decided here, before it gets anything. SQL may be
stored on a stream, and no process of ours remembers what: a text that goes beyond the profile is stored only by a
pipeline that opens its stream and closes it, so that all of its uses are seen.
"""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from freehold.errors import Forbidden, InvalidInput
from freehold.libsql.profiles import Profile, covers, refusal
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchV1Req,
    CloseReq,
    CloseSqlReq,
    CursorReq,
    DescribeReq,
    ExecuteReq,
    ExecuteV1Req,
    PipelineReq,
    SequenceReq,
    StoreSqlReq,
    StreamReq,
)
from freehold.providers.published import inlined
from freehold.providers.sqld.requests import Looked, looked_at


class Claim(NamedTuple):
    """A batch that may be sent only if it is the registry's own, and the refusal if it is not."""

    batch: Batch
    refusal: Forbidden


class Entitled(NamedTuple):
    """A request that its token may send, once each of the claims is found true."""

    request: Looked
    claims: tuple[Claim, ...] = ()


def entitled(request: Looked, profile: Profile) -> Entitled:
    """The request as it may go on.

    Raises:
        ProfileNeeded, RefusedSql: the profile does not allow some of it, and no claim could help.
    """
    if covers(profile, request.need) and not request.stores:
        return Entitled(request)  # as nearly all are
    claims: list[Claim] = []
    match request.body:
        case PipelineReq() as body:
            kept = _Pipeline(body, profile).checked(claims)
            if claims:
                request = looked_at(replace(body, requests=kept))
        case ExecuteV1Req(stmt=stmt):
            _check(stmt.sql, profile)
        case CursorReq(batch=batch) | BatchV1Req(batch=batch):
            claims += _claims(batch, profile)
    return Entitled(request, tuple(claims))


class _Pipeline:
    """The requests of one pipeline in order, with what they store."""

    def __init__(self, request: PipelineReq, profile: Profile) -> None:
        requests = request.requests
        self._requests = requests
        self._profile = profile
        self._stored: dict[int, str] = {}
        self._is_whole = request.baton is None and bool(requests) and type(requests[-1]) is CloseReq

    def checked(self, claims: list[Claim]) -> tuple[StreamReq, ...]:
        """The requests; those with a claim have all their SQL written out."""
        return tuple(self._checked(each, claims) for each in self._requests)

    def _checked(self, request: StreamReq, claims: list[Claim]) -> StreamReq:
        match request:
            case ExecuteReq(stmt=stmt):
                _check(self._text(stmt.sql, stmt.sql_id), self._profile)
            case SequenceReq(sql=sql, sql_id=sql_id) | DescribeReq(sql=sql, sql_id=sql_id):
                _check(self._text(sql, sql_id), self._profile)
            case StoreSqlReq(sql_id=sql_id, sql=sql):
                self._store(sql_id, sql)
            case CloseSqlReq(sql_id=sql_id):
                self._stored.pop(sql_id, None)
            case BatchReq(batch=batch):
                whole = inlined(batch, self._stored)
                found = list(_claims(whole, self._profile))
                claims += found
                return BatchReq(whole) if found else request
        return request

    def _text(self, sql: str | None, sql_id: int | None) -> str | None:
        return self._stored.get(sql_id) if sql is None and sql_id is not None else sql

    def _store(self, sql_id: int, sql: str) -> None:
        if sql_id in self._stored:
            raise InvalidInput(f"SQL is already stored under `sql_id` {sql_id}; close it first")
        if not self._is_whole:
            _check(sql, self._profile)
        self._stored[sql_id] = sql


def _claims(batch: Batch, profile: Profile) -> Iterator[Claim]:
    """At most one: the batch passes as a whole or not at all."""
    for step in batch.steps:
        error = None if step.stmt.sql is None else refusal(step.stmt.sql, profile)
        if error is not None:
            if profile not in {"rows", "full"}:
                raise error
            yield Claim(batch, error)
            return


def _check(sql: str | None, profile: Profile) -> None:
    error = None if sql is None else refusal(sql, profile)
    if error is not None:
        raise error
