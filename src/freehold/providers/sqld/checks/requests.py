"""Hrana requests on their way to sqld: read, checked, and written again.

What is sent is our own encoding of what was checked, never the received bytes, so nothing can have two meanings.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from freehold.errors import InvalidInput
from freehold.libsql.protocol import (
    BatchReq,
    CloseReq,
    CursorReq,
    DescribeReq,
    ExecuteReq,
    ExecuteV1Req,
    PipelineReq,
    SequenceReq,
    StoreSqlReq,
)
from freehold.providers.serving import Endpoint
from freehold.providers.sqld.checks.known import BEGINS, SEARCHES, UNSTOPPABLE, known_of
from freehold.providers.texts import Body, request_in, texts_of, with_texts
from freehold.sql.pragmas import PRAGMAS, is_switch
from freehold.sql.profiles import NOTHING_NEEDED, Need, wider
from freehold.sql.tokens import tokens
from freehold.tenants.types import AccessLevel

_encode = msgspec.json.Encoder().encode


class Looked(NamedTuple):
    """A request with the facts that are needed on its way.

    `statements` is the number of its statements, a sequence counts as two; with `is_program` some run even if those
    before fail. `leaves_stream` says that sqld may have a stream open after it. Texts with `faults` may not be sent;
    `need` is the widest of its texts, `hints` are those of all.
    """

    body: Body
    texts: Sequence[str]
    statements: int
    is_program: bool
    leaves_stream: bool
    stores: bool
    faults: Mapping[str, str]
    hints: int
    need: Need
    instead: Mapping[str, str] = {}  # replacements of those of its texts that the engine gets in another form

    @property
    def searches(self) -> bool:
        return bool(self.hints & SEARCHES)

    @property
    def is_unstoppable(self) -> bool:
        """Whether something in it may run on although sqld is asked to stop; SQL that an earlier call stored counts."""
        return bool(self.hints & UNSTOPPABLE)

    @property
    def may_write(self) -> bool:
        """Whether something in it may write; SQL that an earlier call stored does not count."""
        return self.need.profile != "read_only"

    @property
    def may_begin(self) -> bool:
        """Whether it may leave a stream in a transaction that was in none before; never False by mistake."""
        return bool(self.hints & BEGINS)


def read(endpoint: Endpoint, body: bytes, access_level: AccessLevel) -> Looked:
    """The request with its facts. Blocks in proportion to the size of the body.

    Raises:
        InvalidInput: not a request of this endpoint.
    """
    found = looked_at(request_in(endpoint, body))
    if access_level == "read_only":
        request = as_reads(found.body, found.texts)
        if request is not found.body:
            return looked_at(request)
    return found


def looked_at(request: Body) -> Looked:
    """The request with its facts, found in one pass. Blocks like `read`."""
    texts: list[str] = []
    statements = 0
    is_program = stores = False
    leaves_stream = isinstance(request, CursorReq)
    if isinstance(request, PipelineReq):
        kind: type | None = None
        for each in request.requests:
            kind = type(each)
            if isinstance(each, ExecuteReq):
                statements += 1
                if each.stmt.sql is not None:
                    texts.append(each.stmt.sql)
            elif isinstance(each, BatchReq):
                steps = each.batch.steps
                statements += len(steps)
                is_program = is_program or len(steps) > 1
                texts += [step.stmt.sql for step in steps if step.stmt.sql is not None]
            elif isinstance(each, SequenceReq | DescribeReq | StoreSqlReq):
                statements += {SequenceReq: 2, DescribeReq: 1}.get(kind, 0)
                stores = stores or kind is StoreSqlReq
                if each.sql is not None:
                    texts.append(each.sql)
        leaves_stream = kind is not CloseReq
    elif isinstance(request, ExecuteV1Req):
        statements = 1
        texts += texts_of(request)
    else:
        statements = len(request.batch.steps)
        is_program = statements > 1
        texts += texts_of(request)
    hints, need = UNSTOPPABLE * _runs_stored(request), NOTHING_NEEDED
    faults: dict[str, str] = {}
    instead: dict[str, str] = {}
    for sql in texts:
        known = known_of(sql)
        hints |= known.hints
        need = wider(need, known.need)
        if known.instead is not None:
            instead[sql] = known.instead
        if known.fault is not None:
            faults[sql] = known.fault
    return Looked(request, texts, statements, is_program, leaves_stream, stores, faults, hints, need, instead)


def _runs_stored(request: Body) -> bool:
    """Whether it runs SQL that an earlier call on its stream may have stored."""
    if baton_of(request) is None:
        return False
    if isinstance(request, CursorReq):
        return any(step.stmt.sql is None for step in request.batch.steps)
    return any(
        (isinstance(each, ExecuteReq) and each.stmt.sql is None)
        or (isinstance(each, SequenceReq) and each.sql is None)
        or (isinstance(each, BatchReq) and any(step.stmt.sql is None for step in each.batch.steps))
        for each in (request.requests if isinstance(request, PipelineReq) else ())
    )


def baton_of(request: Body) -> str | None:
    """The baton that the client sent."""
    return request.baton if isinstance(request, PipelineReq | CursorReq) else None


def in_our_words(request: Looked) -> Looked:
    """The request with SQL replaced by other SQL with the same answer, where `inspection` has some."""
    if not request.instead:
        return request
    texts = [request.instead.get(sql, sql) for sql in request.texts]
    return request._replace(body=with_texts(request.body, request.instead), texts=texts, instead={})


def encoded(request: Body, baton: str | None) -> bytes:
    """The body for sqld, with sqld's own baton."""
    match request:
        case PipelineReq():
            request = PipelineReq(request.requests, baton)
        case CursorReq():
            request = CursorReq(request.batch, baton)
    try:
        return _encode(request)
    except UnicodeEncodeError as error:
        raise InvalidInput("a text holds half of a surrogate pair") from error


# For read-only tokens: sqld treats most PRAGMAs as writes, and their table functions as reads; and it grants the write
# lock to any token that asks for it when a transaction begins.


def as_reads(request: Body, texts: Sequence[str]) -> Body:
    """The request, whose SQL is `texts`, with SELECTs in place of PRAGMAs that may be read, and BEGIN without a
    lock."""
    instead = {sql: other for sql in texts if _HINT.search(sql, 0, _SHORT) and (other := _read(sql))}
    return with_texts(request, instead) if instead else request


_SHORT = 200
_HINT = re.compile("pragma|begin", re.IGNORECASE)
_LOCKING = frozenset({"immediate", "exclusive"})


@functools.lru_cache(maxsize=512)
def _read(sql: str) -> str | None:
    if len(sql) > _SHORT:
        return None
    words = [word.text.lower() for word in tokens(sql)]
    while words and words[-1] == ";":
        words.pop()
    if words[:1] == ["begin"] and words[1:2] and words[1] in _LOCKING and words[2:] in ([], ["transaction"]):
        return "BEGIN"
    if words[:1] != ["pragma"] or ";" in words:
        return None
    words = words[3:] if words[2:3] == ["."] else words[1:]
    name = words[0] if words else ""
    if len(words) == 1 and name in PRAGMAS:
        return f"SELECT * FROM pragma_{name}"
    # Nothing is written with this token, so there is nothing to enforce.
    if is_switch(words):
        return f"SELECT {name} FROM pragma_{name} WHERE false"
    return None
