"""Around every request: its id, one log line, and the headers that every answer carries."""

import itertools
import secrets
import time
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from freehold.http.middleware.request_counts import RequestCounts
from freehold.log import quick_info

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
# Asked for every few seconds by machines; worth a line only when something is wrong.
_QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})

_MAX_PATH = 500
# What follows can set somebody's password.
_SECRET_BELOW = "/api/auth/reset-password/"  # noqa: S105


class RequestLog:
    """ASGI wrapper. Outermost, so that it also sees what no route answers."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._note = counts.note
        self._write_line = quick_info("request.finished")
        # Unique over processes and restarts, and cheaper than asking the system for randomness each time.
        self._prefix = secrets.token_hex(4)
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        path = scope["path"]  # mounted parts of the application are given the rest of it later
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
    """Strangers choose it: neither may they fill the log, nor steer the terminal of whoever reads it.

    And nobody may learn a secret from it.
    """
    if path.startswith(_SECRET_BELOW):
        path = f"{_SECRET_BELOW}***"
    if len(path) > _MAX_PATH:
        path = f"{path[:_MAX_PATH]}…"
    return path if path.isprintable() else path.encode("unicode_escape").decode()
