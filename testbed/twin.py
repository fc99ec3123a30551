"""The local twin of Turso's Platform API for tests: the installed command, on a port and a folder of its own."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

import httpx

from freehold.providers.turso.provider import TursoProvider
from testbed import warm
from testbed.process import Process, Running
from testbed.servers import FREEHOLD, clean_environ, missing
from testbed.sqld import BINARY

TOKEN = "token-of-the-platform"
ORGANIZATION = "acme"


class Twin(Process):
    """One `freehold dev turso`. It can be stopped or killed and started again on the same data and port."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder / "twin.log", folder / "twin.out")
        self.folder = folder
        self.options = options
        self.port = 0
        self.variables: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        return self.folder / "turso"

    def start(self) -> Self:
        """Start, and wait for the variables that it prints."""
        if not BINARY.exists():
            missing("sqld is not installed: run `make test` once")
        self.folder.mkdir(parents=True, exist_ok=True)
        environ = clean_environ(SQLD_BINARY=str(BINARY))

        def begins(output: IO[bytes], log: IO[bytes]) -> Running:
            return warm.start(self.command()[1:], folder=self.folder, environ=environ, stdout=output, stderr=log)

        assert self.launch(begins, self._has_told), f"the twin did not start:\n{self.log()}"
        return self

    def _has_told(self) -> bool:
        line, end, _ = self.said().partition("\n")
        if not end:
            return False
        self.variables = json.loads(line)
        self.port = int(self.variables["TURSO_API_URL"].rpartition(":")[2])
        return True

    def command(self) -> list[str]:
        """The command and its words."""
        return [
            str(FREEHOLD),
            *("dev", "turso", "--port", str(self.port), "--data-dir", str(self.data_dir)),
            *("--organization", ORGANIZATION, "--token", TOKEN, "--json"),
            *self.options,
        ]

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Call the Platform API; the path is below the organization, or begins with a slash."""
        headers = {"authorization": f"Bearer {TOKEN}", **more.pop("headers", {})}
        target = path if path.startswith("/") else f"/v1/organizations/{ORGANIZATION}/{path}"
        return httpx.request(method, f"{self.url}{target}", headers=headers, timeout=30, **more)

    def create(self, name: str, **more: Any) -> dict[str, Any]:
        """A database in the default group."""
        reply = self.call("POST", "databases", json={"name": name, "group": "default", **more})
        assert reply.status_code == 200, reply.text
        made: dict[str, Any] = reply.json()["database"]
        return made

    def token(self, name: str, **query: str) -> str:
        """A token for a database."""
        reply = self.call("POST", f"databases/{name}/auth/tokens", params=query)
        assert reply.status_code == 200, reply.text
        text: str = reply.json()["jwt"]
        return text

    def fault(self, *faults: dict[str, Any], seed: int | None = None) -> None:
        """Ask for faults."""
        reply = self.call("POST", "/__faults", json={"faults": list(faults), "seed": seed})
        assert reply.status_code == 200, reply.text

    def fault_no_more(self) -> None:
        """Ask for no faults."""
        self.call("DELETE", "/__faults").raise_for_status()

    def clear(self) -> None:
        """No faults, no databases."""
        self.fault_no_more()
        for each in self.call("GET", "databases").json()["databases"]:
            self.call("DELETE", f"databases/{each['Name']}").raise_for_status()

    def run(self, hostname: str, token: str, sql: str) -> tuple[int, Any]:
        """Status and answer of one statement on a database."""
        body = {"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}
        reply = httpx.post(
            f"http://{hostname}v3/pipeline", json=body, headers={"authorization": f"Bearer {token}"}, timeout=30
        )
        return reply.status_code, reply.json()


def turso_provider(twin: Twin, **options: Any) -> TursoProvider:
    """The adapter on this twin."""
    return TursoProvider(twin.url, TOKEN, ORGANIZATION, "default", **options)


@contextlib.contextmanager
def running_twin(*options: str) -> Iterator[Twin]:
    """A twin in a folder of its own, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="twin-"))
    twin = Twin(folder, "--databases-at", "paths", *options)
    try:
        yield twin.start()
    finally:
        twin.stop()
        shutil.rmtree(folder, ignore_errors=True)
