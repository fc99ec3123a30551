"""Posts to sqld for one namespace, with our own credentials, and never trusts a false "doesn't exist".

With more namespaces than it keeps open, sqld now and then denies the very one that is requested. That is distinguished
here from one that is gone: the admin API knows, and a retry some milliseconds later finds it.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence

import msgspec

from freehold.backoff import Backoff
from freehold.errors import FreeholdError, ProviderUnavailable
from freehold.libsql.protocol import CloseReq, PipelineReq
from freehold.providers.names import missing
from freehold.providers.sqld.client.admin import SqldAdmin
from freehold.providers.sqld.client.keys import Credentials, NamespaceKeys
from freehold.providers.sqld.client.protobuf import disconnect_message
from freehold.providers.sqld.client.refusals import refusal
from freehold.providers.sqld.client.streams import Place, Places
from freehold.providers.sqld.client.upstream import Answer, Upstream, head_of
from freehold.tenants.types import AccessLevel

DISCONNECT = "proxy.Proxy/Disconnect"
JSON = (("Content-Type", "application/json"),)
GRPC = (("Content-Type", "application/grpc-web"), ("TE", "trailers"))
_HEALTH_S = 2.0
_CLOSE_S = 5.0
_BACK_S = 0.1
_REMEMBERED = 5000
_DENIED = Backoff(base_s=0.015, cap_s=0.96, steady=1 / 3)
_TRIES = 8
# How its gRPC services report it: they find no key of the namespace, so that ours seems to be wrong.
_GRPC_DENIALS = frozenset({b"3", b"5", b"16"})


class Namespaces:
    """The user port of one sqld. Only `path`, out of a fixed list, and the body come from clients."""

    def __init__(self, upstream: Upstream, admin: SqldAdmin, keys: NamespaceKeys, *, patience_s: float = 0.0) -> None:
        self._upstream = upstream
        self._admin = admin
        self._keys = keys
        self._patience_s = patience_s  # while sqld is down, for as long as a restart takes
        self._places = Places()
        self._closing: set[asyncio.Task[None]] = set()
        self._heads: dict[tuple[str, AccessLevel, str], tuple[Credentials, bytes]] = {}

    async def place(self, database_name: str, key: str | None = None) -> Place:
        """A place for one call of a tenant, which must leave it at its end. See `Places.take`."""
        place = self._places.take(database_name, key)
        if place.instead_of is not None:
            try:
                await self.close_stream(*place.instead_of)
            except BaseException:
                place.leave()
                raise
        return place

    def forget_before(self, moment: float) -> None:
        """Forget what was open before this time (`time.monotonic`), at which sqld was down."""
        self._places.forget_before(moment)

    def may_hold_lock(self, database_name: str, baton: str) -> bool:
        """Whether the stream of this baton may be in a transaction that writes."""
        return self._places.may_hold_lock(database_name, baton)

    def has_open(self, database_name: str, key: str) -> bool:
        """Whether something with this key waits there for its next call, as far as this process knows."""
        return self._places.has_open(database_name, key)

    async def end_stream(self, database_name: str, baton: str) -> None:
        """Close a waiting stream; its client learns of it at its next call."""
        self._places.closed(database_name, baton)
        await self.close_stream(database_name, baton)

    async def end_all(self, database_name: str) -> None:
        """Close all waiting streams of a database that this process knows, and its replicas' connections."""
        streams, others = self.open_in(database_name)
        for baton in streams:
            await self.end_stream(database_name, baton)
        for connection_id in others:
            await self.disconnect(database_name, connection_id)

    async def disconnect(self, database_name: str, connection_id: str) -> None:
        """End a replica's connection."""
        place = self._places.take(database_name, connection_id)
        try:
            with contextlib.suppress(FreeholdError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    answer = await self.post(
                        database_name, "full", f"/{DISCONNECT}", disconnect_message(connection_id), GRPC
                    )
                    await answer.read()
        finally:
            place.leave()

    def open_in(self, database_name: str) -> tuple[list[str], list[str]]:
        """The batons of a database's waiting streams and the ids of replicas' connections, as known to this process."""
        return self._places.waiting_of(database_name)

    async def close_stream(self, database_name: str, baton: str) -> None:
        """Close a stream if it still exists; completed even if the caller is cancelled."""
        task = asyncio.create_task(self._close_stream(database_name, baton))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        await asyncio.shield(task)

    async def _close_stream(self, database_name: str, baton: str) -> None:
        body = msgspec.json.encode(PipelineReq((CloseReq(),), baton))
        with contextlib.suppress(FreeholdError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                answer = await self.post(database_name, "full", "/v3/pipeline", body)
                await answer.read()

    async def post(
        self,
        database_name: str,
        access_level: AccessLevel,
        path: str,
        body: bytes,
        headers: Sequence[tuple[str, str]] = JSON,
        *,
        place: Place | None = None,
    ) -> Answer:
        """Post once; again only if sqld reports that it did not reach the namespace.

        `place` is the call's, if something may stay open after it.

        Raises:
            NotFound: there is no such namespace, as the admin API confirms.
            ProviderUnavailable: no answer (whether it was carried out is unknown), or a lasting denial.
        """
        for tries in range(1, _TRIES + 1):
            head = self._head(database_name, access_level, path, headers)
            began = self._places.now()
            if place is not None:
                place.sent()
            try:
                answer = await self._upstream.post(head, body)
            except ProviderUnavailable as error:
                if not isinstance(error.__cause__, ConnectionRefusedError):
                    raise
                self.forget_before(began)  # sqld is down, so there are no streams
                answer = await self._sent_when_back(head, body, error, place)
            if not _is_denial(answer):
                return answer
            answer.close()
            if await self._admin.config(database_name) is None:
                raise missing(database_name)
            if tries < _TRIES:
                await asyncio.sleep(_DENIED.delay_s(tries))
        raise ProviderUnavailable(f"sqld denies the namespace `{database_name}`, which is there")

    def _head(
        self, database_name: str, access_level: AccessLevel, path: str, headers: Sequence[tuple[str, str]]
    ) -> bytes:
        """The head of a request, cached since most are equal to an earlier one."""
        own = self._keys.credentials(database_name, access_level)
        known = self._heads.get((database_name, access_level, path)) if headers is JSON else None
        if known is not None and known[0] is own:
            return known[1]
        sent = (
            # Both ways to name a namespace agree, and neither comes from a client.
            ("Host", f"{database_name}.db.internal"),
            ("x-namespace-bin", own.namespace),
            ("Authorization", f"Bearer {own.token}"),
            *headers,
        )
        head = head_of(path, sent)
        if headers is JSON:
            if len(self._heads) >= _REMEMBERED:
                self._heads.clear()
            self._heads[database_name, access_level, path] = own, head
        return head

    async def _sent_when_back(
        self, head: bytes, body: bytes, error: ProviderUnavailable, place: Place | None
    ) -> Answer:
        """Post again for a while if sqld is down, which means that nothing was sent."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while loop.time() < until:
            await asyncio.sleep(_BACK_S * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret
            if place is not None:
                place.sent()
            try:
                return await self._upstream.post(head, body)
            except ProviderUnavailable as again:
                if not isinstance(again.__cause__, ConnectionRefusedError):
                    raise
        raise error

    def refusal(self, database_name: str, status: int, body: bytes) -> FreeholdError:
        """The error for a refused call; a database that cannot be opened is remembered."""
        error = refusal(status, body)
        self._admin.damages.note(database_name, error)
        return error

    async def is_healthy(self) -> bool:
        """Whether sqld itself answers, however busy some namespace is."""
        try:
            async with asyncio.timeout(_HEALTH_S):
                answer = await self._upstream.get("/health")
                await answer.read()
        except (ProviderUnavailable, TimeoutError):
            return False
        return answer.status == 200


def _is_denial(answer: Answer) -> bool:
    return answer.status == 404 or answer.headers.get(b"grpc-status") in _GRPC_DENIALS
