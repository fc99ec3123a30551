"""The supervisor's own port: how its sqld is, and a way to ask for a restart. Guarded by sqld's admin key.

`GET /state` answers with `SupervisorState`; `POST /restart` with `{"reason": "..."}` answers 202, or 409 when that is
not the time for it.
"""

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from freehold.providers.sqld.process.cpu import Usage
from freehold.providers.sqld.process.supervisor import State, Supervisor

_BODY_LIMIT_BYTES = 4096
_REASON_LIMIT = 200


class SupervisorState(msgspec.Struct, frozen=True):
    """How a supervised sqld is. `busy_threads` is how many of its threads compute, if that can be known."""

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
    """The port answers while this is entered."""
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
