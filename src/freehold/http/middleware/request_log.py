"""For every request: an id, a log line, metrics, and the headers that every response has."""

import itertools
import secrets
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Awaitable
from functools import lru_cache
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from freehold.audit.origin import Origin, work_begins
from freehold.audit.types import ANONYMOUS
from freehold.http.client_address import ClientAddresses
from freehold.log import quick_info

# The number and duration of requests by class of route, as plain numbers of one event loop: without locks or objects, a
# request costs under a microsecond, with a metrics library's counters three. The library is used when someone reads
# them, see `http/operations/metrics.py`.

# Upper bounds in seconds; the last bucket, which has none, counts everything else.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_CLASSES = (
    ("/db", "database"),
    ("/api/auth/get-session", "get-session"),
    ("/api/auth/sign-in", "sign-in"),
    ("/api/auth/sign-up", "sign-in"),
    ("/api/auth", "auth"),
    ("/api/v1/auth", "auth"),
    ("/databases", "credentials"),
    ("/migrations", "registry"),
    ("/admin", "admin"),
    ("/console", "admin"),
    ("/schema", "schema"),
    ("/health", "health"),
    ("/ready", "health"),
    ("/metrics", "health"),
)


@lru_cache(4096)
def route_class(path: str) -> str:
    """One of a dozen names: clients choose paths, and each name takes memory wherever metrics are kept."""
    for start, name in _CLASSES:
        if path == start or path.startswith(start + "/"):
            return name
    return "other"


class RequestCounts:
    """Filled by the request log. `statuses` by class and status (0: the client disconnected first)."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.buckets: dict[str, list[int]] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.refusals: Counter[str] = Counter()

    def note(self, path: str, status: int, seconds: float) -> None:
        name = route_class(path)
        self.statuses[name, status] += 1
        buckets = self.buckets.get(name)
        if buckets is None:
            buckets = self.buckets[name] = [0] * (len(BOUNDS_S) + 1)
        buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds[name] += seconds

    def note_refusal(self, limit: str) -> None:
        self.refusals[limit] += 1


_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
# Polled every few seconds; worth a line only if something is wrong.
_QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})

_MAX_PATH = 500
# What follows can set someone's password.
_SECRET_BELOW = "/api/auth/reset-password/"  # noqa: S105


class RequestLog:
    """ASGI wrapper. Outermost, so that it also sees what no route answers."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._note = counts.note
        self._write_line = quick_info("request.finished")
        # Unique across processes and restarts, and cheaper than asking the system for randomness each time.
        self._prefix = secrets.token_hex(4)
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        path = scope["path"]  # mounted parts of the application later see only the rest
        request_id = f"{self._prefix}-{next(self._count):x}"
        extra: dict[str, Any] = scope  # type: ignore[assignment]  # ASGI lets servers add keys of their own
        extra["freehold_request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        id_header = (b"x-request-id", request_id.encode())
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_ALWAYS, id_header]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            seconds = time.perf_counter() - started
            self._note(path, status, seconds)
            if path not in _QUIET_PATHS or status >= 400:
                self._write_line(
                    {
                        "request_id": request_id,
                        "method": scope["method"],
                        "path": _shown(path),
                        "status": status,
                        "duration_ms": round(seconds * 1000, 2),
                    }
                )


def _shown(path: str) -> str:
    """The path for the log: bounded, printable and without a secret, as clients choose it."""
    if path.startswith(_SECRET_BELOW):
        path = f"{_SECRET_BELOW}***"
    if len(path) > _MAX_PATH:
        path = f"{path[:_MAX_PATH]}…"
    return path if path.isprintable() else path.encode("unicode_escape").decode()


# Tells the audit trail which request is being handled.


class AuditOrigins:
    """ASGI wrapper, inside the request log, which assigns the request's id."""

    def __init__(self, app: ASGIApp, addresses: ClientAddresses) -> None:
        self._app = app
        self._addresses = addresses

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == ScopeType.HTTP:
            work_begins(_RequestOrigin(scope, self._addresses))
        return self._app(scope, receive, send)


class _RequestOrigin(Origin):
    """Finds out where the request came from only when an event is recorded; most requests record none."""

    __slots__ = ("_addresses", "_scope")

    def __init__(self, scope: Scope, addresses: ClientAddresses) -> None:
        super().__init__(ANONYMOUS)
        self._scope: Any = scope
        self._addresses = addresses

    @property
    def ip_address(self) -> str:
        """The client's address; without a proxy of ours in between, the peer's."""
        return self._addresses.seen(self._scope)

    @property
    def request_id(self) -> str:
        found: str = self._scope.get("freehold_request_id", "")
        return found
