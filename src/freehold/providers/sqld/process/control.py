"""The supervisor's own port: the state of its sqld, and requests for a restart. Protected by sqld's admin key.

`GET /state` answers with `SupervisorState`; `POST /restart` with `{"reason": "..."}` answers 202, or 409 if sqld cannot
be restarted now.
"""

import asyncio
import hmac
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from freehold.providers.sqld.process.supervisor import State, Supervisor

_BODY_LIMIT_BYTES = 4096
_REASON_LIMIT = 200


class SupervisorState(msgspec.Struct, frozen=True):
    """The state of a supervised sqld. `busy_threads` is the number of its computing threads, if that is known."""

    state: State
    restarts: int
    up_s: float
    last_end: str
    memory_limit_bytes: int
    memory_bytes: int | None = None
    busy_threads: int | None = None


class _Ask(msgspec.Struct):
    reason: str = ""


@asynccontextmanager
async def served_control(
    supervisor: Supervisor, listener: socket.socket, admin_key: str, memory_mb: int
) -> AsyncIterator[None]:
    """Inside this context the port answers."""
    usage = Usage()
    expected = f"Bearer {admin_key}".encode()

    @web.middleware
    async def guarded(request: web.Request, handler: "web.Handler") -> web.StreamResponse:  # type: ignore[name-defined]
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            return web.Response(status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def state(_request: web.Request) -> web.Response:
        pid = supervisor.pid
        found = SupervisorState(
            state=supervisor.state,
            restarts=supervisor.restarts,
            up_s=round(supervisor.up_s, 3),
            last_end=supervisor.last_end,
            memory_limit_bytes=memory_mb * 1_048_576,
            memory_bytes=None if pid is None else await asyncio.to_thread(usage.memory_bytes, pid),
            busy_threads=None if pid is None else await asyncio.to_thread(usage.busy_threads, pid),
        )
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def restart(request: web.Request) -> web.Response:
        try:
            ask = msgspec.json.decode(await request.read(), type=_Ask)
        except msgspec.MsgspecError:
            return web.Response(status=400)
        reason = " ".join(ask.reason.split())[:_REASON_LIMIT] or "asked for"
        return web.Response(status=202 if supervisor.restart(reason) else 409)

    app = web.Application(middlewares=[guarded], client_max_size=_BODY_LIMIT_BYTES)
    app.router.add_get("/state", state)
    app.router.add_post("/restart", restart)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


# What a process uses according to Linux: memory, and the number of its threads that compute.

_TICKS_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# Of the time between two looks; on a busy machine even a thread that never pauses gets only a part of a core.
_BUSY_SHARE = 0.1
_LEAST_S = 0.05


class Usage:
    """Looks at one process after another. Blocking, for microseconds."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._seen: dict[str, int] = {}
        self._seen_at = 0.0
        self._busy: int | None = None

    def memory_bytes(self, pid: int) -> int | None:
        """Its resident memory; None if that cannot be determined."""
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return None

    def busy_threads(self, pid: int) -> int | None:
        """The number of threads that computed since the last look or are about to; None at the first or off Linux."""
        now = time.monotonic()
        if pid == self._pid and now - self._seen_at < _LEAST_S:
            return self._busy
        found = _threads(pid)
        before = self._seen if pid == self._pid else None
        since_s = now - self._seen_at
        self._pid, self._seen_at = pid, now
        self._seen = {thread: ticks for thread, (ticks, _) in found.items()}
        if before is None or not found:
            self._busy = None
        else:
            least = since_s * _TICKS_S * _BUSY_SHARE
            self._busy = sum(
                state in "RD" or ticks - before.get(thread, 0) > max(least, 1)
                for thread, (ticks, state) in found.items()
            )
        return self._busy


def _threads(pid: int) -> dict[str, tuple[int, str]]:
    """By thread, its CPU time in ticks and the letter of its state."""
    found: dict[str, tuple[int, str]] = {}
    try:
        with os.scandir(f"/proc/{pid}/task") as tasks:
            names = [task.name for task in tasks]
        for name in names:
            fields = Path(f"/proc/{pid}/task/{name}/stat").read_text().rpartition(")")[2].split()
            found[name] = (int(fields[11]) + int(fields[12]), fields[0])
    except (OSError, ValueError, IndexError):
        return found
    return found


_LIMIT = aiohttp.ClientTimeout(total=2.0)


class SupervisorLink:
    """The gateway's client for the supervisor at `url`, with sqld's admin key. The session is the caller's."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}

    async def state(self) -> SupervisorState | None:
        """The state of its sqld; None if the supervisor does not answer, or refuses us."""
        try:
            async with self._session.get(
                f"{self._url}/state", headers=self._headers, timeout=_LIMIT, allow_redirects=False
            ) as reply:
                if reply.status != 200:
                    return None
                return msgspec.json.decode(await reply.read(), type=SupervisorState)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            return None

    async def restart(self, reason: str) -> bool:
        """Have sqld killed and restarted; False if that is not possible now."""
        try:
            async with self._session.post(
                f"{self._url}/restart",
                json={"reason": reason},
                headers=self._headers,
                timeout=_LIMIT,
                allow_redirects=False,
            ) as reply:
                return reply.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False
