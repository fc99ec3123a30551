"""Answers leave in one piece where they are whole, and mean the same as uvicorn's own in any case."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from freehold.http.middleware.connection import connections_of
from freehold.http.middleware.connection_limits import ConnectionLimits, Connections

GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-Mine: 1\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD", 1)
CLOSING = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
OLD = b"GET / HTTP/1.0\r\n\r\n"
ABSOLUTE = b"GET http://x/a/b?c HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
TEXT = (b"Content-Type", b"text/plain")


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(part: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": part, "more_body": more}


ANSWERS = {
    "whole": [start(200, TEXT, (b"content-length", b"5")), body(b"hello")],
    "empty": [start(200, (b"content-length", b"0")), {"type": "http.response.body"}],
    "in parts": [start(200, (b"content-length", b"5")), body(b"hel", more=True), body(b"lo")],
    "of unknown length": [start(200, TEXT), body(b"hel", more=True), body(b"lo")],
    "nothing new": [start(304, (b"etag", b'"1"')), body(b"")],
    "no content": [start(204), body(b"")],
    "large": [start(200, (b"content-length", b"70000")), body(b"x" * 70_000)],
    "closing": [start(200, (b"content-length", b"1"), (b"connection", b"close")), body(b"x")],
    "a broken field": [start(200, (b"content-length", b"1"), (b"x-a", b"1\r\nx-b: 2")), body(b"x")],
    "a broken name": [start(200, (b"content-length", b"1"), (b"x a", b"1")), body(b"x")],
    "too short": [start(200, (b"content-length", b"5")), body(b"hell")],
    "too long": [start(200, (b"content-length", b"5")), body(b"hello!")],
    "two lengths": [start(200, (b"content-length", b"5"), (b"content-length", b"5")), body(b"hello")],
    "a strange length": [start(200, (b"content-length", b"x")), body(b"hello")],
    "only a head": [start(200, (b"content-length", b"5"))],
    "unusual characters": [start(200, (b"content-length", b"1"), (b"x-a", "ä\tb".encode("latin-1"))), body(b"x")],
}


class Transport:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_over = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: bytes) -> None:
        assert not self.is_over
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.is_over

    def close(self) -> None:
        self.is_over = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


async def played(kind: Any, request: bytes, answer: list[dict[str, Any]]) -> tuple[Transport, dict[str, Any]]:
    """What is written, and the scope that the application got."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, received=await receive())
        for message in answer:
            await send(message)

    config = uvicorn.Config(app, http=kind, ws="none", log_config=None, access_log=False, proxy_headers=False)
    config.load()
    config.loaded_app = app
    state = ServerState()
    state.default_headers = [(b"date", b"now")]
    protocol = kind(config=config, server_state=state, app_state={})
    transport = Transport()
    protocol.connection_made(transport)
    protocol.data_received(request)
    for _ in range(20):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    return transport, seen


def ours() -> Any:
    return connections_of(Connections(ConnectionLimits()), lambda host: host)


@pytest.mark.parametrize("request_", [GET, HEAD, CLOSING, OLD, ABSOLUTE, POST, GET + GET])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_uvicorns_to_the_byte(name: str, request_: bytes) -> None:
    theirs, their_scope = await played(HttpToolsProtocol, request_, ANSWERS[name])
    transport, scope = await played(ours(), request_, ANSWERS[name])
    sent, expected = b"".join(transport.writes), b"".join(theirs.writes)
    if name == "only a head":
        assert transport.is_over  # nothing is better than a head without its body
    else:
        assert sent == expected
    assert transport.is_over == theirs.is_over
    for scopes in (scope, their_scope):
        scopes.pop("state", None)
    assert scope == their_scope


@pytest.mark.parametrize("name", ["whole", "empty", "nothing new", "no content", "unusual characters"])
async def test_what_is_whole_leaves_in_one_piece(name: str) -> None:
    transport, _ = await played(ours(), GET, ANSWERS[name])
    assert len(transport.writes) == 1
