"""What tests of the driver share: a real server, and one that misbehaves on purpose."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiohttp import web
from testbed.sqld import Sqld, running_sqld

from freehold.libsql.client import Client, create_client

SLOW = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {n}) SELECT count(*) FROM c"
SLOW_ROWS = 3_000_000  # under half a second on a quiet machine, far from any limit on a busy one
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def sqld() -> Iterator[Sqld]:
    """One server for the tests of a module; each test makes namespaces of its own."""
    with running_sqld() as server:
        yield server


def new_url(server: Sqld, **config: Any) -> tuple[str, str]:
    """URL and token of a new, empty database."""
    name = server.create(f"n{next(_numbers)}", **config)
    return f"{server.url}/?namespace={name}", server.token(name)


@asynccontextmanager
async def new_client(server: Sqld, **options: Any) -> AsyncIterator[Client]:
    """A client on a new, empty database."""
    url, token = new_url(server)
    async with create_client(url, **{"auth_token": token, **options}) as client:
        yield client


BODY = web.RequestKey[dict[str, Any]]("body", dict)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class HostileServer:
    """A server whose answers are scripted: each request takes the next one; the last one stays."""

    answers: list[Answer] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    @property
    def pipelines(self) -> list[list[str]]:
        """For each pipeline received, the types of its requests."""
        return [[one["type"] for one in body["requests"]] for path, _, body in self.seen if "pipeline" in path]

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.seen]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = msgspec.json.decode(raw) if raw else None
        self.seen.append((request.path, dict(request.headers), body))
        request[BODY] = body or {}
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


@pytest.fixture
async def hostile() -> AsyncIterator[HostileServer]:
    server = HostileServer()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", server.handle)
    # Handlers of connections that were given up must not hold up the end of a test.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/db/x/"
    yield server
    await runner.cleanup()


def results(*rows: list[Any], **extra: Any) -> Answer:
    """Answer whatever was asked, each statement with these rows of Hrana values."""
    result = {"cols": [{"name": "c", "decltype": None}], "rows": list(rows), "affected_row_count": 0}

    def of(request: Any) -> dict[str, Any]:
        response: dict[str, Any]
        match request["type"]:
            case "execute":
                response = {"type": "execute", "result": result}
            case "batch":
                steps = len(request["batch"]["steps"])
                # The last step is the ROLLBACK of a batch that worked, so it is skipped.
                done = [result] * (steps - 1) + [None if steps > 3 else result]
                response = {"type": "batch", "result": {"step_results": done, "step_errors": [None] * steps}}
            case "get_autocommit":
                response = {"type": "get_autocommit", "is_autocommit": False}
            case kind:
                response = {"type": kind}
        return {"type": "ok", "response": response}

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = request[BODY]["requests"]
        is_closing = asked[-1]["type"] == "close"
        return web.json_response(
            {
                "baton": None if is_closing else f"baton-{len(asked)}",
                "base_url": None,
                "results": [of(one) for one in asked],
                **extra,
            }
        )

    return answer


def status(code: int, text: str = "", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Take the request, and cut the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_short(request: web.Request) -> web.StreamResponse:
    """Promise more than is sent."""
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"baton": null, "resu')
    assert request.transport is not None
    request.transport.abort()
    return answer


async def never_answer(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()
