"""What the driver does when the server or the network misbehaves."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from freehold.libsql.client import HranaClient, LibsqlError, Refused, StreamLost, Unreachable, create_client
from tests.integration.libsql_parts import (
    Answer,
    HostileServer,
    cut_short,
    hang_up,
    hostile,
    never_answer,
    results,
    status,
)

__all__ = ["hostile"]

ONE = [{"type": "integer", "value": "1"}]
READ, WRITE = "SELECT 1", "INSERT INTO t VALUES (1)"


# What may be sent again -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [hang_up, cut_short, status(500), status(502), status(503)])
async def test_a_read_is_sent_again_and_a_write_never(hostile: HostileServer, fault: Answer) -> None:
    async with create_client(hostile.url, auth_token="t") as client:
        hostile.answers = [fault, results(ONE)]
        assert (await client.execute(READ))[0][0] == 1
        assert len(hostile.seen) == 2

        hostile.seen.clear()
        hostile.answers = [fault, results(ONE)]
        with pytest.raises(Unreachable) as caught:
            await client.execute(WRITE)
        assert caught.value.maybe_applied
        assert len(hostile.seen) == 1

        hostile.seen.clear()
        hostile.answers = [fault, results(ONE)]
        await client.execute(WRITE, idempotent=True)
        assert len(hostile.seen) == 2

        for stmts, sent in (([READ, READ], 2), ([READ, WRITE], 1)):
            hostile.seen.clear()
            hostile.answers = [fault, results(ONE)]
            try:
                await client.batch(stmts)
            except Unreachable:
                assert sent == 1
            assert len(hostile.seen) == sent


async def test_a_server_that_stays_broken_is_given_up(hostile: HostileServer) -> None:
    hostile.answers = [status(500, "boom")]
    async with create_client(hostile.url) as client:
        with pytest.raises(Unreachable, match="500"):
            await client.execute(READ)
    assert len(hostile.seen) == 4


async def test_a_refused_connection_is_tried_again_even_for_a_write(hostile: HostileServer) -> None:
    started: list[web.AppRunner] = []
    hostile.answers = [results(ONE)]

    async def start(port: int) -> None:
        await asyncio.sleep(0.1)
        app = web.Application()
        app.router.add_post("/{path:.*}", hostile.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        started.append(runner)

    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    async with create_client(f"http://127.0.0.1:{port}/") as client:
        _, result = await asyncio.gather(start(port), client.execute(WRITE))
    assert result.rows_affected == 0
    assert len(hostile.seen) == 1
    await started[0].cleanup()


async def test_no_server_at_all_is_told_as_not_applied() -> None:
    async with create_client("http://127.0.0.1:1/?authToken=hidden") as client:
        with pytest.raises(Unreachable) as caught:
            await client.execute(WRITE)
    assert not caught.value.maybe_applied
    assert caught.value.code == "UNREACHABLE"


async def test_a_time_limit_ends_a_read_without_another_try(hostile: HostileServer) -> None:
    hostile.answers = [never_answer]
    async with create_client(hostile.url, timeout_s=0.1) as client:
        with pytest.raises(Unreachable) as caught:
            await client.execute(READ)
    assert caught.value.code == "TIMEOUT"
    assert len(hostile.seen) == 1


async def test_too_many_requests_is_tried_again_since_nothing_ran(hostile: HostileServer) -> None:
    hostile.answers = [status(429, '{"error":"Too many concurrent requests"}'), results(ONE)]
    async with create_client(hostile.url) as client:
        await client.execute(WRITE)
    assert len(hostile.seen) == 2


async def test_a_missing_database_is_asked_for_again_only_when_it_is_known_to_exist(hostile: HostileServer) -> None:
    missing = status(404, '{"error":"Namespace `x` doesn\'t exist"}')
    hostile.answers = [results(ONE), missing, results(ONE)]
    async with create_client(hostile.url) as client:
        await client.execute(READ)
        with pytest.raises(Refused, match="NOT_FOUND"):
            await client.execute(READ)
    hostile.answers = [results(ONE), missing, missing, results(ONE)]
    async with create_client(hostile.url, missing_grace_s=5) as client:
        await client.execute(READ)
        await client.execute(WRITE)
    hostile.answers = [results(ONE), missing]
    async with create_client(hostile.url, missing_grace_s=0.1) as client:
        await client.execute(READ)
        with pytest.raises(Refused, match="NOT_FOUND"):
            await client.execute(READ)


# Answers that cannot be used ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"{}",
        b"\xff\xfe",
        b'{"baton":null,"base_url":null,"results":[]}',
        b'{"baton":null,"base_url":null,"results":[{"type":"ok","response":{"type":"close"}},'
        b'{"type":"ok","response":{"type":"close"}}]}',
        b'{"baton":null,"base_url":null,"results":[{"type":"ok","response":{"type":"execute","result":'
        b'{"cols":[],"rows":[[{"type":"integer","value":"one"}]]}}},{"type":"ok","response":{"type":"close"}}]}',
        b'{"baton":null,"base_url":null,"results":[{"type":"ok","response":{"type":"execute","result":'
        b'{"cols":[],"rows":[[{"type":"blob","base64":"!"}]]}}},{"type":"ok","response":{"type":"close"}}]}',
        b"[" * 300_000,
        b'{"results":[' + b"[" * 300_000,
    ],
    ids=lambda body: body[:60].decode(errors="replace") + str(len(body)),
)
async def test_an_answer_that_is_not_hrana_is_no_answer(hostile: HostileServer, body: bytes) -> None:
    async def nonsense(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    hostile.answers = [nonsense]
    async with create_client(hostile.url) as client:
        with pytest.raises(Unreachable) as caught:
            await client.execute(WRITE)
        assert caught.value.maybe_applied
        with pytest.raises(Unreachable):
            await client.batch([WRITE])
        with client.transaction() as tx:
            with pytest.raises(Unreachable):
                await tx.execute(WRITE)
            with pytest.raises(LibsqlError):
                await tx.execute(WRITE)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (400, "Cannot deserialize client message", "HRANA_PROTO_ERROR"),
        (400, '{"message":"no","code":"SOME_CODE"}', "SOME_CODE"),
        (400, '{"message":"no","code":7}', "HRANA_PROTO_ERROR"),
        (401, '{"error":"Unauthorized: `The JWT is invalid`"}', "UNAUTHORIZED"),
        (403, '{"error":"Authorization forbidden"}', "FORBIDDEN"),
        (413, "", "REQUEST_TOO_LARGE"),
        (418, "[1]", "SERVER_ERROR"),
        (302, "", "SERVER_ERROR"),
    ],
)
async def test_a_refusal_has_the_servers_words_and_code_but_never_the_token(
    hostile: HostileServer, code: int, text: str, expected: str
) -> None:
    hostile.answers = [status(code, text + " secret-token", Location="/elsewhere")]
    if text.startswith("{"):
        hostile.answers = [status(code, text, Location="/elsewhere")]
    async with create_client(hostile.url, auth_token="secret-token") as client:
        with pytest.raises(LibsqlError) as caught:
            await client.execute(WRITE)
    assert caught.value.code == expected
    assert "secret-token" not in str(caught.value)
    assert hostile.url not in str(caught.value)
    assert set(hostile.paths) == {"/db/x/v3/pipeline"}


# Versions, tokens, places ---------------------------------------------------------------------------


def only_v2(then: Answer) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "/v3" in request.path:
            return web.Response(status=404)
        return web.Response() if request.method == "GET" else await then(request)

    return answer


async def test_version_2_is_spoken_where_version_3_is_missing(hostile: HostileServer) -> None:
    hostile.answers = [only_v2(results(ONE))]
    async with create_client(hostile.url) as client:
        assert (await client.execute(READ))[0][0] == 1
        assert hostile.paths == ["/db/x/" + p for p in ("v3/pipeline", "v3", "v2", "v2/pipeline")]
        hostile.seen.clear()
        await client.execute(WRITE)
        with client.transaction() as tx:
            await tx.execute(WRITE)
            await tx.execute(WRITE)
            await tx.commit()
    assert set(hostile.paths) == {"/db/x/v2/pipeline"}
    sent = json.dumps([body for _, _, body in hostile.seen])
    assert "autocommit" not in sent


async def test_on_version_2_a_transaction_that_may_be_gone_is_given_up(hostile: HostileServer) -> None:
    async def timed_out(request: web.Request) -> web.StreamResponse:
        error = {"type": "error", "error": {"message": "Transaction timed out", "code": "TRANSACTION_TIMEOUT"}}
        return web.json_response({"baton": "b", "base_url": None, "results": [error]})

    hostile.answers = [only_v2(results(ONE))]
    async with create_client(hostile.url) as client:
        await client.execute(READ)
        with client.transaction() as tx:
            await tx.execute(WRITE)
            hostile.answers = [timed_out]
            with pytest.raises(LibsqlError, match="TRANSACTION_TIMEOUT"):
                await tx.execute(WRITE)
            hostile.answers = [results(ONE)]
            with pytest.raises(LibsqlError, match=r"TRANSACTION_(LOST|CLOSED)"):
                await tx.execute(WRITE)


def needs(token: str, then: Answer) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {token}":
            return web.json_response({"error": "Unauthorized: `The JWT has expired`"}, status=401)
        return await then(request)

    return answer


async def test_a_token_is_asked_for_again_when_it_is_refused_once_for_all(hostile: HostileServer) -> None:
    asked: list[str] = []

    async def token() -> str:
        asked.append(f"t{len(asked)}")
        await asyncio.sleep(0.01)
        return asked[-1]

    async with create_client(hostile.url, auth_token=token) as client:
        hostile.answers = [needs("t0", results(ONE))]
        await asyncio.gather(*(client.execute(WRITE) for _ in range(5)))
        assert asked == ["t0"]
        hostile.answers = [needs("t1", results(ONE))]
        await asyncio.gather(*(client.execute(WRITE) for _ in range(5)))
        assert asked == ["t0", "t1"]
        with client.transaction() as tx:
            await tx.execute(WRITE)
            hostile.answers = [needs("t2", results(ONE))]
            await tx.execute(WRITE)
            await tx.commit()
        hostile.answers = [needs("nobody's", results(ONE))]
        with pytest.raises(Refused, match="UNAUTHORIZED"):
            await client.execute(WRITE)
        assert asked == ["t0", "t1", "t2", "t3"]


async def test_a_fixed_token_that_is_refused_is_not_tried_twice(hostile: HostileServer) -> None:
    hostile.answers = [needs("other", results(ONE))]
    async with create_client(hostile.url, auth_token=lambda: "same") as client:
        with pytest.raises(Refused, match="UNAUTHORIZED"):
            await client.execute(READ)
        assert len(hostile.seen) == 2
    hostile.seen.clear()
    async with create_client(hostile.url, auth_token="same") as client:
        with pytest.raises(Refused, match="UNAUTHORIZED"):
            await client.execute(READ)
        assert len(hostile.seen) == 1


async def test_without_a_token_none_is_sent(hostile: HostileServer) -> None:
    hostile.answers = [results(ONE)]
    async with create_client(hostile.url) as client:
        await client.execute(READ)
    assert "Authorization" not in hostile.seen[0][1]


async def test_a_stream_follows_the_server_to_another_url(hostile: HostileServer) -> None:
    hostile.answers = [results(ONE, base_url=hostile.url.replace("/db/x/", "/elsewhere")), results(ONE)]
    async with create_client(hostile.url) as client:
        with client.transaction() as tx:
            await tx.execute(WRITE)
            await tx.execute(WRITE)
            await tx.commit()
        await client.execute(READ)
    assert hostile.paths == [
        "/db/x/v3/pipeline",
        "/elsewhere/v3/pipeline",
        "/elsewhere/v3/pipeline",
        "/db/x/v3/pipeline",
    ]


@pytest.mark.parametrize("base_url", ["ftp://127.0.0.1/", "file:///etc/passwd", "javascript:x"])
async def test_a_url_that_cannot_be_followed_loses_the_stream(hostile: HostileServer, base_url: str) -> None:
    hostile.answers = [results(ONE, base_url=base_url)]
    async with create_client(hostile.url) as client:
        with client.transaction() as tx, pytest.raises(Unreachable):
            await tx.execute(WRITE)


# Streams --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gone",
    [
        status(400, '{"message":"The stream has expired due to inactivity","code":"STREAM_EXPIRED"}'),
        status(400, "Received an invalid baton"),
        status(400, "Received a baton that has already been used"),
    ],
)
async def test_a_stream_that_the_server_forgot_ends_the_transaction(hostile: HostileServer, gone: Answer) -> None:
    hostile.answers = [results(ONE), gone]
    async with create_client(hostile.url) as client:
        with client.transaction() as tx:
            await tx.execute(WRITE)
            with pytest.raises(StreamLost):
                await tx.execute(READ)
            with pytest.raises(LibsqlError, match=r"TRANSACTION_(LOST|CLOSED)"):
                await tx.execute(WRITE)
    assert len(hostile.seen) == 2


@pytest.mark.parametrize("fault", [hang_up, status(500), status(403), status(413)])
async def test_after_a_fault_inside_a_transaction_nothing_more_is_sent_but_a_close(
    hostile: HostileServer, fault: Answer
) -> None:
    hostile.answers = [results(ONE), fault, results(ONE)]
    async with create_client(hostile.url) as client:
        with client.transaction() as tx:
            await tx.execute(WRITE)
            with pytest.raises(LibsqlError):
                await tx.execute(READ)
            with pytest.raises(LibsqlError):
                await tx.execute(WRITE)
            with pytest.raises(LibsqlError):
                await tx.commit()
    assert [kinds for kinds in hostile.pipelines[2:] if kinds != ["close"]] == []


async def test_a_cancelled_transaction_is_closed_on_the_server_without_waiting(hostile: HostileServer) -> None:
    hostile.answers = [results(ONE), never_answer, results()]
    async with create_client(hostile.url) as client:
        tx = client.transaction()
        await tx.execute(WRITE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await tx.execute(WRITE)
        assert tx.closed
    assert hostile.pipelines[-1] == ["close"]
    assert hostile.seen[-1][2]["baton"] == "baton-2"


async def test_leaving_the_block_closes_the_stream(hostile: HostileServer) -> None:
    hostile.answers = [results(ONE)]
    async with create_client(hostile.url) as client:
        with client.transaction() as tx:
            await tx.execute(WRITE)
    assert hostile.pipelines[-1] == ["close"]


async def test_round_trips_are_as_few_as_can_be(hostile: HostileServer) -> None:
    hostile.answers = [results(ONE)]
    async with create_client(hostile.url) as client:
        await client.execute(READ)
        await client.batch([WRITE, WRITE])
        with client.transaction() as tx:
            await tx.execute(WRITE)
            await tx.commit()
    assert hostile.pipelines == [
        ["execute", "close"],
        ["batch", "close"],
        ["batch", "get_autocommit"],
        ["batch", "close"],
    ]


async def test_a_commit_without_an_answer_says_that_it_may_have_happened(hostile: HostileServer) -> None:
    hostile.answers = [results(ONE), hang_up, results()]
    async with create_client(hostile.url) as client:
        with client.transaction() as tx:
            await tx.execute(WRITE)
            with pytest.raises(Unreachable) as caught:
                await tx.commit()
    assert caught.value.maybe_applied


async def test_a_large_result_is_decoded_in_pieces(hostile: HostileServer) -> None:
    cells: list[Any] = [{"type": "integer", "value": "7"}, {"type": "text", "value": "x" * 40}, {"type": "null"}]
    hostile.answers = [results(*[cells] * 100_000)]
    async with create_client(hostile.url) as client:
        result = await client.execute(READ)
    assert len(result) == 100_000
    assert result[99_999].astuple() == (7, "x" * 40, None)


def test_a_client_does_not_show_its_token() -> None:
    client = create_client("http://h/", auth_token="hidden")
    assert isinstance(client, HranaClient)
    assert "hidden" not in repr(client)


@pytest.mark.parametrize("token", ["two words", "secret\n", "\r\nX-Evil: 1", "é", "nul\0"])
async def test_a_token_that_no_header_can_carry_is_refused_unseen(hostile: HostileServer, token: str) -> None:
    hostile.answers = [results(ONE)]
    with pytest.raises(LibsqlError) as caught:
        create_client(hostile.url, auth_token=token)
    assert token.strip() not in str(caught.value)
    async with create_client(hostile.url, auth_token=lambda: token) as client:
        with pytest.raises(LibsqlError, match="TOKEN_INVALID"):
            await client.execute(READ)
    assert hostile.seen == []


@pytest.mark.parametrize("path", ["a b", "a%20b", "ä", "../../etc", "x HTTP/1.1"])
async def test_a_path_of_any_characters_makes_one_request(hostile: HostileServer, path: str) -> None:
    hostile.answers = [results(ONE)]
    async with create_client(hostile.url + path) as client:
        await client.execute(READ)
    assert len(hostile.seen) == 1
    assert hostile.paths[0].endswith("/v3/pipeline")


async def test_closing_while_a_statement_runs_closes_what_it_opened(hostile: HostileServer) -> None:
    async def slowly(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return await results(ONE)(request)

    hostile.answers = [slowly, results()]
    async with create_client(hostile.url) as client:
        tx = client.transaction()
        running = asyncio.create_task(tx.execute(WRITE))
        await asyncio.sleep(0.03)
        tx.close()
        with pytest.raises(LibsqlError):
            await running
    assert hostile.pipelines[-1] == ["close"]


async def test_a_server_that_hangs_does_not_hold_up_cancelling_or_closing(hostile: HostileServer) -> None:
    hostile.answers = [results(ONE), never_answer]
    loop = asyncio.get_running_loop()
    client = create_client(hostile.url)
    tx = client.transaction()
    await tx.execute(WRITE)
    started = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await tx.execute(WRITE)
    assert loop.time() - started < 5
    await client.close()
    assert loop.time() - started < 8


async def test_a_transaction_that_is_forgotten_holds_up_nothing(hostile: HostileServer) -> None:
    hostile.answers = [results(ONE)]
    async with create_client(hostile.url) as client:
        for _ in range(5):
            await client.transaction().execute(WRITE)
    assert client.closed
