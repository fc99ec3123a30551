"""Applying over Hrana: a real HTTP server in front of a real file, and all that can go wrong between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from freehold.errors import Forbidden, FreeholdError, InvalidInput, NotFound, TooLarge, Unauthenticated, Unavailable
from freehold.libsql.http import HranaTarget
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchResp,
    BatchStep,
    CloseReq,
    CloseResp,
    Error,
    PipelineReq,
    PipelineResp,
    Stmt,
    StreamError,
    StreamOk,
)
from freehold.migrate.apply import Applied, apply
from freehold.migrate.failures import DatabaseBusy, MigrationFailed
from freehold.migrate.plan import plan
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.types import chains
from tests.integration.migrate_parts import QUICK, bahar, history, ledger_versions, query

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
READ = [Batch((BatchStep(Stmt(sql="SELECT 1")),))]


class HranaServer:
    """Answers pipelines of batches from a file. `answer`, when set, answers instead."""

    def __init__(self, path: Path) -> None:
        self.target = SqliteTarget(path)
        self.answer: Answer | None = None
        self.requests: list[web.Request] = []
        self.pipelines: list[PipelineReq] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.answer is not None:
            return await self.answer(request)
        pipeline = msgspec.json.decode(await request.read(), type=PipelineReq)
        self.pipelines.append(pipeline)
        assert isinstance(pipeline.requests[-1], CloseReq)
        batches = [one.batch for one in pipeline.requests if isinstance(one, BatchReq)]
        results: list[StreamOk | StreamError] = [StreamOk(BatchResp(one)) for one in await self.target.run(batches)]
        return reply(PipelineResp(None, None, [*results, StreamOk(CloseResp())]))


def reply(answer: PipelineResp) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenant.db"


@pytest.fixture
async def server(path: Path) -> AsyncIterator[HranaServer]:
    serving = HranaServer(path)
    app = web.Application()
    app.router.add_post("/db/t-1/v3/pipeline", serving.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    serving.url = f"http://{host}:{port}/db/t-1/"
    yield serving
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_all_pending_migrations_take_one_request_after_the_one_that_reads(
    server: HranaServer, session: aiohttp.ClientSession, path: Path
) -> None:
    target = HranaTarget(session, server.url, "secret")
    head = len(bahar())
    assert await apply(target, bahar()) == Applied(head, tuple(range(1, head + 1)))
    # One batch for each transaction, and the end of the stream.
    transactions = len(plan(bahar(), chains(bahar()), 0, head, together=True))
    assert 1 < transactions < head
    assert [len(pipeline.requests) for pipeline in server.pipelines] == [2, transactions + 1]
    assert ledger_versions(path) == list(range(1, head + 1))
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer secret"}
    assert all(request.query_string == "" for request in server.requests)


async def test_a_token_that_is_asked_for_is_asked_for_each_time(
    server: HranaServer, session: aiohttp.ClientSession
) -> None:
    given = iter(["first", "second"])

    async def token() -> str:
        return next(given)

    target = HranaTarget(session, server.url.rstrip("/"), token)
    await target.run(READ)
    await target.run(READ)
    assert [request.headers["Authorization"] for request in server.requests] == ["Bearer first", "Bearer second"]


async def test_two_appliers_over_http_apply_each_migration_once(
    server: HranaServer, session: aiohttp.ClientSession, path: Path
) -> None:
    migrations = history("CREATE TABLE log (a)", "INSERT INTO log VALUES (1)", "INSERT INTO log VALUES (2)")
    target = HranaTarget(session, server.url, "")
    results = await asyncio.gather(*(apply(target, migrations, recorded=0) for _ in range(8)))
    assert {result.version for result in results} == {3}
    assert sorted(version for result in results for version in result.applied) == [1, 2, 3]
    assert query(path, "SELECT a FROM log") == [(1,), (2,)]


async def test_a_failed_migration_is_told_as_on_a_local_file(
    server: HranaServer, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(MigrationFailed, match=r"statement 2, line 1: no such table: missing"):
        await apply(HranaTarget(session, server.url, ""), history("CREATE TABLE a (b); INSERT INTO missing VALUES (1)"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (413, TooLarge),
        (302, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_a_refusal_is_told_in_our_words(
    server: HranaServer, session: aiohttp.ClientSession, status: int, kind: type[FreeholdError]
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, text='{"message": "no, thanks"}', headers={"Location": "/elsewhere"})

    server.answer = refuse
    with pytest.raises(kind) as caught:
        await HranaTarget(session, server.url, "secret").run(READ)
    assert "secret" not in str(caught.value)
    assert server.url not in str(caught.value)
    assert len(server.requests) == 1
    if kind is InvalidInput:
        assert "no, thanks" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"{}",
        b'{"baton": null, "base_url": null, "results": []}',
        b'{"baton": null, "base_url": null, "results": [{"type": "ok", "response": {"type": "close"}},'
        b'{"type": "ok", "response": {"type": "close"}}]}',
        b"[" * 100_000,
    ],
)
async def test_an_answer_that_is_not_hrana_is_no_answer(
    server: HranaServer, session: aiohttp.ClientSession, body: bytes
) -> None:
    async def nonsense(_: web.Request) -> web.Response:
        return web.Response(body=body)

    server.answer = nonsense
    with pytest.raises(Unavailable):
        await HranaTarget(session, server.url, "").run(READ)


async def test_a_batch_of_another_length_is_not_taken_for_an_answer(
    server: HranaServer, session: aiohttp.ClientSession
) -> None:
    async def short(_: web.Request) -> web.Response:
        [one] = await server.target.run(READ)
        return reply(PipelineResp(None, None, [StreamOk(BatchResp(one)), StreamOk(CloseResp())]))

    server.answer = short
    with pytest.raises(Unavailable, match="does not fit"):
        await apply(HranaTarget(session, server.url, ""), history("CREATE TABLE a (b)"), recorded=0)


async def test_a_stream_that_refuses_a_batch_as_a_whole_is_read_like_a_failed_step(
    server: HranaServer, session: aiohttp.ClientSession
) -> None:
    async def busy(_: web.Request) -> web.Response:
        return reply(
            PipelineResp(None, None, [StreamError(Error("too many", "TRANSACTION_BUSY")), StreamOk(CloseResp())])
        )

    server.answer = busy
    with pytest.raises(DatabaseBusy):
        await apply(HranaTarget(session, server.url, ""), history("CREATE TABLE a (b)"), recorded=0, retries=QUICK)
    assert len(server.requests) == QUICK.attempts


async def test_no_answer_is_unavailable(server: HranaServer, session: aiohttp.ClientSession) -> None:
    async def sleep(_: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.Response()

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.answer = sleep
    with pytest.raises(Unavailable, match="does not answer"):
        await HranaTarget(session, server.url, "", timeout_s=0.05).run(READ)
    server.answer = hang_up
    with pytest.raises(Unavailable, match="does not answer"):
        await HranaTarget(session, server.url, "").run(READ)
    with pytest.raises(Unavailable, match="does not answer"):
        await HranaTarget(session, "http://127.0.0.1:1/", "").run(READ)
