"""Embedded replicas: their pulls go to sqld as they are, the writes that they hand on only after the guard's look."""

import asyncio

from freehold.errors import InvalidInput, ProviderUnavailable
from freehold.providers.serving import Blocked, Interest, ReplicaCall, ReplicaReply
from freehold.providers.sqld.admin import SqldAdmin
from freehold.providers.sqld.forward import limited
from freehold.providers.sqld.namespaces import Namespaces
from freehold.providers.sqld.proxy_messages import ProxyMessages, framed, unframed

_SMALL_BODY_BYTES = 32_768
_MAX_PULL_BYTES = 65_536  # a pull is a few numbers
_CONTENT_TYPE = "application/grpc-web"


class SqldReplicas:
    """Implements `ReplicaServer` in front of sqld."""

    def __init__(
        self, namespaces: Namespaces, admin: SqldAdmin, secret: bytes, *, timeout_s: float = 60.0
    ) -> None:
        self._namespaces = namespaces
        self._admin = admin
        self._messages = ProxyMessages(secret)
        self._timeout_s = timeout_s

    async def replicate(self, call: ReplicaCall, interest: Interest) -> ReplicaReply:
        """Carry out one call; see `ReplicaServer`."""
        if len(call.body) <= _SMALL_BODY_BYTES:
            body = self._checked(call)
        else:
            body = await asyncio.to_thread(self._checked, call)
        headers = [("Content-Type", _CONTENT_TYPE), ("TE", "trailers")]
        if call.session_token is not None:
            headers.append(("x-session-token", call.session_token))
        grant = call.grant
        await self._check_open(grant.database_name)
        try:
            async with limited(self._timeout_s, interest):
                answer = await self._namespaces.post(
                    grant.database_name, grant.access_level, f"/{call.method}", body, headers
                )
        except TimeoutError as error:
            raise ProviderUnavailable("sqld did not answer in time; whether it ran is unknown") from error
        if answer.status != 200:
            answer.close()
            raise ProviderUnavailable(f"sqld answered a replica with HTTP status {answer.status}")
        status = answer.headers.get(b"grpc-status", b"").decode("latin-1")
        if status.isdigit() and status != "0":
            message = answer.headers.get(b"grpc-message", b"").decode("latin-1")
            answer.close()
            return ReplicaReply(grpc_status=int(status), message=message)
        interest.when_lost(answer.close)
        return ReplicaReply(rest=answer.chunks(self._timeout_s))

    async def _check_open(self, database_name: str) -> None:
        """sqld goes on replicating a namespace whose reads are blocked, so that is refused here."""
        config = await self._admin.config(database_name)
        if config is not None and config.block_reads:
            raise Blocked(f"the database is suspended: {config.block_reason or 'ask the operator'}")

    def _checked(self, call: ReplicaCall) -> bytes:
        match call.method:
            case "proxy.Proxy/Execute":
                return framed(self._messages.execute(unframed(call.body), call.grant))
            case "proxy.Proxy/Describe":
                return framed(self._messages.describe(unframed(call.body), call.grant))
            case "proxy.Proxy/Disconnect":
                return framed(self._messages.disconnect(unframed(call.body), call.grant))
        if len(call.body) > _MAX_PULL_BYTES:
            raise InvalidInput("a pull has a few bytes")
        return framed(unframed(call.body))
