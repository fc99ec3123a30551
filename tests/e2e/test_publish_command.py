"""`freehold registry publish --to`: exit codes, what it prints, retries, and where the token goes."""

import json
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from testbed.servers import FREEHOLD, clean_environ

from freehold.cli.registry import registry
from tests.e2e.releases import Publisher


class Ci:
    """A folder of migrations and a key, on a machine that knows nothing of the service but its address."""

    def __init__(self, folder: Path, publisher: Publisher) -> None:
        self.folder = folder
        self.publisher = publisher
        self.url = publisher.service.url
        self.token = publisher.ci["x-api-key"]
        (folder / "files").mkdir()
        self.write(1, "CREATE TABLE one (x);\n")
        self.new_key()

    def write(self, version: int, sql: str) -> None:
        (self.folder / "files" / f"{version:04}_step_{version}.sql").write_text(sql)

    def new_key(self) -> None:
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "registry.pem").write_bytes(pem)

    def start(self, *words: str, token: str | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [FREEHOLD, "registry", *words],
            cwd=self.folder,
            env=clean_environ(SCHEMA_REGISTRY="files", REGISTRY_TOKEN=self.token if token is None else token),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, token: str | None = None) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        done = CliRunner().invoke(registry, words, env=self.environ(token))
        for secret in (self.token, token or self.token):
            assert secret not in done.output
        return done.exit_code, done.stdout, done.stderr

    def environ(self, token: str | None) -> dict[str, str]:
        return {"SCHEMA_REGISTRY": "files", "REGISTRY_TOKEN": self.token if token is None else token}

    def sign(self) -> None:
        code, stdout, stderr = self.run("sign", "--key-file", "registry.pem")
        assert code == 0, stderr
        (self.folder / "release.json").write_text(stdout)

    def publish(self, *words: str, to: str | None = None, token: str | None = None) -> tuple[int, str, str]:
        return self.run(
            "publish", "--signed", "release.json", "--to", self.url if to is None else to, *words, token=token
        )


@pytest.fixture
def ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ci]:
    publisher = Publisher(tmp_path / "service")
    (tmp_path / "ci").mkdir()
    made = Ci(tmp_path / "ci", publisher)
    monkeypatch.chdir(made.folder)
    made.sign()
    yield made
    publisher.service.stop()
    assert made.token not in publisher.service.log()


def test_it_publishes_once_and_says_so(ci: Ci) -> None:
    assert ci.publish("--dry-run")[:2] == (0, "would publish 0001_step_1.sql\n")
    assert ci.publisher.version == 0
    assert ci.publish()[:2] == (0, "published 0001_step_1.sql\n")
    code, stdout, stderr = ci.publish()
    assert (code, stdout, "there is nothing to do" in stderr) == (0, "", True)
    ci.sign()
    code, stdout, stderr = ci.publish()
    assert (code, stdout, "the signature was renewed" in stderr) == (0, "", True)
    ci.write(2, "CREATE TABLE two (x);\n")
    ci.sign()
    code, stdout, _ = ci.publish("--json")
    assert (code, json.loads(stdout)) == (0, {
        "published": [2], "already": 1, "version": 2, "without_file": [], "renewed": True, "dry_run": False,
    })  # fmt: skip
    # It keeps nothing on CI's machine.
    assert sorted(path.name for path in ci.folder.iterdir()) == ["files", "registry.pem", "release.json"]


def test_what_the_service_refuses_is_exit_code_1(ci: Ci) -> None:
    assert ci.publish()[0] == 0
    ci.write(2, "CREATE TABLE two (x);\n")
    code, _, stderr = ci.publish()
    assert (code, "signed for other files" in stderr) == (1, True)
    ci.write(1, "CREATE TABLE one (y);\n")
    ci.sign()
    code, _, stderr = ci.publish("--dry-run")
    assert (code, "migration 1 was already published with other SQL" in stderr) == (1, True)
    ci.write(1, "CREATE TABLE one (x);\n")
    ci.new_key()
    ci.sign()
    code, _, stderr = ci.publish()
    assert (code, "registry keys add" in stderr) == (1, True)
    code, _, stderr = ci.publish(token=ci.publisher.api_key()["x-api-key"])
    assert (code, "registry:publish" in stderr) == (1, True)
    assert ci.publisher.version == 1


def test_wrong_use_is_2_bad_settings_3_and_no_answer_4(ci: Ci) -> None:
    unreachable = ci.start("publish", "--signed", "release.json", "--to", "http://127.0.0.1:9")
    assert ci.run("publish", "--to", ci.url)[0] == 2
    for url in ("http://auth.example.com", "auth.example.com", "ftp://127.0.0.1", "https://a:b@127.0.0.1", ""):
        assert ci.publish(to=url)[0] == 2, url
    for token in ("", "two words", "é" * 64, "x" * 64, "no-session"):
        code, _, stderr = ci.publish(token=token)
        assert (code, stderr.startswith("REGISTRY_TOKEN: ")) == (3, True), token
    _, stderr = unreachable.communicate(timeout=60)
    assert (unreachable.returncode, "does not answer" in stderr) == (4, True)
    assert ci.publisher.version == 0


def test_the_status_at_a_service_is_what_apps_get(ci: Ci) -> None:
    assert ci.run("status", "--at", ci.url)[:2] == (1, "0001  pending    step_1\n")
    assert ci.publish()[0] == 0
    ci.write(2, "CREATE TABLE two (x);\n")
    code, stdout, _ = ci.run("status", "--at", ci.url, "--json")
    assert code == 1
    assert [json.loads(line)["state"] for line in stdout.splitlines()] == ["published", "pending"]
    ci.write(1, "CREATE TABLE one (y);\n")
    assert ci.run("status", "--at", ci.url)[1].startswith("0001  changed")
    ci.write(1, "CREATE TABLE one (x);\n")
    ci.sign()
    assert ci.publish()[0] == 0
    assert ci.run("status", "--at", ci.url)[0] == 0
    for words in (("--at", ci.url, "--census"), ("--at", "auth.example.com")):
        assert ci.run("status", *words)[0] == 2, words
    assert ci.run("status", "--at", "http://127.0.0.1:9")[0] == 4

    with closing(sqlite3.connect(ci.publisher.service.data_dir / "central.db")) as central, central:
        central.execute("UPDATE registry_manifest SET expires_at_s = expires_at_s + 1")
    ci.publisher.service.kill()
    ci.publisher.service.start()
    code, stdout, stderr = ci.run("status", "--at", ci.url)
    assert (code, stdout, "tampered" in stderr) == (1, "", True)


def test_a_service_that_is_killed_and_started_again_gets_it_once(ci: Ci) -> None:
    service = ci.publisher.service
    session = ci.publisher.admin["authorization"].removeprefix("Bearer ")
    with kept_waiting(ci, session) as publishing:
        service.kill()
    service.start()
    stdout, stderr = publishing.communicate(timeout=60)
    assert publishing.returncode == 0, stderr
    assert "asking again" in stderr
    assert json.loads(stdout)["published"] == [1]
    assert ci.publisher.version == 1
    assert session not in service.log() + stderr


def test_a_command_that_is_killed_is_run_again(ci: Ci) -> None:
    with kept_waiting(ci, ci.token) as publishing:
        publishing.kill()
    publishing.communicate(timeout=60)
    code, _, stderr = ci.publish()
    assert code == 0, stderr
    assert ci.publisher.version == 1
    assert len(ci.publisher.recorded("registry.migration_published")) == 1


@contextmanager
def kept_waiting(ci: Ci, token: str) -> Iterator[subprocess.Popen[str]]:
    """The command, whose request the service has and cannot finish: somebody else writes meanwhile."""
    service = ci.publisher.service
    with closing(sqlite3.connect(service.data_dir / "central.db", isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")
        words = ("publish", "--signed", "release.json", "--to", ci.url, "--json")
        publishing = ci.start(*words, token=token)
        until = time.monotonic() + 30
        while not _is_asked(service.port) and time.monotonic() < until:
            time.sleep(0.01)
        yield publishing


def _is_asked(port: int) -> bool:
    """Whether anybody is connected to the port; see proc_net_tcp(5)."""
    connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(each[1].endswith(f":{port:04X}") and each[3] == "01" for each in connections)


@contextmanager
def host(status: int, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """Somebody else's server: its URL, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_token_goes_to_nobody_else(ci: Ci) -> None:
    with host(200) as (url, asked):
        assert ci.publish(to=url)[0] == 4
        assert len(asked) == 1
        with host(307, Location=f"{url}/migrations/publish") as (redirecting, _):
            assert ci.publish(to=redirecting)[0] == 4
        assert len(asked) == 1
