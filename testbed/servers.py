"""Real processes for tests: started on free loopback ports, in folders of their own, and ended by their id."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

import httpx
import pytest

from testbed import warm

ROOT, FREEHOLD = warm.ROOT, warm.FREEHOLD
_START_LIMIT_S = 30.0


class Service:
    """`freehold serve` as a child process. It can be killed and started again on the same data and port."""

    verb: tuple[str, ...] = ("serve",)
    starts_anew = False

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.log_file = folder / "service.log"
        # Tests do more in a second than people do, and all come from one address.
        self.variables = {"RATE_LIMITS": "off", **variables}
        self.port = 0
        self.command_limit_s = 60.0
        self._process: warm.Started | subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What a command needs in its environment to work on the same installation."""
        folder = str(ROOT / "schema_registry" / "bahar")
        variables = {"DATA_DIR": str(self.data_dir), "SCHEMA_REGISTRY": folder, **self.variables}
        return clean_environ(**variables)

    def start(self) -> Self:
        """Start and wait until `/health` answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        seen = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            environ = {**self.environ, "PORT": str(self.port)}
            self._process = warm.start(
                self.verb, folder=self.folder, environ=environ, stdout=log, stderr=log, anew=self.starts_anew
            )
        until = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            text = self.log_file.read_bytes()[seen:].decode(errors="replace")
            if found := re.search(r"listens on http://[^:]+:(\d+)", text):
                self.port = int(found[1])
                if self._answers():
                    return self
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"the service did not start:\n{self.log()}")

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is tidied up."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and wait; gives the exit code."""
        return self._end(signal.SIGTERM)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def run(self, *words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the installed `freehold` command on the same installation."""
        environ = {**self.environ, "PORT": str(self.port), **variables}
        return warm.run(words, folder=self.folder, environ=environ, stdin=stdin, limit_s=self.command_limit_s)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(timeout=10)


def clean_environ(**variables: str) -> dict[str, str]:
    """The least that a child needs, so that no variable of the machine changes a test."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "LOG_FORMAT": "json", **variables}


def require(tool: str) -> str:
    """Path of a tool; without it the test is skipped on a laptop and fails in CI."""
    path = shutil.which(tool)
    if path is None:
        missing(f"{tool} is not installed")
    assert path is not None
    return path


def missing(reason: str) -> None:
    """Something the test needs is absent: skip with the reason, or fail where `CI` is set."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run_node(script: Path, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a module of `tests/e2e/node` with the official JavaScript clients beside it."""
    node = require("node")
    if not (ROOT / "tests/e2e/node/node_modules").is_dir():
        missing("the JavaScript clients are not installed: run `make test` once")
    return subprocess.run(
        [node, str(script), *arguments],
        cwd=script.parent,
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
