"""Turso's Platform API with a past, which the twin has not: moments for which a test has put a copy aside.

Everything else goes on to the twin, so moments that were not put aside are refused by it. The form of the seed is
that of https://docs.turso.tech/api-reference/databases/create.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from testbed.twin import Twin

_PASSED_ON = ("authorization", "content-type")


@dataclass
class PlatformWithPast:
    """`kept` is the name of a copy by timestamp; `seeds` are all that were asked for, as they came;
    `sources` the ids of the databases that copies have come from."""

    twin: Twin
    http: aiohttp.ClientSession
    url: str = ""
    kept: dict[str, str] = field(default_factory=dict)
    seeds: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        body = await request.read()
        if request.method == "POST" and request.path.endswith("/databases"):
            body = await self._from_kept(json.loads(body), request.path, headers)
        status, answer, kind = await self._ask(request.method, request.path_qs, headers, body)
        folder, _, name = request.path.rpartition("/")
        if request.method == "GET" and status == 200 and folder.endswith("/databases") and name in self.sources:
            found = json.loads(answer)
            found["database"]["parent"]["id"] = self.sources[name]
            answer = json.dumps(found).encode()
        return web.Response(status=status, body=answer, content_type=kind)

    async def _from_kept(self, wanted: dict[str, Any], path: str, headers: dict[str, str]) -> bytes:
        """What is asked of the twin instead."""
        if "seed" in wanted:
            self.seeds.append(wanted["seed"])
            if kept := self.kept.get(wanted["seed"].get("timestamp")):
                _, source, _ = await self._ask("GET", f"{path}/{wanted['seed']['name']}", headers)
                self.sources[wanted["name"]] = json.loads(source)["database"]["DbId"]
                wanted = wanted | {"seed": {"type": "database", "name": kept}}
        return json.dumps(wanted).encode()

    async def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes, str]:
        async with self.http.request(method, self.twin.url + path, data=body, headers=headers) as reply:
            return reply.status, await reply.read(), reply.content_type


@contextlib.asynccontextmanager
async def past_of(twin: Twin) -> AsyncIterator[PlatformWithPast]:
    """On a port of its own in front of this twin."""
    async with aiohttp.ClientSession() as http:
        platform = PlatformWithPast(twin, http)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", platform.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            platform.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield platform
        finally:
            await runner.cleanup()
