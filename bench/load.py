"""A small closed-loop load generator: N connections, each sends the next request when the answer is whole.

It runs in a process of its own and speaks just enough HTTP/1.1 to find the end of an answer, so that on two
cores the server under test is the slower of the two.
"""

import asyncio
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop


@dataclass(frozen=True, slots=True)
class Load:
    """What one run measured. Times in milliseconds; `statuses` counts answers by status."""

    requests: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]


COUNTER = "@@COUNTER@@"
"""Stands in a request for a number of as many digits, another one each time."""


class _Connection(asyncio.Protocol):
    def __init__(
        self, request: Iterator[bytes], until: float, pause_s: float, times: list[float], statuses: dict[str, int]
    ) -> None:
        self._request = request
        self._until = until
        self._pause_s = pause_s
        self._times = times
        self._statuses = statuses
        self._buffer = b""
        self._sent_at = 0.0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < head_end + 4 + length:
            return
        status = self._buffer[9:12].decode()
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._buffer = b""
        now = time.perf_counter()
        self._times.append(now - self._sent_at)
        if now < self._until and self._pause_s:
            asyncio.get_running_loop().call_later(self._pause_s, self._send)
        elif now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._request))


def _numbered(requests: list[bytes], numbers: Iterator[int]) -> Iterator[bytes]:
    """The requests in turn, over and over, with another number each time if they ask for one."""
    placeholder = COUNTER.encode()
    if not any(placeholder in request for request in requests):
        return itertools.cycle(requests)
    return (
        request.replace(placeholder, b"%0*d" % (len(placeholder), number))
        for request, number in zip(itertools.cycle(requests), numbers, strict=False)
    )


async def _run(port: int, requests: list[bytes], connections: int, seconds: float, first: int, pause_s: float) -> Load:
    numbers = itertools.count(first)
    loop = asyncio.get_running_loop()
    times: list[float] = []
    statuses: dict[str, int] = {}
    started = time.perf_counter()
    made = [
        await loop.create_connection(
            functools.partial(
                _Connection,
                _numbered(requests[number::connections] or [requests[number % len(requests)]], numbers),
                started + seconds,
                pause_s,
                times,
                statuses,
            ),
            "127.0.0.1",
            port,
        )
        for number in range(connections)
    ]
    await asyncio.wait_for(asyncio.gather(*(protocol.finished for _, protocol in made)), seconds + 30)
    took = time.perf_counter() - started
    times.sort()
    return Load(
        requests=len(times),
        seconds=round(took, 2),
        per_second=round(len(times) / took, 1),
        p50_ms=round(times[len(times) // 2] * 1000, 3),
        p99_ms=round(times[int(len(times) * 0.99)] * 1000, 3),
        statuses=statuses,
    )


async def measure(
    port: int,
    request: bytes | list[bytes],
    *,
    connections: int = 16,
    seconds: float = 3.0,
    first: int = 0,
    pause_s: float = 0.0,
) -> Load:
    """Load a server on loopback from a child process.

    Several requests are dealt out to the connections; each sends its own in turn. `first` is where `COUNTER` starts.
    With `pause_s` each connection waits so long between an answer and its next request.
    """
    requests = [request] if isinstance(request, bytes) else request
    job = json.dumps(
        {
            "port": port,
            "requests": [each.decode() for each in requests],
            "connections": connections,
            "seconds": seconds,
            "first": first,
            "pause_s": pause_s,
        }
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__)), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate(job.encode())
    return Load(**json.loads(out))


def get(path: str, **headers: str) -> bytes:
    """A GET request as bytes; underscores in header names stand for dashes."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A POST request as bytes; underscores in header names stand for dashes."""
    head = get(path, content_type="application/json", content_length=str(len(body)), **headers)
    return head.replace(b"GET", b"POST", 1) + body


if __name__ == "__main__":
    given = json.load(sys.stdin)
    given["requests"] = [each.encode() for each in given["requests"]]
    print(json.dumps(asdict(uvloop.run(_run(**given)))))
