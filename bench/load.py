"""A small closed-loop load generator: N connections, each sends the next request when the answer is whole.

It runs in a process of its own and speaks just enough HTTP/1.1 to find the end of an answer, so that on two
cores the server under test is the slower of the two.
"""

import asyncio
import json
import sys
import time
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


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, until: float, times: list[float], statuses: dict[str, int]) -> None:
        self._request = request
        self._until = until
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
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)


async def _run(port: int, request: bytes, connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    statuses: dict[str, int] = {}
    started = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda: _Connection(request, started + seconds, times, statuses), "127.0.0.1", port
        )
        for _ in range(connections)
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


async def measure(port: int, request: bytes, *, connections: int = 16, seconds: float = 3.0) -> Load:
    """Load a server on loopback from a child process."""
    job = json.dumps(
        {"port": port, "request": request.decode(), "connections": connections, "seconds": seconds}
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
    print(
        json.dumps(
            asdict(
                uvloop.run(
                    _run(given["port"], given["request"].encode(), given["connections"], given["seconds"])
                )
            )
        )
    )
