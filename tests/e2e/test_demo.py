"""`make demo`: a client app's whole story, told on a terminal."""

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.servers import ROOT, Service, clean_environ


def demo(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py", *words],
        cwd=folder,
        env=clean_environ(PYTHONUTF8="1", **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def played(service: Service) -> subprocess.CompletedProcess[str]:
    return demo(service.folder, "--url", service.url)


def test_each_step_is_told_and_works(played: subprocess.CompletedProcess[str]) -> None:
    assert (played.returncode, played.stderr) == (0, "")
    steps = re.findall(r"^ ?(\d+)  (\S+ \S+)", played.stdout, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    for told in [
        "POST /api/auth/sign-up/email",
        "GET  /databases/user",
        "GET  /migrations?after=0",
        "version 9, signed with Ed25519 key",
        "9 checksums, their chain and its signature",
        "version 9: it was there already",
        "9 rows",
        "كتاب",
        "there is no such database",
        "this session has ended",
    ]:
        assert told in played.stdout
    assert len(re.findall(r"^    refused ", played.stdout, re.MULTILINE)) == 3
    assert len(re.findall(r"\d\.\d ms", played.stdout)) >= 14


def test_no_token_or_password_is_shown_in_full(played: subprocess.CompletedProcess[str]) -> None:
    assert not re.search(r"eyJ[\w-]{7}", played.stdout)
    assert not re.search(r"\b[A-Za-z0-9]{32}", played.stdout)
    assert "password" not in played.stdout


def test_it_can_be_played_again_and_leaves_two_users_each_time(service: Service, tmp_path: Path) -> None:
    def count() -> int:
        return len(service.run("tenants", "list", "--json", "--state", "ready").stdout.splitlines())

    before = count()
    assert demo(tmp_path, "--url", service.url).returncode == 0
    assert count() == before + 2


def test_the_address_comes_from_the_settings_of_make_run(service: Service, tmp_path: Path) -> None:
    by_variable = demo(tmp_path, PORT=str(service.port), PYTHONIOENCODING="latin-1")  # has no Arabic
    assert (by_variable.returncode, by_variable.stderr) == (0, "")
    (tmp_path / ".env").write_text(f"PORT={service.port}\nHOST=0.0.0.0\n")
    assert service.url in demo(tmp_path).stdout


def test_without_a_service_one_line_says_make_run(tmp_path: Path) -> None:
    lonely = demo(tmp_path, "--url", "http://127.0.0.1:9")
    assert (lonely.returncode, lonely.stdout) == (4, "")
    assert lonely.stderr == (
        "nothing answers at http://127.0.0.1:9: start the service with `make run`, then try again\n"
    )


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_another_program_on_the_port_is_told_apart(other_server: str, tmp_path: Path) -> None:
    refused = demo(tmp_path, "--url", other_server)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr == f"what answers at {other_server} is not Freehold; say where it is with --url\n"


@pytest.mark.parametrize("url", ["htp:/x", "http://[", "http://user@h/"])
def test_an_address_that_is_none_exits_2(url: str, tmp_path: Path) -> None:
    assert demo(tmp_path, "--url", url).returncode == 2


def test_a_bad_setting_exits_3(tmp_path: Path) -> None:
    refused = demo(tmp_path, PORT="x")
    assert (refused.returncode, refused.stderr) == (3, "PORT: expected `int`, got `x`\n")


def test_make_demo_runs_the_script_and_passes_the_address_on() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "demo", "URL=http://127.0.0.1:9000"],
        cwd=ROOT, env=clean_environ(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.splitlines()[-1] == ".venv/bin/python scripts/demo.py --url http://127.0.0.1:9000"


def test_on_a_service_of_another_app_it_says_so_and_nobody_is_sent_to_it(tmp_path: Path) -> None:
    files = tmp_path / "mine"
    files.mkdir()
    (files / "0001_create_notes.sql").write_text("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT);\n")
    service = Service(tmp_path, SCHEMA_REGISTRY=str(files)).start()
    try:
        assert "make demo" not in service.log()
        assert "docs/clients.md" in service.log()
        ended = demo(tmp_path, "--url", service.url)
        assert ended.returncode == 1
        assert "another app's schema" in ended.stderr
    finally:
        service.stop()
