"""Embedded replicas: their pulls are forwarded to sqld as they are, their writes only after the guard's check."""

import math
import time

from freehold.errors import InvalidInput, ProviderUnavailable
from freehold.lru import Lru
from freehold.providers.published import Published, RegistryBatches
from freehold.providers.serving import Blocked, Disconnect, ReplicaCall, ReplicaReply
from freehold.providers.sqld.checks.entitled import Claim
from freehold.providers.sqld.checks.known import hints_of
from freehold.providers.sqld.checks.schemas import Schemas
from freehold.providers.sqld.checks.sizes import may_be_unstoppable
from freehold.providers.sqld.checks.transactions import TRANSACTION_S, too_long
from freehold.providers.sqld.client.admin import SqldAdmin
from freehold.providers.sqld.client.namespaces import DISCONNECT, GRPC, Namespaces
from freehold.providers.sqld.client.protobuf import framed
from freehold.providers.sqld.client.streams import REPLICA_S, Place
from freehold.providers.sqld.client.upstream import Answer
from freehold.providers.sqld.replicas.messages import (
    ProxyMessages,
    connection_of,
    leaves_transaction,
    steps_of,
    texts_of,
    unframed,
)
from freehold.providers.sqld.turns.breaking import Limited, Stoppable
from freehold.providers.sqld.turns.shares import Turn
from freehold.providers.sqld.turns.turns import Turns

_SMALL_BODY_BYTES = 32_768
_MAX_PULL_BYTES = 65_536  # a pull is a few numbers
_REMEMBERED = 10_000
_ABORTED = 10  # a gRPC status code


class SqldReplicas:
    """Implements `ReplicaServer` in front of sqld."""

    def __init__(
        self,
        namespaces: Namespaces,
        admin: SqldAdmin,
        secret: bytes,
        turns: Turns,
        published: Published | None,
        *,
        schemas: Schemas,
        timeout_s: float = 60.0,
        transaction_s: float = TRANSACTION_S,
    ) -> None:
        """Without `published` tokens have no profiles: one that may write may also change the schema."""
        self._transaction_s = transaction_s
        self._in_transaction: Lru[str, float] = Lru(_REMEMBERED)  # since when, by connection
        self._turns = turns
        self._registry = None if published is None else RegistryBatches(published)
        self._namespaces = namespaces
        self._schemas = schemas
        self._desk = schemas.desk
        self._admin = admin
        self._messages = ProxyMessages(secret, has_profiles=published is not None)
        self._timeout_s = timeout_s

    async def replicate(self, call: ReplicaCall, disconnect: Disconnect) -> ReplicaReply:
        """Carry out one call; see `ReplicaServer`."""
        if len(call.body) <= _SMALL_BODY_BYTES:
            message, claim = await self._desk.run_soon(
                call.grant.database_name, disconnect, lambda: self._checked(call)
            )
        else:
            message, claim = await self._desk.run(call.grant.database_name, disconnect, lambda: self._checked(call))
        if claim is not None and not (self._registry and await self._registry.includes(claim.batch)):
            raise claim.refusal
        await self._check_open(call.grant.database_name)
        if call.method.startswith("proxy.") and await self._end_overlong(call, message):
            return ReplicaReply(grpc_status=_ABORTED, message=str(too_long(self._transaction_s)))
        texts = texts_of(call.method, message)
        if not texts:
            return await self._carried_out(call, message, disconnect)
        return await self._schemas.run(
            lambda: self._carried_out(call, message, disconnect),
            call.grant.database_name,
            texts,
            disconnect,
            hints=hints_of(texts),
            may_change=claim is not None or call.grant.profile == "full" or self._registry is None,
            leaves_stream=True,
        )

    async def _carried_out(self, call: ReplicaCall, message: bytes, disconnect: Disconnect) -> ReplicaReply:
        turn = await self._turn(call, message, disconnect)
        try:
            place = await self._place(call, message)
        except BaseException:
            if turn is not None:
                turn.leave()
            raise
        try:
            answer = await self._answer(call, framed(message), place, turn, disconnect)
            if call.method == "proxy.Proxy/Execute":
                self._note(message, answer)
            reply = _reply(answer, self._timeout_s)
        except BaseException:
            place.leave()
            raise
        if reply.rest is None:
            place.leave()
        else:
            answer.when_done(place.leave)
            disconnect.when_lost(answer.close)
        return reply

    async def _turn(self, call: ReplicaCall, message: bytes, disconnect: Disconnect) -> Turn | None:
        """A turn for calls that run SQL; pulls only read the log."""
        name = call.grant.database_name
        if call.method == "proxy.Proxy/Execute":
            steps = steps_of(message)
            return await self._turns.enter(
                name,
                disconnect,
                steps,
                is_program=steps > 1,
                is_unstoppable=any(map(may_be_unstoppable, texts_of(call.method, message))),
                goes_on=self._namespaces.has_open(name, connection_of(message)),
            )
        return await self._turns.enter(name, disconnect) if call.method == "proxy.Proxy/Describe" else None

    async def _place(self, call: ReplicaCall, message: bytes) -> Place:
        """A place for the call: sqld opens a connection for each id that a replica names, and holds it until the id is
        disconnected or unused for a minute."""
        if not call.method.startswith("proxy."):
            return await self._namespaces.place(call.grant.database_name)
        connection_id = connection_of(message)
        place = await self._namespaces.place(call.grant.database_name, connection_id)
        if call.method != DISCONNECT:
            place.keep_unseen(REPLICA_S, connection_id)
        return place

    async def _end_overlong(self, call: ReplicaCall, message: bytes) -> bool:
        """Whether the connection was in one transaction for too long, in which case it is ended."""
        connection_id = connection_of(message)
        since = self._in_transaction.get(connection_id, math.inf)
        if call.method == DISCONNECT or time.monotonic() - since < self._transaction_s:
            return False
        del self._in_transaction[connection_id]
        await self._namespaces.disconnect(call.grant.database_name, connection_id)
        return True

    def _note(self, message: bytes, answer: Answer) -> None:
        """Remember since when the connection is in a transaction, if it is."""
        connection_id = connection_of(message)
        is_in_one = leaves_transaction(answer.peek()) if answer.is_complete else None
        if is_in_one:
            self._in_transaction.setdefault(connection_id, time.monotonic())
        elif is_in_one is False:
            self._in_transaction.pop(connection_id, None)

    async def _answer(
        self, call: ReplicaCall, body: bytes, place: Place, turn: Turn | None, disconnect: Disconnect
    ) -> Answer:
        headers = [*GRPC]
        if call.session_token is not None:
            headers.append(("x-session-token", call.session_token))
        grant = call.grant
        try:
            with Stoppable(turn, disconnect) if turn else Limited(self._timeout_s, disconnect):
                answer = await self._namespaces.post(
                    grant.database_name, grant.access_level, f"/{call.method}", body, headers, place=place
                )
                if turn is not None:
                    turn.leave()  # sqld answers once all has run
                return answer
        except TimeoutError as error:
            raise ProviderUnavailable("sqld did not answer in time; whether it ran is unknown") from error

    async def _check_open(self, database_name: str) -> None:
        """Refuse a suspended database: sqld itself continues to replicate a namespace whose reads are blocked."""
        config = await self._admin.config(database_name)
        if config is not None and config.block_reads:
            raise Blocked(f"the database is suspended: {config.block_reason or 'ask the operator'}")

    def _checked(self, call: ReplicaCall) -> tuple[bytes, Claim | None]:
        match call.method:
            case "proxy.Proxy/Execute":
                return self._messages.execute(unframed(call.body), call.grant)
            case "proxy.Proxy/Describe":
                return self._messages.describe(unframed(call.body), call.grant), None
            case "proxy.Proxy/Disconnect":
                return self._messages.disconnect(unframed(call.body), call.grant), None
        if len(call.body) > _MAX_PULL_BYTES:
            raise InvalidInput("a pull has a few bytes")
        return unframed(call.body), None


def _reply(answer: Answer, timeout_s: float) -> ReplicaReply:
    if answer.status != 200:
        answer.close()
        raise ProviderUnavailable(f"sqld answered a replica with HTTP status {answer.status}")
    status = answer.headers.get(b"grpc-status", b"").decode("latin-1")
    if status.isdigit() and status != "0":
        message = answer.headers.get(b"grpc-message", b"").decode("latin-1")
        answer.close()
        return ReplicaReply(grpc_status=int(status), message=message)
    return ReplicaReply(rest=answer.chunks(timeout_s))
