"""`freehold dev sqld`: the self-hosted shape in one command."""

import contextlib
import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.servers import Service, missing
from testbed.sqld import BINARY

from tests.e2e.people import run_sql, sign_up


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
    run_sql(mine, "UPDATE settings SET new_cards_per_day = 7")
    kept = {path.name for path in (running.data_dir / "sqld/data/dbs").iterdir()}
    assert kept == {mine["db_name"]}  # SQL of users runs there, so nothing else is
    assert (running.data_dir / "sqld/central.db").is_file()
    running.kill()
    running.start()
    again = person.credentials()
    assert again["db_name"] == mine["db_name"]
    assert run_sql(again, "SELECT new_cards_per_day FROM settings") == [["7"]]


def test_other_commands_work_beside_it_with_the_variables_that_it_prints(running: DevSqld) -> None:
    person = sign_up(running.url)
    person.credentials()
    alone = running.run("audit", "list")
    assert (alone.returncode, "freehold dev sqld --print" in alone.stderr) == (3, True)
    printed = json.loads(running.run("dev", "sqld", "--print", "--json").stdout)
    assert stat.S_IMODE((running.data_dir / "sqld/variables.json").stat().st_mode) == 0o600
    listed = running.run("tenants", "list", "--json", **printed)
    assert (listed.returncode, json.loads(listed.stdout)["email"]) == (0, person.email)
    asked = running.run("tenants", "sql", person.email, "SELECT new_cards_per_day FROM settings", **printed)
    assert (asked.returncode, asked.stdout.splitlines()[-1]) == (0, "10")
    # Nothing but the running one's own folder was made.
    assert not (running.data_dir / "central.db").exists()
    shell = running.run("dev", "sqld", "--print").stdout
    assert f"export SQLD_URL={printed['SQLD_URL']}" in shell.splitlines()
    running.stop()
    assert running.run("dev", "sqld", "--print").returncode == 4


def test_its_sqld_ends_with_it_however_it_ends(running: DevSqld) -> None:
    folder = str(running.data_dir / "sqld")
    assert _processes_on(folder) != []
    running.kill()
    until = time.monotonic() + 15
    while found := _processes_on(folder):
        assert time.monotonic() < until, found
        time.sleep(0.05)


def test_a_sqld_that_is_killed_is_back_at_the_same_place_with_all_that_was_acknowledged(running: DevSqld) -> None:
    mine = sign_up(running.url).credentials()
    for round_ in range(2):
        run_sql(mine, f"UPDATE settings SET new_cards_per_day = {round_ + 7}")
        os.kill(_sqld_on(running), signal.SIGKILL)
        until = time.monotonic() + 30
        # What `/ready` found holds for a moment, so that it may still be of the one that was killed.
        while _sqld_answers(mine).status_code != 200 or not _is_ready(running):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert run_sql(mine, "SELECT new_cards_per_day FROM settings") == [[str(round_ + 7)]]
    text = httpx.get(f"{running.url}/metrics", timeout=10).text
    assert "freehold_sqld_restarts_total 2.0" in text
    assert "freehold_sqld_up 1.0" in text
    assert "freehold_sqld_supervised 1.0" in text
    assert httpx.get(f"{running.url}/ready", timeout=10).json() == {"status": "ready"}
    assert "sqld.ended" in running.log()
    assert "signal 9" in running.log()


def test_memory_is_bounded_and_sqld_sees_nothing_of_our_environment(running: DevSqld) -> None:
    process = Path(f"/proc/{_sqld_on(running)}")
    words = (process / "cmdline").read_text().split("\0")
    assert words[words.index("--hard-heap-limit-mb") + 1] == "1024"
    assert "--soft-heap-limit-mb" in words
    names = {line.partition("=")[0] for line in (process / "environ").read_text().split("\0") if line}
    allocator = {"MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"}
    assert names == {"LIBSQL_ADMIN_AUTH_KEY", "RUST_LOG", "RUST_MIN_STACK"} | allocator


def test_a_second_one_on_the_same_data_is_told(running: DevSqld) -> None:
    done = running.run("dev", "sqld", PORT="0")
    assert done.returncode == 3
    assert "another sqld works on" in done.stderr


def _sqld_answers(mine: dict[str, Any]) -> httpx.Response:
    return httpx.post(
        f"{mine['url']}v3/pipeline",
        headers={"authorization": f"Bearer {mine['access_token']}"},
        json={"requests": [{"type": "close"}]},
        timeout=30,
    )


def _is_ready(running: DevSqld) -> bool:
    return httpx.get(f"{running.url}/ready", timeout=10).status_code == 200


def _sqld_on(running: DevSqld) -> int:
    """The process of its sqld."""
    folder = str(running.data_dir / "sqld/data")
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and folder in (process / "cmdline").read_text().split("\0"):
                return int(process.name)
    raise AssertionError("no sqld runs there")


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
