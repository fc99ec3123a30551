"""A fresh clone: `make run` and `make test` set up all that they need but Python, make and Node."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from testbed.servers import ROOT, missing, require

from freehold.settings.load import variables

_SETUP_LIMIT_S = 240.0
# What the make and the pytest that run this test would hand on to those that it starts.
_INHERITED = re.compile(r"MAKE.*|MFLAGS|PYTEST.*|PYTHON(PATH|HOME|DONTWRITEBYTECODE)|VIRTUAL_ENV|COV_.*|PORT|URL")

# As it is before any test; see `tests/conftest.py`.
_OF_THE_MACHINE = dict(os.environ)


@dataclass(frozen=True)
class Clone:
    """A checkout of its own, and its targets."""

    folder: Path

    def make(self, *words: str, limit_s: float = 60, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [require("make"), "--no-print-directory", *words],
            cwd=self.folder,
            env=_environ(**settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    @contextmanager
    def running(self, limit_s: float, **settings: str) -> Iterator[str]:
        """`make run` until the block ends, and what it printed up to the time when `/health` answers."""
        log = self.folder.parent / "run.log"
        with log.open("w") as output:
            started = subprocess.Popen(
                [require("make"), "run"],
                cwd=self.folder,
                env=_environ(**settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a process group of its own, as on a terminal
            )
        try:
            until = time.monotonic() + limit_s
            while not _answers(settings["PORT"]):
                assert started.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            yield log.read_text()
            os.killpg(started.pid, signal.SIGINT)  # Ctrl-C reaches the group
            started.wait(20)
            assert "Traceback" not in log.read_text()
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait(10)


def _environ(**settings: str) -> dict[str, str]:
    """This environment, for pip and npm may need it, without what would change how Freehold or pytest behave."""
    ours = set(variables())
    kept = {name: text for name, text in _OF_THE_MACHINE.items() if not _INHERITED.fullmatch(name)}
    return {**{name: text for name, text in kept.items() if name not in ours}, **settings}


def _answers(port: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    if not (ROOT / ".git").exists():
        missing("this is no git checkout, so there is nothing to clone")
    folder = tmp_path / "clone"
    subprocess.run([require("git"), "clone", "--quiet", str(ROOT), str(folder)], check=True, timeout=60)
    return Clone(folder)


@pytest.mark.timeout(600)
def test_run_demo_and_test_work_on_a_fresh_clone_and_again(clone: Clone, tmp_path: Path) -> None:
    settings = {"PORT": _free_port(), "DATA_DIR": str(tmp_path / "data")}
    url = f"http://127.0.0.1:{settings['PORT']}"
    with clone.running(_SETUP_LIMIT_S, **settings) as told:
        assert "setting up .venv" in told
        assert f"Freehold listens on {url}" in told
        assert f"make demo URL={url}" in told
        # Nothing but what the service needs is installed now, so this shows that the demo needs no more.
        assert not list((clone.folder / ".venv").glob("lib/*/site-packages/pytest"))
        demo = clone.make("demo", f"URL={url}")
        assert demo.returncode == 0, demo.stdout + demo.stderr
        keys = httpx.get(f"{url}/migrations/keys").json()
    with clone.running(60, **settings) as told:
        assert "setting up" not in told
        assert httpx.get(f"{url}/migrations/keys").json() == keys
    assert not (clone.folder / "data").exists()

    for _ in range(2):
        # More workers would only read the same modules.
        tested = clone.make("test", "PYTEST_ARGS=tests/unit/test_settings.py", "WORKERS=2", limit_s=_SETUP_LIMIT_S)
        assert tested.returncode == 0, tested.stdout + tested.stderr
        assert re.search(r"\d+ passed", tested.stdout)
    assert "adding test tools" not in tested.stdout
    assert "installing the official" not in tested.stdout
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone.folder, capture_output=True, text=True, check=True
    )
    assert changed.stdout == "", "the targets leave files behind that git does not ignore"


@pytest.mark.parametrize(
    ("arguments", "failing", "ran"),
    [
        ("", "", ["all", "hostile"]),
        ("-x --tb=short", "", ["all", "hostile"]),
        ("", "all", ["all", "hostile"]),
        ("", "hostile", ["all", "hostile"]),
        ("-k ledger", "", ["all"]),
        ("tests/unit", "all", ["all"]),
    ],
)
def test_the_hostile_campaign_follows_all_tests_and_a_failure_of_either_fails(
    clone: Clone, tmp_path: Path, arguments: str, failing: str, ran: list[str]
) -> None:
    """With a pytest that only says which call it is: the targets around it are what is tried."""
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\ncase " $* " in *" -m hostile "*) call=hostile;; *) call=all;; esac\n'
        f'echo "ran $call"; [ $call != "{failing}" ]\n'
    )
    python.chmod(0o755)
    done = (".venv/.dev", ".venv/.collected", "tests/e2e/node/node_modules/.ready", "tests/e2e/clients/.venv/.ready")
    ready = [word for each in done for word in ("-o", each)]
    tested = clone.make(*ready, "test", f"BIN={tmp_path}", f"PYTEST_ARGS={arguments}")
    assert re.findall(r"^ran (\w+)$", tested.stdout, re.MULTILINE) == ran
    assert tested.stdout.splitlines()[-1] == f"ran {ran[-1]}"  # pytest's own closing line is the last
    assert (tested.returncode != 0) == bool(failing)


def test_make_alone_lists_every_target(clone: Clone) -> None:
    listed = clone.make()
    assert listed.returncode == 0
    names = re.findall(r"^  make (\S+) +\S", listed.stdout, re.MULTILINE)
    assert {"run", "test", "demo", "unit", "lint", "format", "types", "clients", "bench", "clean"} <= set(names)
    assert not (clone.folder / ".venv").exists()


def test_clean_removes_what_was_set_up_and_never_data(clone: Clone) -> None:
    kept = [clone.folder / "data" / name for name in ("central.db", "__pycache__/x", "node_modules/x")]
    made = [
        clone.folder / name
        for name in (
            *(".venv/bin/python", "tests/e2e/clients/.venv/bin/python"),
            *("tests/e2e/node/node_modules/x", "src/__pycache__/x"),
        )
    ]
    for path in kept + made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert clone.make("clean").returncode == 0
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in made)
    assert clone.make("clean").returncode == 0


def test_a_python_that_is_too_old_is_told_in_one_line(clone: Clone, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    refused = clone.make("run", f"PYTHON={old}")
    assert refused.returncode == 2
    assert "needs Python 3.11 or newer" in refused.stdout
    assert not (clone.folder / ".venv").exists()


def test_without_npm_the_tests_say_what_is_missing(clone: Clone, tmp_path: Path) -> None:
    (clone.folder / ".venv").mkdir()
    for mark in (".run", ".dev"):
        (clone.folder / ".venv" / mark).touch()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "make", "touch"):
        path = shutil.which(name)
        assert path is not None
        (tools / name).symlink_to(path)
    refused = clone.make("test", PATH=str(tools))
    assert refused.returncode == 2
    assert "the tests need Node with npm" in refused.stdout
