"""What a provider served by this process offers: Hrana calls in, bytes out, and the state of its server."""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

import msgspec
from msgspec import Struct

from freehold.errors import Forbidden
from freehold.libsql.protocol import Batch, BatchReq, BatchResult, CloseReq, PipelineReq
from freehold.profiles import Profile
from freehold.providers.grants import Grant

if TYPE_CHECKING:  # engine processes import this module without these
    from freehold.migrate.target import Target
    from freehold.tenants.operator_sql import RunAsClient

Endpoint = Literal["v1/execute", "v1/batch", "v2/pipeline", "v3/pipeline", "v3/cursor"]
ENDPOINTS: frozenset[str] = frozenset({"v1/execute", "v1/batch", "v2/pipeline", "v3/pipeline", "v3/cursor"})


class Blocked(Forbidden):
    """The database is suspended. At `/db/` it fails each statement, as `BLOCKED`."""

    code = "blocked"
    remedy = "Ask the operator."


class Call(Struct, frozen=True):
    """One request of a client whose token was verified."""

    grant: Grant
    endpoint: Endpoint
    body: bytes


class Reply(Struct, frozen=True):
    """The answer. `body` is JSON, for a cursor one document per line. `rest`, if any, is what follows it.

    A caller that gets a `rest` must read it to its end or close it.
    """

    body: bytes
    status: int = 200
    rest: AsyncGenerator[bytes, None] | None = None

    async def whole(self) -> bytes:
        """The whole of a short answer, read to its end."""
        return self.body if self.rest is None else b"".join([self.body, *[part async for part in self.rest]])


class Disconnect:
    """Whether someone still waits for the answer. The server sets what to do when nobody does."""

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
        """Note that the client is gone."""
        if not self.is_lost:
            self.is_lost = True
            if self._on_lost is not None:
                self._on_lost()


class DatabaseServer(Protocol):
    """Runs Hrana calls against tenant databases."""

    async def answer(self, call: Call, disconnect: Disconnect) -> Reply:
        """Run one call. Failures of single statements are in the reply.

        Raises:
            FreeholdError: the call as a whole fails, and its stream with it.
        """


# The methods that embedded replicas of libSQL call, and none of the services' others: `LogEntries` would be an endless
# answer.
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
    """A gRPC-web answer. A failure is in `grpc_status` if there is no body, otherwise in its last frame."""

    rest: AsyncGenerator[bytes, None] | None = None
    grpc_status: int | None = None
    message: str = ""


class ReplicaServer(Protocol):
    """Serves embedded replicas."""

    async def replicate(self, call: ReplicaCall, disconnect: Disconnect) -> ReplicaReply:
        """Run one call.

        Raises:
            FreeholdError: it is refused, or the server does not answer.
        """


Supervision = Literal["supervised", "unsupervised", "unreachable"]


class Standing(Struct, frozen=True, kw_only=True):
    """The known state of sqld, and of the calls that it runs for us. Counts are since the start of this process."""

    is_up: bool
    supervision: Supervision
    restarts: int | None  # by its supervisor, since the supervisor's start
    memory_bytes: int | None
    places: int
    running: int
    waiting: int
    lingering: int  # broken off, and not known to have ended
    stopped: int
    stuck: int
    slowed: int
    logs_forced: int


@runtime_checkable
class HasStanding(Protocol):
    """A provider with its own server, whose state is known in detail."""

    @property
    def supervision(self) -> Supervision:
        """Whether a supervisor restarts the server when it ends, as of the last check."""

    async def standing(self) -> Standing:
        """The current state."""


def through_gateway(server: DatabaseServer, subject: str) -> "RunAsClient":
    """A function that runs a batch as the gateway runs a client's: under the same guard and limits, in the same queue.

    `subject` is the user for whom a token would be issued.
    """

    async def run(database_name: str, batch: Batch, profile: Profile) -> BatchResult:
        grant = Grant(database_name, profile, hashlib.sha256(subject.encode()).digest(), subject)
        body = msgspec.json.encode(PipelineReq((BatchReq(batch), CloseReq())))
        reply = await server.answer(Call(grant, "v3/pipeline", body), Disconnect())
        from freehold.libsql.http import batch_results  # commands that only list tenants need not load aiohttp

        [result] = batch_results([batch], await reply.whole())
        return result

    return run


def with_tokens(open_as_client: "Callable[[str, Profile], Awaitable[Target]]") -> "RunAsClient":
    """The same for databases on servers of their own, opened with a token of the profile."""

    async def run(database_name: str, batch: Batch, profile: Profile) -> BatchResult:
        [result] = await (await open_as_client(database_name, profile)).run([batch])
        return result

    return run
