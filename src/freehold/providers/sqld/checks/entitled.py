"""Requests on their way to sqld, checked against the rules and against their token's profile.

sqld distinguishes only reading and writing, so what may change a schema is decided here, before sqld gets anything.
Single statements are refused: another text is sent in their place, see `in_place_of`. SQL may be stored on a stream,
and no process of ours remembers it: a text beyond the profile may be stored only by a pipeline that opens and closes
its stream, so that all of its uses are seen.
"""

from typing import NamedTuple

from msgspec.structs import replace

from freehold.errors import Forbidden, InvalidInput
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchStep,
    BatchV1Req,
    CloseReq,
    CloseSqlReq,
    CursorReq,
    DescribeReq,
    Error,
    ExecuteReq,
    ExecuteV1Req,
    PipelineReq,
    SequenceReq,
    Stmt,
    StoreSqlReq,
    StreamReq,
)
from freehold.profiles import Profile
from freehold.providers.failures import error_of
from freehold.providers.published import inlined
from freehold.providers.sqld.checks.requests import Looked, looked_at
from freehold.providers.sqld.checks.sizes import check_lengths, check_search, check_stored_search
from freehold.providers.sqld.client.refusals import Refusal, in_place_of
from freehold.sql.guard import MAX_LENGTH, RefusedSql, check_reading_sql, may_change_schema, writes_shadow
from freehold.sql.profiles import covers, refusal
from freehold.tenants.types import AccessLevel

_STORED_LATE = (
    "SQL that may change the schema, or a table like those of indexes, cannot be stored on a stream that stays open; "
    "send it whole"
)


class Claim(NamedTuple):
    """A batch that may be sent only if it is the registry's own, and the refusal if it is not.

    `at` is its index in its pipeline; -1 if it is the whole request.
    """

    batch: Batch
    refusal: Forbidden
    at: int = -1


class Entitled(NamedTuple):
    """A request that its token may send once each of its claims has proved true. If a cursor is `refused`, the request
    has none of its steps."""

    request: Looked
    claims: tuple[Claim, ...] = ()
    refused: Error | None = None


def entitled(request: Looked, profile: Profile | None, access_level: AccessLevel, *, is_long: bool) -> Entitled:
    """The request as it may be sent. Without a `profile`, a token that may write may also change the schema.

    Raises:
        Refusal: it is one statement, which is refused.
        ProfileNeeded, RefusedSql: it is a batch without a stream, which is refused.
    """
    if not request.faults and _is_plain(request, profile, access_level, is_long=is_long):
        return Entitled(request)  # as nearly all are
    judge = _Judge(request, profile, access_level, is_long=is_long)
    return judge.entitled()


def without(entitled: Entitled, claim: Claim) -> Entitled:
    """The same with the claim's batch refused: it is not the registry's.

    Raises:
        Forbidden: it is a batch without a stream.
    """
    request = entitled.request
    claims = tuple(each for each in entitled.claims if each is not claim)
    match request.body:
        case PipelineReq(requests=requests) as body:
            kept = (*requests[: claim.at], _refused_request(claim.refusal), *requests[claim.at + 1 :])
            return Entitled(looked_at(replace(body, requests=kept)), claims)
        case CursorReq():
            return _refused_cursor(request, claim.refusal)
    raise claim.refusal


def _is_plain(request: Looked, profile: Profile | None, access_level: AccessLevel, *, is_long: bool) -> bool:
    if request.searches or (is_long and request.is_unstoppable):
        return False
    if access_level == "read_only" and request.may_begin:
        return False
    if profile is None:
        return not (request.stores and request.leaves_stream)
    return not request.stores and covers(profile, request.need)


class _Judge:
    """One request's statements in order, with what they store."""

    def __init__(self, request: Looked, profile: Profile | None, access_level: AccessLevel, *, is_long: bool) -> None:
        self._request = request
        self._profile = profile
        self._reads_only = access_level == "read_only"
        self._is_long = is_long
        self._stored: dict[int, str] = {}
        self._claims: list[Claim] = []

    def entitled(self) -> Entitled:
        match self._request.body:
            case PipelineReq(requests=requests) as body:
                kept = tuple(self._kept(each, at) for at, each in enumerate(requests))
                return self._made(replace(body, requests=kept))
            case ExecuteV1Req(stmt=stmt):
                error = self._fault(stmt)
                if error is not None:
                    raise Refusal(error.message, error.code or "")
                return Entitled(self._request)
            case CursorReq(batch=batch) as body:
                judged = self._batch(batch)
                if isinstance(judged, Forbidden):
                    return _refused_cursor(self._request, judged)
                return self._made(replace(body, batch=judged))
            case BatchV1Req(batch=batch) as body:
                judged = self._batch(batch)
                if isinstance(judged, Forbidden):
                    raise judged
                return self._made(replace(body, batch=judged))

    def _made(self, body: PipelineReq | CursorReq | BatchV1Req) -> Entitled:
        found = self._request if body == self._request.body else looked_at(body)
        if found.faults:
            raise RefusedSql(next(iter(found.faults.values())))
        return Entitled(found, tuple(self._claims))

    def _kept(self, request: StreamReq, at: int) -> StreamReq:
        """The request to send to sqld."""
        match request:
            case ExecuteReq(stmt=stmt):
                error = self._fault(stmt)
                return request if error is None else _refused_request(error)
            case SequenceReq(sql=sql, sql_id=sql_id) | DescribeReq(sql=sql, sql_id=sql_id):
                error = self._fault(Stmt(sql=sql, sql_id=sql_id))
                return request if error is None else replace(request, sql=in_place_of(error), sql_id=None)
            case StoreSqlReq(sql_id=sql_id, sql=sql):
                return self._store(sql_id, sql)
            case CloseSqlReq(sql_id=sql_id):
                self._stored.pop(sql_id, None)
            case BatchReq(batch=batch):
                judged = self._batch(batch, at)
                return _refused_request(judged) if isinstance(judged, Forbidden) else BatchReq(judged)
        return request

    def _batch(self, batch: Batch, at: int = -1) -> Batch | Forbidden:
        """The batch with steps that nobody may run replaced, or why none of it may run: the profile allows it as a
        whole or not at all."""
        whole = inlined(batch, self._stored)
        steps = list(batch.steps)
        refused: Forbidden | None = None
        may_be_the_registrys = self._profile in {"rows", "full"}
        for number, step in enumerate(whole.steps):
            error = self._fault_of_rules(step.stmt)
            if error is not None:
                may_be_the_registrys = False
                steps[number] = BatchStep(Stmt(sql=in_place_of(error)), step.condition)
            elif refused is None:
                refused = self._beyond_profile(step.stmt.sql)
        if refused is None:
            return replace(batch, steps=tuple(steps))
        if not may_be_the_registrys:
            return refused
        self._claims.append(Claim(whole, refused, at))
        return whole

    def _store(self, sql_id: int, sql: str) -> StreamReq:
        if sql_id in self._stored:
            raise InvalidInput(f"SQL is already stored under `sql_id` {sql_id}; close it first")
        error = self._fault_of_stored(sql)
        self._stored[sql_id] = sql if error is None else in_place_of(error)
        return StoreSqlReq(sql_id, self._stored[sql_id])

    def _fault_of_stored(self, sql: str) -> Error | None:
        error = self._fault_of_text(sql) or (None if self._is_whole else _error(self._beyond_profile(sql)))
        if error is not None:
            return error
        if self._request.leaves_stream and (may_change_schema(sql) or writes_shadow(sql)):
            return Error(_STORED_LATE, "SQLITE_AUTH")
        try:
            check_stored_search(sql)
        except RefusedSql as refused:
            return error_of(refused)
        return None

    @property
    def _is_whole(self) -> bool:
        """Whether all uses of stored SQL are in the request."""
        body = self._request.body
        if not isinstance(body, PipelineReq):
            return False
        return body.baton is None and bool(body.requests) and type(body.requests[-1]) is CloseReq

    def _fault(self, stmt: Stmt) -> Error | None:
        """Why one statement, or a sequence, is refused."""
        return self._fault_of_rules(stmt) or _error(self._beyond_profile(self._text(stmt)))

    def _fault_of_rules(self, stmt: Stmt) -> Error | None:
        """Why nobody may run it with these values."""
        if stmt.sql is not None:
            error = self._fault_of_text(stmt.sql)
            if error is not None:
                return error
        try:
            if stmt.sql is not None and self._request.searches:
                check_search(stmt)
            if self._is_long:
                check_lengths(stmt, " ".join(self._stored.values()))
        except RefusedSql as refused:
            return error_of(refused)
        return None

    def _fault_of_text(self, sql: str) -> Error | None:
        fault = self._request.faults.get(sql)
        if fault is not None:
            return Error(fault, "SQLITE_TOOBIG" if len(sql) > MAX_LENGTH else "SQLITE_AUTH")
        try:
            if self._reads_only:
                check_reading_sql(sql)
        except RefusedSql as refused:
            return error_of(refused)
        return None

    def _beyond_profile(self, sql: str | None) -> Forbidden | None:
        return None if sql is None or self._profile is None else refusal(sql, self._profile)

    def _text(self, stmt: Stmt) -> str | None:
        by_number = stmt.sql is None and stmt.sql_id is not None
        return self._stored.get(stmt.sql_id or 0) if by_number else stmt.sql


def _error(refused: Forbidden | None) -> Error | None:
    return None if refused is None else error_of(refused)


def _refused_request(error: Forbidden | Error) -> StreamReq:
    return ExecuteReq(Stmt(sql=in_place_of(error)))


def _refused_cursor(request: Looked, refused: Forbidden) -> Entitled:
    assert isinstance(request.body, CursorReq)
    return Entitled(looked_at(replace(request.body, batch=Batch(()))), (), _error(refused))
