"""A real Redis with Upstash's REST API before it: ports and data of their own, ended by their ids."""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from testbed.servers import ROOT, clean_environ, missing, require

TOKEN = "token-for-tests"
_NODE = ROOT / "tests/e2e/node"
_START_LIMIT_S = 20.0


class Redis:
    """`redis-server` and its front. Redis can be killed, stopped short and started again behind the front."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.front_port = 0
        self._redis: subprocess.Popen[bytes] | None = None
        self._front: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front_port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a service needs to use it."""
        return {"UPSTASH_REDIS_REST_URL": self.url, "UPSTASH_REDIS_REST_TOKEN": TOKEN}

    def start(self) -> "Redis":
        """Start both and wait until they answer."""
        self.start_redis()
        if not (_NODE / "node_modules/@humanwhocodes/upstash-redis-server").is_dir():
            missing("the front of Redis is not installed: run `make test` once")
        self.front_port = _free_port()
        with (self.folder / "front.log").open("ab") as log:
            self._front = subprocess.Popen(
                [require("node"), _NODE / "upstash_front.mjs", str(self.front_port), str(self.port)],
                cwd=_NODE,
                env=clean_environ(TOKEN=TOKEN),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_for(lambda: self.run("PING") == "PONG")
        return self

    def start_redis(self) -> None:
        """Start only Redis, on the port it had."""
        self.folder.mkdir(parents=True, exist_ok=True)
        server = require("redis-server")
        self.port = self.port or _free_port()
        with (self.folder / "redis.log").open("ab") as log:
            self._redis = subprocess.Popen(
                [server, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                cwd=self.folder,
                env=clean_environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_for(self._is_up)

    def kill_redis(self) -> None:
        """SIGKILL. The front stays, and holds what it is asked until it gives up."""
        _end(self._redis, signal.SIGKILL)

    def pause_redis(self) -> None:
        """Connections stay, nothing answers."""
        assert self._redis is not None
        self._redis.send_signal(signal.SIGSTOP)

    def resume_redis(self) -> None:
        assert self._redis is not None
        self._redis.send_signal(signal.SIGCONT)

    def kill_front(self) -> None:
        _end(self._front, signal.SIGKILL)

    def stop(self) -> None:
        _end(self._front, signal.SIGKILL)
        _end(self._redis, signal.SIGKILL)

    def run(self, *command: Any) -> Any:
        """One command, through the front."""
        reply = httpx.post(
            self.url,
            json=[str(word) for word in command],
            headers={"authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )
        answer = reply.json()
        assert "result" in answer, answer
        return answer["result"]

    def names(self, pattern: str = "*") -> list[str]:
        return sorted(self.run("KEYS", pattern))

    def _is_up(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")

    def _wait_for(self, is_there: Any) -> None:
        until = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError, httpx.TransportError):
                if is_there():
                    return
            time.sleep(0.02)
        raise AssertionError(
            "Redis did not start: " + (self.folder / "redis.log").read_text(errors="replace")
        )


@contextlib.contextmanager
def running_redis() -> Iterator[Redis]:
    """In a folder of its own, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    server = Redis(folder)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
    if process is not None and process.poll() is None:
        process.send_signal(how)
        process.wait(timeout=10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
