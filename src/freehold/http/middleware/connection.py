"""One HTTP connection: uvicorn's own, with limits on what it would keep while a request is still coming.

The parser buffers each field of a head, and the server all of them, without a limit. So the bytes of a head are counted
before they are fed to the parser.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from freehold.http.middleware.connection_limits import Connections
from freehold.http.middleware.cycle import Cycle
from freehold.http.problems import FRAMEWORK_CODES
from freehold.log import get_logger

log = get_logger()

MAX_HEAD_BYTES = 65_536
MAX_FIELDS = 100
_MAX_PIPELINED = 32
_LINGER_S = 2.0
_LINGER_BYTES = 4_000_000
_IDLE, _HEAD, _BODY = "idle", "head", "body"
# Twice as fast as `super()`, for what is called for each request.
_data_received = HttpToolsProtocol.data_received
_headers_complete = HttpToolsProtocol.on_headers_complete


class Refused(Exception):
    """Stops the parser; the reason is in the connection."""


class Connection(HttpToolsProtocol):
    """Made by `connections_of`, which sets where it is counted."""

    counted: Connections
    network_of: Callable[[str], str]

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.address = ""
        self.body_bytes = 0
        self._stage = _IDLE
        self._count = 0  # requests received completely
        self._fed = 0  # bytes of this head, as far as it is known where in a call it began
        self._call = 0  # the size of the latest call
        self._body_before = -1  # bytes of the body before that call; -1 if it did not begin in a body
        self._before = 0  # the size of the call in which the last request ended
        self._quiet = 0  # bytes since the body last grew
        self._is_over = False
        self._lingered = 0
        self._fault: tuple[int, str] | None = None
        self._running: RequestResponseCycle | None = None  # `cycle` is the newest, which may wait for this one

    # As `Peer` ----------------------------------------------------------------------------------------

    @property
    def stage(self) -> tuple[int, str]:
        cycle = self.cycle
        if self._is_over:
            return self._count, "waiting"
        if self._stage is not _BODY:
            if self._fed:
                return self._count, _HEAD
            return self._count, _IDLE if cycle is None or cycle.response_complete else "waiting"
        if cycle.response_complete:
            return self._count, "leftover"
        # The app has not asked for the body yet, or does not take it: no fault of the client.
        is_ours = cycle.waiting_for_100_continue or self.flow.read_paused
        return self._count, "waiting" if is_ours else _BODY

    @property
    def unread_bytes(self) -> int:
        if self.cycle is not None and not self.cycle.response_complete and not self._is_over:
            return 0  # whatever makes the response watches it
        return self.transport.get_write_buffer_size()

    def turn_away(self, reason: str) -> None:
        """Refuse the connection for lack of room, and close it without waiting for anything."""
        self._is_over = True
        self.transport.write(_refusal(503, reason))
        self.transport.close()

    def refuse(self, status: int, detail: str) -> None:
        """Send an error after the responses to earlier requests, and close."""
        if self._is_over:
            return
        self._is_over = True
        log.info("connection.refused", status=status, reason=detail)
        answer = _refusal(status, detail)
        cycle = self.cycle
        if self._stage is _BODY:
            is_answered = cycle.response_started or bool(self.pipeline)
            cycle.disconnected = True
            cycle.message_event.set()
            self.pipeline.clear()
            if is_answered:
                self.transport.close()
            else:
                self._part(answer)
        elif cycle is None or cycle.response_complete:
            self._part(answer)
        else:
            self._part_after(cycle, answer)

    def drop(self) -> None:
        """Close at once."""
        self._is_over = True
        self.transport.abort()

    # As a protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and refuse it if there are too many."""
        super().connection_made(transport)
        self.address = type(self).network_of(self.client[0] if self.client else "")
        if (reason := self.counted.add(self)) is not None:
            self.turn_away(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self.counted.remove(self)
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        size = len(data)
        if self._is_over:
            self._discard(size)
        elif self._stage is _BODY:
            self._quiet += size
            self._call = size
            self._body_before = self.body_bytes
            super().data_received(data)
            self._body_before = -1
            if self._stage is not _BODY and self._fed > MAX_HEAD_BYTES:
                self.refuse(431, _TOO_LARGE)
            # Trailers and the size lines of chunks are discarded, but neither may go on for ever.
            if self._stage is _BODY and (self._quiet > MAX_HEAD_BYTES or len(self.headers) > MAX_FIELDS):
                self.refuse(431, f"what follows a body may have {MAX_HEAD_BYTES} bytes and {MAX_FIELDS} fields")
        elif size <= MAX_HEAD_BYTES - self._fed:
            self._fed += size
            self._call = size
            _data_received(self, data)
        else:
            self._feed_part(data, MAX_HEAD_BYTES - self._fed)

    def _feed_part(self, data: bytes, size: int) -> None:
        """Feed no more than a head may have, and refuse it if it does not end in that."""
        count = self._count
        self._fed += size
        self._call = size
        super().data_received(data[:size])
        if self._count == count and self._stage is not _BODY:
            self.refuse(431, _TOO_LARGE)
        self.data_received(data[size:])

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when the parser stops, perhaps because we stopped it."""
        if self._fault is not None:
            self.refuse(*self._fault)
        elif not self._is_over:
            self._is_over = True
            super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: anyone can ask for an upgrade, and the request is served without it."""

    # Of the parser --------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        headers = self.headers
        if len(headers) > MAX_FIELDS:
            self._stop(431, _TOO_LARGE)
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._stop(429, _TOO_MANY)
        if self._fed + self._before > MAX_HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > MAX_HEAD_BYTES:
                self._stop(431, _TOO_LARGE)
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and not self.root_path and not self.limit_concurrency:
            self._begin()
        else:
            _headers_complete(self)  # it waits for the previous request
        self._stage = _BODY
        self.body_bytes = self._quiet = 0
        # Fields that the parser finds from now on are trailers, not the head's.
        self.headers = []

    def _begin(self) -> None:
        """Start the request, without uvicorn's code for websockets and its own limits, which we do not use."""
        parser, scope, url = self.parser, self.scope, self.url
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if url.startswith(b"/") and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        self.cycle = Cycle(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            False,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            version != "1.0" and parser.should_keep_alive(),
            self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, self.app)

    def on_response_complete(self) -> None:
        """As in uvicorn, but without its timer: `Connections` closes those that are idle."""
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        self._quiet = 0
        self.body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._stage = _IDLE
        self._count += 1
        self._before = self._call
        cycle = self.cycle
        self._fed = 0
        if self._body_before >= 0 and not any(name == b"transfer-encoding" for name, _ in cycle.scope["headers"]):
            self._fed = self._call - (self.body_bytes - self._body_before)  # what is left is of the next head
        self._body_before = -1
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def _stop(self, status: int, detail: str) -> None:
        self._fault = status, detail
        raise Refused

    def _part_after(self, last: RequestResponseCycle, answer: bytes) -> None:
        """Call `_part` once the last request has been answered."""
        on_response = last.on_response

        def answered() -> None:
            on_response()
            self._part(answer)

        last.on_response = answered

    # The end --------------------------------------------------------------------------------------------

    def _part(self, answer: bytes) -> None:
        """Send the response, and read on for a moment: otherwise the client's machine discards it."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write(answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)

    def _discard(self, size: int) -> None:
        self._lingered += size
        if self._lingered > _LINGER_BYTES:
            self.transport.abort()


_TOO_MANY = f"{_MAX_PIPELINED} requests wait on this connection; send more when they are answered"
_TOO_LARGE = f"the head of a request may have {MAX_HEAD_BYTES} bytes and {MAX_FIELDS} fields"


def connections_of(counted: Connections, network_of: Callable[[str], str]) -> type[Connection]:
    """The class of connections for a server; `network_of` returns what an address is counted by."""

    class Counted(Connection):
        pass

    Counted.counted = counted
    Counted.network_of = staticmethod(network_of)
    return Counted


def _refusal(status: int, detail: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        {"type": "about:blank", "title": phrase, "status": status, "code": FRAMEWORK_CODES[status], "detail": detail}
    )
    retry = "retry-after: 2\r\n" if status in {429, 503} else ""
    head = (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nx-content-type-options: nosniff\r\nconnection: close\r\n{retry}\r\n"
    )
    return head.encode() + body
