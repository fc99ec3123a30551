"""HTTP as an attacker speaks it: bytes on a socket, so that no client library tidies anything up on the way."""

import json
import re
import select
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.attack_documented import described_by

LIMIT_S = 5.0
"""No answer may take longer, whatever was sent."""

_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_HEAD_END = b"\r\n\r\n"

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Answer:
    """One answer, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    def __repr__(self) -> str:
        return f"<{self.status} {self.header('content-type')} {self.body[:400]!r}>"


@dataclass
class Wire:
    """Sends requests to one service and holds each answer to what no answer may contain or take."""

    port: int
    secrets: dict[str, bytes] = field(default_factory=dict)
    """What must never be in an answer, by what it is."""

    def send(
        self,
        method: str | bytes,
        target: str | bytes,
        headers: Headers = (),
        body: bytes = b"",
        *,
        chunked: bool = False,
        limit_s: float = LIMIT_S,
    ) -> Answer:
        """The target and headers go out exactly as they are; Host and the body's length are added if missing."""
        names = {name.lower() for name, _ in headers}
        lines = [_bytes(method) + b" " + _bytes(target) + b" HTTP/1.1"]
        if b"host" not in names:
            lines.append(b"Host: 127.0.0.1:%d" % self.port)
        lines += [name + b": " + value for name, value in headers]
        if chunked:
            lines.append(b"Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in _parts(body)) + b"0\r\n\r\n"
        elif body and b"content-length" not in names:
            lines.append(b"Content-Length: %d" % len(body))
        lines.append(b"Connection: close")
        answer = self.send_bytes(b"\r\n".join(lines) + _HEAD_END + body, limit_s=limit_s)
        # Else the request was found to be none before anybody knew the route.
        if answer.header("x-request-id") and b"Invalid host header" not in answer.body:
            said = _bytes(method).decode("latin-1"), _bytes(target).decode("latin-1"), answer.status
            assert not (fault := described_by(self.port).missing(*said)), f"{fault}: {answer}"
        return answer

    def send_bytes(self, request: bytes, *, limit_s: float = LIMIT_S) -> Answer:
        """Send these bytes and read until the service closes the connection."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), timeout=limit_s) as peer:
            received = _exchange(peer, request, began + limit_s)
        answer = _parse(received, time.monotonic() - began)
        for what, secret in self.secrets.items():
            # Errors repeat what was asked for; that tells nobody anything new.
            assert secret in request or secret not in received, f"the answer holds {what}: {answer}"
        return answer

    def post(
        self, target: str | bytes, body: Any, token: str = "", *, content_type: str = "application/json"
    ) -> Answer:
        """A JSON body (bytes go as they are), with a bearer token if there is one."""
        headers: Headers = ((b"Content-Type", content_type.encode()),)
        if token:
            headers = (*headers, bearer(token))
        return self.send("POST", target, headers, body if isinstance(body, bytes) else json.dumps(body).encode())

    def get(self, target: str | bytes, token: str = "") -> Answer:
        return self.send("GET", target, (bearer(token),) if token else ())


def bearer(token: str) -> tuple[bytes, bytes]:
    return (b"Authorization", b"Bearer " + token.encode("utf-8", "surrogatepass"))


def _exchange(peer: socket.socket, request: bytes, until: float) -> bytes:
    """Writes and reads at once: a service may answer and close before it has read all."""
    peer.setblocking(False)
    received = bytearray()
    rest = memoryview(request)
    while True:
        left_s = until - time.monotonic()
        assert left_s > 0, f"no answer in time; so far {bytes(received[:200])!r}"
        readable, writable, _ = select.select([peer], [peer] if rest else [], [], left_s)
        try:
            if writable:
                rest = rest[peer.send(rest) :]
            if readable:
                part = peer.recv(262_144)
                if not part:
                    return bytes(received)
                received += part
        except (BrokenPipeError, ConnectionResetError):
            if readable:
                return bytes(received)
            rest = memoryview(b"")


def _parse(received: bytes, took_s: float) -> Answer:
    assert received, "the connection was closed without an answer"
    head, _, body = received.partition(_HEAD_END)
    found = _STATUS_LINE.match(head)
    assert found, f"not HTTP: {received[:200]!r}"
    headers: dict[str, str] = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunk(body)
    return Answer(int(found[1]), headers, body, took_s)


def _unchunk(body: bytes) -> bytes:
    parts: list[bytes] = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(parts)


def _parts(body: bytes) -> list[bytes]:
    return [body[start : start + 65_536] for start in range(0, len(body), 65_536)]


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
