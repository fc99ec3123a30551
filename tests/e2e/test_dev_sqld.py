"""`freehold dev sqld`: the self-hosted shape in one command."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.people import run_sql, sign_up
from tests.servers import Service, missing
from tests.sqld import BINARY


class DevSqld(Service):
    verb = ("dev", "sqld")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[DevSqld]:
    if not BINARY.exists():
        missing("sqld is not installed: run `make test` once")
    service = DevSqld(tmp_path, SQLD_BINARY=str(BINARY), BETTER_AUTH_SECRET="s" * 40)
    service.start()
    yield service
    service.stop()


def test_all_is_kept_on_its_sqld_and_is_there_after_a_kill(running: DevSqld) -> None:
    person = sign_up(running.url)
    mine = person.credentials()
    run_sql(mine, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    kept = {path.name for path in (running.data_dir / "sqld/data/dbs").iterdir()}
    assert kept == {"central", mine["db_name"]}
    assert not (running.data_dir / "central.db").exists()
    running.kill()
    running.start()
    again = person.credentials()
    assert again["db_name"] == mine["db_name"]
    assert run_sql(again, "SELECT a FROM t") == [["1"]]


def test_its_sqld_ends_with_it_however_it_ends(running: DevSqld) -> None:
    folder = str(running.data_dir / "sqld")
    assert _processes_on(folder) != []
    running.kill()
    until = time.monotonic() + 15
    while found := _processes_on(folder):
        assert time.monotonic() < until, found
        time.sleep(0.05)


def test_a_second_one_on_the_same_data_is_told(running: DevSqld) -> None:
    done = running.run("dev", "sqld", PORT="0")
    assert done.returncode == 3
    assert "another sqld works on" in done.stderr


def _processes_on(folder: str) -> list[str]:
    """Programs with this folder among their arguments."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has just ended
                continue
            if folder in line and "sqld" in line:
                found.append(line)
    return found
