"""`python -m bench --against REV` measures that revision's own source, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from testbed.servers import ROOT, clean_environ, missing

SHORT = ("--rounds", "1", "--seconds", "0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not (ROOT / ".git").exists():
        missing("this is no repository, so there is no other revision")
    return tmp_path


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        env=clean_environ(TMPDIR=str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def worktrees(folder: Path) -> list[str]:
    told = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in told.stdout.splitlines() if str(folder) in line]


def ours(folder: Path) -> list[str]:
    """Processes that work in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.timeout(300)
def test_a_revision_is_measured_beside_the_source_as_it_is(folder: Path) -> None:
    running = started(folder, "--against", "HEAD", *SHORT, "--json", "pull, 304", "gateway on files, select")
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    findings = {each["name"]: each for each in map(json.loads, out.splitlines())}
    paths = ("registry pull, 304", "gateway on files, select 1")
    assert set(findings) == {f"{path}{what}" for path in paths for what in ("", ", processor", ", p99")}
    assert findings["registry pull, 304"]["beside"] == "HEAD"
    assert findings["registry pull, 304"]["at_least"] == 0.97
    assert findings["registry pull, 304"]["floor"] > 0
    assert (worktrees(folder), ours(folder), list(folder.iterdir())) == ([], [], [])


@pytest.mark.timeout(300)
def test_it_tidies_up_when_it_is_interrupted(folder: Path) -> None:
    running = started(folder, "--against", "HEAD", "--seconds", "5", "on sqld")
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("measuring"):
            break
    time.sleep(0.5)
    assert worktrees(folder)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal sends it
    assert running.wait(120) == 130
    running.stderr.close()
    assert running.stdout is not None
    running.stdout.close()
    assert (worktrees(folder), ours(folder), list(folder.iterdir())) == ([], [], [])


# The bench itself, with something to measure that fails. The signal comes while that is tidied up and the loop is
# blocked, as when a terminal's signal ends what is measured, and the bench removes its folders before it hears.
INTERRUPTED_LATE = """
import os, runpy, signal, sys
from bench import against

async def run(*_):
    try:
        raise ConnectionError("what is measured is gone")
        yield
    finally:
        if {is_sent}:
            os.kill(os.getpid(), signal.SIGINT)

against.run = run
sys.argv = ["bench", "--against", "HEAD"]
runpy.run_module("bench", run_name="__main__")
"""


@pytest.mark.parametrize(("is_sent", "code"), [(True, 130), (False, 1)])
def test_an_interrupt_that_ended_what_is_measured_first_is_still_an_interrupt(is_sent: bool, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_LATE.format(is_sent=is_sent)],
        cwd=ROOT,
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert ("what is measured is gone" in ended.stderr) == (not is_sent)


def test_a_revision_that_is_not_there_is_wrong_use(folder: Path) -> None:
    running = started(folder, "--against", "no-such-revision", "304")
    _, err = running.communicate(timeout=120)
    assert running.returncode == 2
    assert err == "there is no revision no-such-revision here\n"
