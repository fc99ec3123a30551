"""What a provider that we serve ourselves offers to the gateway: Hrana calls in, bytes out."""

from collections.abc import AsyncGenerator, Callable
from typing import Literal, Protocol, get_args

from msgspec import Struct

from freehold.errors import Forbidden
from freehold.providers.tokens import Grant

Endpoint = Literal["v1/execute", "v1/batch", "v2/pipeline", "v3/pipeline", "v3/cursor"]
ENDPOINTS: frozenset[str] = frozenset({"v1/execute", "v1/batch", "v2/pipeline", "v3/pipeline", "v3/cursor"})


class Blocked(Forbidden):
    """The database exists and may not be used now."""

    code = "blocked"


class Call(Struct, frozen=True):
    """One request of a client whose token was verified."""

    grant: Grant
    endpoint: Endpoint
    body: bytes


class Reply(Struct, frozen=True):
    """What goes back. `body` is JSON, for a cursor one document a line. `rest`, if any, is what follows it.

    Whoever gets a `rest` reads it to its end or closes it.
    """

    body: bytes
    status: int = 200
    rest: AsyncGenerator[bytes, None] | None = None

    async def whole(self) -> bytes:
        """All of a short answer, read to its end."""
        return self.body if self.rest is None else b"".join([self.body, *[part async for part in self.rest]])


class Disconnect:
    """Whether somebody still waits for the answer. The server says what to do when nobody does any more."""

    __slots__ = ("_on_lost", "is_lost")

    def __init__(self) -> None:
        self.is_lost = False
        self._on_lost: Callable[[], None] | None = None

    def when_lost(self, act: Callable[[], None]) -> None:
        """Call `act` once when the client goes away; a later call replaces an earlier one."""
        self._on_lost = act
        if self.is_lost:
            act()

    def lose(self) -> None:
        """The client is gone."""
        if not self.is_lost:
            self.is_lost = True
            if self._on_lost is not None:
                self._on_lost()


class DatabaseServer(Protocol):
    """Runs Hrana calls against tenant databases."""

    async def answer(self, call: Call, interest: Disconnect) -> Reply:
        """Run one call. Failures of single statements are in the reply.

        Raises:
            FreeholdError: the call as a whole fails, and its stream with it.
        """
        ...


# What embedded replicas of libSQL call, and nothing else of what these services offer: `LogEntries` would be an
# answer without end.
ReplicaMethod = Literal[
    "wal_log.ReplicationLog/Hello",
    "wal_log.ReplicationLog/BatchLogEntries",
    "wal_log.ReplicationLog/Snapshot",
    "proxy.Proxy/Execute",
    "proxy.Proxy/Describe",
    "proxy.Proxy/Disconnect",
]
REPLICA_METHODS: frozenset[str] = frozenset(get_args(ReplicaMethod))


class ReplicaCall(Struct, frozen=True):
    """One gRPC-web request of an embedded replica whose token was verified. `body` has its frames."""

    grant: Grant
    method: ReplicaMethod
    body: bytes
    session_token: str | None = None


class ReplicaReply(Struct, frozen=True):
    """A gRPC-web answer. A failure is in `grpc_status` when there is no body, in its last frame otherwise."""

    rest: AsyncGenerator[bytes, None] | None = None
    grpc_status: int | None = None
    message: str = ""


class ReplicaServer(Protocol):
    """Serves embedded replicas."""

    async def replicate(self, call: ReplicaCall, interest: Disconnect) -> ReplicaReply:
        """Carry out one call.

        Raises:
            FreeholdError: it is refused, or the server does not answer.
        """
        ...
