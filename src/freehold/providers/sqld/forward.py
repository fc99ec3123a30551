"""Clients' Hrana calls, checked and forwarded to sqld; its answers, streamed back without what is internal."""

import contextlib
import re
import time

import msgspec

from freehold.errors import FreeholdError, NotFound, ProviderUnavailable
from freehold.libsql.protocol import CursorErrorEntry, Error
from freehold.providers.failures import Overloaded, QueryTimeout
from freehold.providers.grants import Grant
from freehold.providers.published import Published, RegistryBatches
from freehold.providers.serving import Call, Disconnect, Reply
from freehold.providers.sqld.checks.entitled import Entitled, without
from freehold.providers.sqld.checks.entitled import entitled as entitled_of
from freehold.providers.sqld.checks.requests import Looked, baton_of, encoded, in_our_words, read
from freehold.providers.sqld.checks.schemas import AskOtherwise, Schemas
from freehold.providers.sqld.checks.transactions import TRANSACTION_S, Transactions
from freehold.providers.sqld.client.keys import BatonCipher
from freehold.providers.sqld.client.namespaces import Namespaces
from freehold.providers.sqld.client.refusals import cut, streamed_with_our_errors, with_our_errors
from freehold.providers.sqld.client.streams import Place
from freehold.providers.sqld.client.upstream import Answer, BrokenOff
from freehold.providers.sqld.turns.breaking import Limited, Stoppable
from freehold.providers.sqld.turns.shares import Turn
from freehold.providers.sqld.turns.watch import Watch
from freehold.providers.texts import with_texts
from freehold.sql.guard import RefusedSql
from freehold.sql.profiles import reading_only

_SHORT_BODY_BYTES = 1024
_SMALL_BODY_BYTES = 65_536
# Two values in less than this are too short to keep a function busy for long.
_LONG_BODY_BYTES = 200_000
# Every answer starts with these two; most have neither.
_NO_BATON = b'{"baton":null,"base_url":null'
_HEAD = re.compile(rb'\{"baton":(?:null|"([^"\\]*)"),"base_url":(?:null|"(?:[^"\\]|\\.)*")(?=[,}])')
_HEAD_LIMIT_BYTES = 8192
_NO_MEMORY = b'"SQLITE_NOMEM"'


class SqldServer:
    """Implements `DatabaseServer` in front of sqld."""

    def __init__(
        self,
        namespaces: Namespaces,
        baton_key: bytes,
        watch: Watch,
        published: Published | None,
        *,
        schemas: Schemas,
        transaction_s: float = TRANSACTION_S,
    ) -> None:
        """Without `published` tokens have no profiles: one that may write may also change the schema."""
        self._namespaces = namespaces
        self._registry = None if published is None else RegistryBatches(published)
        self._schemas = schemas
        self._desk = schemas.desk
        self._batons = BatonCipher(baton_key)
        self._watch = watch
        self._turns = watch.turns
        self._timeout_s = watch.turns.call_s
        self._transactions = Transactions(namespaces, transaction_s)

    async def answer(self, call: Call, disconnect: Disconnect) -> Reply:
        """Run one Hrana call; see `DatabaseServer`."""
        entitled = await self._read(call, disconnect)
        for claim in entitled.claims:
            assert self._registry is not None  # without it nobody claims anything
            if not await self._registry.includes(claim.batch):
                entitled = without(entitled, claim)
        request = in_our_words(entitled.request)
        reply = await self._judged(call, request, disconnect, is_claimed=bool(entitled.claims))
        if entitled.refused is not None:
            return Reply(await reply.whole() + _last_entry(entitled.refused))
        if entitled.claims and call.endpoint == "v3/cursor":
            # A client that broke it off in the middle of a migration could continue with foreign keys off.
            return Reply(_without_baton(reply.body), reply.status, reply.rest)
        return reply

    async def _judged(self, call: Call, request: Looked, disconnect: Disconnect, *, is_claimed: bool) -> Reply:
        """Forward it if the database's schema allows it."""
        grant = call.grant
        try:
            return await self._schemas.run(
                lambda: self._forward(call, request, disconnect),
                grant.database_name,
                request.texts,
                disconnect,
                hints=request.hints,
                may_change=is_claimed or grant.profile == "full" or self._registry is None,
                leaves_stream=request.leaves_stream,
            )
        except AskOtherwise as question:
            texts = [sql for sql in request.texts if sql not in question.instead]
            other = request._replace(body=with_texts(request.body, question.instead), texts=texts)
            return await self._judged(call, other, disconnect, is_claimed=is_claimed)
        except RefusedSql:
            await self._give_up(baton_of(request.body), grant)
            raise

    def _entitled(self, call: Call) -> Entitled:
        grant = call.grant
        request = read(call.endpoint, call.body, grant.access_level)
        profile = grant.profile if self._registry or grant.access_level == "read_only" else None
        is_long = request.is_unstoppable and len(call.body) > _LONG_BODY_BYTES
        return entitled_of(request, profile, grant.access_level, is_long=is_long)

    async def _read(self, call: Call, disconnect: Disconnect) -> Entitled:
        """The request as it may be sent. Reading much SQL here would delay everyone else."""

        if len(call.body) <= _SHORT_BODY_BYTES:
            return self._entitled(call)
        run = self._desk.run_soon if len(call.body) <= _SMALL_BODY_BYTES else self._desk.run
        return await run(call.grant.database_name, disconnect, lambda: self._entitled(call))

    async def _forward(self, call: Call, request: Looked, disconnect: Disconnect) -> Reply:
        theirs = baton_of(request.body)
        name = call.grant.database_name
        baton, since = None, time.time()
        if theirs is not None:
            baton, since = self._batons.open(theirs, call.grant)
        # Requests that only close or ask take no time, and must not wait.
        turn = (
            await self._turns.enter(
                name,
                disconnect,
                request.statements,
                is_program=request.is_program,
                is_unstoppable=request.is_unstoppable,
                goes_on=baton is not None,
                holds_lock=baton is not None and self._namespaces.may_hold_lock(name, baton),
            )
            if request.statements
            else None
        )
        try:
            if baton is not None:
                baton, since = await self._transactions.bounded(name, baton, since)
            body = encoded(request.body, baton)
            place = await self._namespaces.place(name, baton)
        except BaseException:
            if turn is not None:
                turn.leave()
            raise
        place.since = since
        if request.leaves_stream:
            place.keep_unseen()  # until its baton is known
            place.is_plain = (baton is None or place.is_plain) and not request.may_begin
            place.has_written = place.has_written or request.may_write
        try:
            reply = await self._asked(call, body, place, turn, disconnect)
        except BaseException as error:
            has_begun = turn is not None and turn.stopped is not None
            if isinstance(error, NotFound | Overloaded) and not has_begun:  # it did not reach a stream
                place.keep(None)
            place.leave()
            raise
        if reply.rest is None:
            place.leave()
        return reply

    async def _asked(self, call: Call, body: bytes, place: Place, turn: Turn | None, disconnect: Disconnect) -> Reply:
        grant = call.grant
        try:
            with Stoppable(turn, disconnect) if turn else Limited(self._timeout_s, disconnect):
                answer = await self._namespaces.post(
                    grant.database_name, grant.access_level, f"/{call.endpoint}", body, place=place
                )
                if answer.status != 200:
                    error = self._namespaces.refusal(grant.database_name, answer.status, await answer.read())
                    place.keep(None)
                    if turn is not None:
                        turn.leave()
                    raise error
                if turn is not None and (call.endpoint != "v3/cursor" or answer.is_complete):
                    turn.leave()  # except for a cursor, sqld answers when all has run
                if answer.is_complete:
                    text = await answer.read()
                    if turn is not None and _NO_MEMORY in text:
                        self._watch.out_of_memory(turn)
                    return Reply(with_our_errors(self._with_our_baton(text, grant, place)))
        except TimeoutError as error:
            raise await self._overtime(None) from error
        except QueryTimeout as error:
            raise await self._overtime(error) from error
        except ProviderUnavailable as error:
            raise await self._broken_off(error, call) from error
        return await self._streamed(answer, call, place, turn, disconnect)

    async def _streamed(
        self, answer: Answer, call: Call, place: Place, turn: Turn | None, disconnect: Disconnect
    ) -> Reply:
        disconnect.when_lost(answer.close)
        if turn is not None:
            turn.when_stopped = answer.close
            if turn.stopped is not None:  # just when the head arrived
                answer.close()
        chunks = answer.chunks(self._timeout_s, self._turns.statement_s)
        start = b""
        try:
            async for chunk in chunks:
                start += chunk
                if len(start) >= _HEAD_LIMIT_BYTES or _is_begun(call, start):
                    break
            else:
                if turn is not None:
                    turn.leave()
                return Reply(with_our_errors(self._with_our_baton(start, call.grant, place)))
            body = self._with_our_baton(start, call.grant, place)
            at = cut(body)
            answer.when_done(lambda: _done(answer, turn, place))
            return Reply(with_our_errors(body[:at]), rest=streamed_with_our_errors(body[at:], chunks))
        except BaseException as error:
            _done(answer, turn)
            answer.close()
            head = _HEAD.match(start)
            if head is not None and head[1] is not None:  # nobody else will learn of this stream
                await self._namespaces.close_stream(call.grant.database_name, head[1].decode())
                place.keep(None)
            if turn is not None and turn.stopped is not None:
                raise await self._overtime(turn.stopped) from error
            if isinstance(error, ProviderUnavailable):
                if turn is not None and isinstance(error, BrokenOff):
                    self._turns.broke(turn)
                raise await self._broken_off(error, call) from error
            raise

    async def _broken_off(self, error: ProviderUnavailable, call: Call) -> FreeholdError:
        """The error for a broken connection: sqld breaks off a cursor without a right, even before its first line."""
        is_reading = call.endpoint == "v3/cursor" and call.grant.access_level == "read_only"
        if is_reading and await self._namespaces.is_healthy():
            return reading_only()
        return error

    async def _overtime(self, error: FreeholdError | None) -> FreeholdError:
        """The error once closing the connection has stopped a statement: if sqld is healthy, the statement's own."""
        if error is not None and not isinstance(error, QueryTimeout):
            return error
        if not await self._namespaces.is_healthy():
            return ProviderUnavailable("sqld did not answer in time; whether it ran is unknown")
        return error or QueryTimeout(
            f"the call was stopped after {self._timeout_s:g} s; see what it did before you repeat it"
        )

    def _with_our_baton(self, start: bytes, grant: Grant, place: Place) -> bytes:
        """The start of an answer for the client; the stream left open is noted in `place`."""
        if start.startswith((_NO_BATON, b'{"result"')):
            place.keep(None)
            return start
        head = _HEAD.match(start)
        if head is None:
            raise ProviderUnavailable("sqld's answer does not start as answers of Hrana do")
        theirs = None if head[1] is None else head[1].decode()
        place.keep(theirs)
        baton = b"null" if theirs is None else f'"{self._batons.encrypt(theirs, grant, place.since)}"'.encode()
        # `base_url` is an internal address, which clients must not see.
        return b"".join((b'{"baton":', baton, b',"base_url":null', start[head.end() :]))

    async def _give_up(self, theirs: str | None, grant: Grant) -> None:
        """End a stream whose client gets an error for the whole call: by the protocol it is then closed."""
        if theirs is None:
            return
        baton, _ = self._batons.open(theirs, grant)
        with contextlib.suppress(FreeholdError):
            place = await self._namespaces.place(grant.database_name, baton)
            try:
                await self._namespaces.close_stream(grant.database_name, baton)
            finally:
                place.leave()


def _without_baton(body: bytes) -> bytes:
    """The start of an answer after which the client cannot continue the stream, which expires."""
    head = _HEAD.match(body)
    return body if head is None else _NO_BATON + body[head.end() :]


def _last_entry(error: Error) -> bytes:
    """The last line of a cursor, which says why nothing more comes."""
    return msgspec.json.encode(CursorErrorEntry(error)) + b"\n"


def _is_begun(call: Call, start: bytes) -> bool:
    """Whether enough has arrived that the rest may be streamed."""
    if call.endpoint == "v3/cursor":  # its first line arrives before anything has run
        return 0 <= start.find(b"\n") < len(start) - 1
    return _HEAD.match(start) is not None


def _done(answer: Answer, turn: Turn | None, place: Place | None = None) -> None:
    """Finish a streamed answer that was read, broken off by sqld, or abandoned."""
    if place is not None:
        place.leave()
    if turn is not None:
        if answer.is_over:
            turn.leave()
        else:
            turn.linger()
