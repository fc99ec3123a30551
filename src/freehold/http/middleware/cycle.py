"""uvicorn's request cycle, with a fast path for responses that are whole, as nearly all are.

uvicorn writes head and body one after the other: two packets and twice the work for the system, more than all of ours
for a small response. It also checks each field with two regular expressions. Here both go out in one piece, and the
head is checked as a whole.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

_CONTROLS = bytes(code for code in (*range(32), 127) if code != ord("\t"))
_LENGTH = b"content-length: "
# These decide how the connection goes on.
_NOT_PLAIN = frozenset({b"connection", b"transfer-encoding"})
_BODILESS = frozenset({204, 304})
_MOST_STARTS = 200
_JOINED_BYTES = 65_536
_starts: dict[bytes, bytes] = {}


class Cycle(RequestResponseCycle):
    """Sends whole responses at once, and leaves the rest to uvicorn."""

    _held = b""  # the head of a response, until its body comes

    async def send(self, message: Any) -> None:
        """Send one ASGI message."""
        if self._held:
            held, self._held = self._held, b""
            body = message.get("body", b"")
            if self._is_all(message, body):
                self._send_all(held, body)
                return
            if not self.disconnected:
                self.transport.write(held)
        elif not self.response_started and self.keep_alive and not self.disconnected:
            self._held = self._head(message)
            if self._held:
                self.response_started = True
                self.waiting_for_100_continue = False
                self.chunked_encoding = False
                return
        await super().send(message)

    def _is_all(self, message: Any, body: bytes) -> bool:
        return (
            len(body) == self.expected_content_length
            and message["type"] == "http.response.body"
            and not message.get("more_body", False)
            and not (self.disconnected or self.flow.write_paused)
        )

    def _send_all(self, head: bytes, body: bytes) -> None:
        if len(body) <= _JOINED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        self.expected_content_length = 0
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:  # the server is stopping
            self.transport.close()
        self.on_response()

    def _head(self, message: Any) -> bytes:
        """The head of a response of known length; empty if uvicorn has to check it."""
        if message["type"] != "http.response.start" or self.scope["method"] == "HEAD":
            return b""
        status = message["status"]
        parts = [STATUS_LINE[status]]
        length = b"0" if status in _BODILESS else None
        for name, value in (*self.default_headers, *message.get("headers", ())):
            start = _starts.get(name) or _start_of(name)
            if start is _LENGTH:
                if length is not None:
                    return b""
                length = value
            if not start:
                return b""
            parts += (start, value, b"\r\n")
        lines = len(parts) // 3 + 2
        parts.append(b"\r\n")
        head = b"".join(parts)
        # Our own line ends are the only control characters allowed.
        is_plain = len(head) - len(head.translate(None, _CONTROLS)) == 2 * lines
        if not is_plain or length is None or not length.isdigit():
            return b""
        self.expected_content_length = int(length)
        return head


def _start_of(name: bytes) -> bytes:
    """A field's name as it is sent, with the separator; empty if uvicorn has to check it."""
    lowered = name.lower()
    if lowered in _NOT_PLAIN or HEADER_RE.search(name):
        return b""
    start = _LENGTH if lowered == b"content-length" else lowered + b": "
    if len(_starts) < _MOST_STARTS:
        _starts[name] = start
    return start
