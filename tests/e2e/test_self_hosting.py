"""docker-compose.yml and docs/self-hosting.md, as far as they can be run without Docker: each with the real sqld."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from testbed.servers import FREEHOLD, ROOT, clean_environ, missing, require
from testbed.sqld import BINARY, free_ports

from freehold.settings.load import load_settings, variables
from tests.e2e.people import run_sql, sign_up

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_only_freehold_is_reachable_and_all_else_has_no_way_out(compose: Any) -> None:
    published = {name for name, service in compose["services"].items() if "ports" in service}
    assert published == {"freehold"}
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["freehold"]["ports"])
    assert compose["networks"]["inside"] == {"internal": True}
    for name in ("sqld", "redis", "redis-rest"):
        assert compose["services"][name]["networks"] == ["inside"]


def test_its_settings_are_settings_and_sound(compose: Any, tmp_path: Path) -> None:
    given = {
        name: re.sub(r"\$\{\w+(?::-([^}]*))?[^}]*\}", lambda found: found[1] or "x" * 64, value)
        for name, value in compose["services"]["freehold"]["environment"].items()
    }
    assert given.keys() <= variables().keys()
    settings = load_settings({**given, "DATA_DIR": str(tmp_path)})
    assert not settings.shares_sqld
    assert settings.central_file is not None  # in the volume that DATA_DIR is
    where = "freehold:/var/lib/freehold/data"
    assert where in compose["services"]["freehold"]["volumes"]
    assert "DATA_DIR=/var/lib/freehold/data" in (ROOT / "Dockerfile").read_text()


def test_sqld_is_one_that_syncs_its_log(compose: Any) -> None:
    assert compose["services"]["sqld"]["build"]["target"] == "sqld"
    version = re.findall(r"libsql-server:v([\d.]+)", (ROOT / "Dockerfile").read_text())[0]
    assert tuple(map(int, version.split("."))) >= (0, 24, 33)


def test_every_volume_of_an_image_begins_with_the_folder_of_the_user_that_it_runs_as() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    [base] = [stage for stage in stages if " AS base" in stage.splitlines()[0]]
    numbers = dict(map(reversed, re.findall(r"useradd .*--uid (\d+) .* (\w+)$", base, re.MULTILINE)))
    seen = 0
    for stage in stages:
        for volume in re.findall(r"^VOLUME (\S+)$", stage, re.MULTILINE):
            seen += 1
            before, _, _ = stage.partition(f"VOLUME {volume}")
            user = re.findall(r"^USER (\S+)$", before, re.MULTILINE)[-1].partition(":")[0]
            [(owner, group)] = re.findall(
                rf"^RUN install -d -o (\S+) -g (\S+) (?:-m \d+ )?{volume}$", before, re.MULTILINE
            )
            assert owner == group == user
            assert user.isdecimal() or user in numbers  # the same number in every build, for volumes that stay
    assert seen == 2


@pytest.fixture
def anybody_may_enter() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_of_somebody_else_is_named_with_what_to_do(anybody_may_enter: Path) -> None:
    if os.geteuid() != 0:
        missing("only root may become somebody else")
    volume = anybody_may_enter / "volume"
    volume.mkdir(mode=0o755)
    script = (
        "import os, sys; from pathlib import Path; from freehold.wiring.key_files import make_folder;"
        "from freehold.settings.fields import BadSettings\n"
        "os.setgid(999); os.setuid(999)\n"
        "try: make_folder(Path(sys.argv[1]) / 'keys')\n"
        "except BadSettings as error: print(error)"
    )

    def made() -> str:
        run = subprocess.run(
            [sys.executable, "-c", script, volume], capture_output=True, text=True, check=True, env=clean_environ()
        )
        return run.stdout

    told = made()
    assert "DATA_DIR: cannot make the folder" in told
    assert f"`{volume}` belongs to user 0, and this runs as 999" in told
    assert f"chown 999 {volume}" in told
    os.chown(volume, 999, 999)  # what the Dockerfile's line does
    assert (made(), (volume / "keys").is_dir()) == ("", True)


def test_the_image_copies_what_is_there_and_the_package_has_its_migrations(tmp_path: Path) -> None:
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-q", "-w", tmp_path, ROOT], check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for migration in (ROOT / "migrations/versions").glob("*.py"):
        assert f"freehold/central/migrations/versions/{migration.name}" in names


def test_sqld_takes_the_options_of_the_compose_file(compose: Any, tmp_path: Path) -> None:
    _require_sqld()
    port, admin_port = free_ports()
    supervisor_port, _ = free_ports()
    (tmp_path / "keys").mkdir()
    _make_keys(tmp_path / "keys")
    where = {
        "/var/lib/sqld": str(tmp_path / "data"),
        "0.0.0.0:8080": f"127.0.0.1:{port}",
        "0.0.0.0:9090": f"127.0.0.1:{admin_port}",
        "0.0.0.0:9091": f"127.0.0.1:{supervisor_port}",
        "/keys/sqld.pub.pem": str(tmp_path / "keys/sqld.pub.pem"),
    }
    verb, *words = [where.get(word, word) for word in compose["services"]["sqld"]["command"]]
    assert verb == "freehold"
    assert set(where.values()) <= set(words)
    environ = clean_environ(SQLD_ADMIN_KEY="secret", SQLD_BINARY=str(BINARY))
    with _running([str(FREEHOLD), *words], environ, tmp_path):
        _wait_for(f"http://127.0.0.1:{port}/health")
        url = f"http://127.0.0.1:{admin_port}/v1/namespaces/x/config"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Basic secret"}).status_code == 404
        state = f"http://127.0.0.1:{supervisor_port}/state"
        assert httpx.get(state).status_code == 401
        found = httpx.get(state, headers={"authorization": "Bearer secret"}).json()
        assert (found["state"], found["restarts"]) == ("up", 0)
    with pytest.raises(httpx.TransportError):  # it ended with its supervisor
        httpx.get(f"http://127.0.0.1:{port}/health")


def test_the_page_works_as_it_stands(tmp_path: Path) -> None:
    """Its blocks for use without Docker, with other ports and in a folder of their own."""
    _require_sqld()
    page = (ROOT / "docs/self-hosting.md").read_text()
    by_hand = [block for block in _BLOCK.findall(page) if "sqld.pem" in block or "freehold serve" in block]
    assert len(by_hand) == 2
    port, admin_port = free_ports()
    start, serve = by_hand
    script = f"set -e\n{start.rstrip()} &\n{serve}"
    supervisor_port, _ = free_ports()
    for written, free in (("8080", port), ("9090", admin_port), ("9091", supervisor_port)):
        script = script.replace(written, str(free))
    script = script.replace("freehold sqld", f"{FREEHOLD} sqld")
    script = script.replace("freehold serve", f"sleep 4; exec {FREEHOLD} serve")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sqld").symlink_to(BINARY)
    registry = str(ROOT / "schema_registry/bahar")
    environ = clean_environ(PORT="0", SCHEMA_REGISTRY=registry, BETTER_AUTH_SECRET="s" * 40)
    environ["PATH"] = f"{tmp_path / 'bin'}:{environ['PATH']}"
    with _running(["sh", "-c", script], environ, tmp_path) as log:
        until = time.monotonic() + 30
        while not (found := re.search(r"listens on (http://\S+)", log.read_text())):
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        mine = sign_up(found[1]).credentials()
        assert run_sql(mine, "SELECT 1") == [["1"]]
    assert not (tmp_path / "sqld-data/dbs/central").exists()
    assert (tmp_path / "data/central.db").is_file()
    assert (tmp_path / "sqld-data/dbs" / mine["db_name"]).is_dir()


def _make_keys(folder: Path) -> None:
    openssl = require("openssl")
    for words in (
        ["genpkey", "-algorithm", "ed25519", "-out", "sqld.pem"],
        ["pkey", "-in", "sqld.pem", "-pubout", "-out", "sqld.pub.pem"],
    ):
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True, timeout=20)


def _require_sqld() -> None:
    require("openssl")
    if not BINARY.exists():
        missing("sqld is not installed: run `make test` once")


@contextmanager
def _running(words: list[str], environ: dict[str, str], folder: Path) -> Iterator[Path]:
    """A process group, and the file of its output; ended by its id."""
    log = folder / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield log
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


def _wait_for(url: str) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, url
        time.sleep(0.05)
