"""Real processes for tests: started on free loopback ports, in folders of their own, and ended by their id."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import IO, Self

import httpx
import pytest

from testbed import warm
from testbed.process import Process, Running

ROOT, FREEHOLD = warm.ROOT, warm.FREEHOLD


class Service(Process):
    """`freehold serve` as a child process. It can be killed and started again on the same data and port."""

    verb: tuple[str, ...] = ("serve",)
    starts_anew = False

    def __init__(self, folder: Path, **variables: str) -> None:
        super().__init__(folder / "service.log")
        self.folder = folder
        self.data_dir = folder / "data"
        # Tests do more in a second than people do, and all come from one address.
        self.variables = {"RATE_LIMITS": "off", **variables}
        self.port = 0
        self.command_limit_s = 60.0

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
        environ = {**self.environ, "PORT": str(self.port)}

        def begins(output: IO[bytes], log: IO[bytes]) -> Running:
            return warm.start(
                self.verb, folder=self.folder, environ=environ, stdout=output, stderr=log, anew=self.starts_anew
            )

        assert self.launch(begins, self._answers), f"the service did not start:\n{self.log()}"
        return self

    def run(self, *words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the installed `freehold` command on the same installation."""
        environ = {**self.environ, "PORT": str(self.port), **variables}
        return warm.run(words, folder=self.folder, environ=environ, stdin=stdin, limit_s=self.command_limit_s)

    def _answers(self) -> bool:
        found = re.search(r"listens on http://[^:]+:(\d+)", self.said())
        if not found:
            return False
        self.port = int(found[1])
        return httpx.get(f"{self.url}/health", timeout=2).status_code == 200


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
