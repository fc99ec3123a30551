"""A real Redis with Upstash's REST API before it: ports and data of their own, ended by their ids."""

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from testbed.process import Process, spawn
from testbed.servers import ROOT, clean_environ, missing, require

TOKEN = "token-for-tests"
_NODE = ROOT / "tests/e2e/node"


class Redis:
    """`redis-server` and its front. Redis can be killed, stopped short and started again behind the front."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.front_port = 0
        self._redis = Process(folder / "redis.log")
        self._front = Process(folder / "front.log")

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
        words = [require("node"), _NODE / "upstash_front.mjs", str(self.front_port), str(self.port)]
        begins = spawn(words, _NODE, clean_environ(TOKEN=TOKEN))
        assert self._front.launch(begins, lambda: self.run("PING") == "PONG"), self._front.log()
        return self

    def start_redis(self) -> None:
        """Start only Redis, on the port it had."""
        self.folder.mkdir(parents=True, exist_ok=True)
        server = require("redis-server")
        self.port = self.port or _free_port()
        where = ("--port", str(self.port), "--bind", "127.0.0.1")
        words = [server, *where, "--save", "", "--appendonly", "no"]
        assert self._redis.launch(spawn(words, self.folder, clean_environ()), self._is_up), self._redis.log()

    def kill_redis(self) -> None:
        """SIGKILL. The front stays, and holds what it is asked until it gives up."""
        self._redis.kill()

    def pause_redis(self) -> None:
        """Connections stay, nothing answers."""
        self._redis.pause()

    def resume_redis(self) -> None:
        self._redis.resume()

    def kill_front(self) -> None:
        self._front.kill()

    def stop(self) -> None:
        self._front.kill()
        self._redis.kill()

    def run(self, *command: Any) -> Any:
        """One command, through the front."""
        reply = httpx.post(
            self.url, json=[str(word) for word in command], headers={"authorization": f"Bearer {TOKEN}"}, timeout=10
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


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
