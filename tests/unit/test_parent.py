"""The parent of a service goes on when something cannot be started for a while."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from freehold.cli import parent as parent_of_all
from freehold.cli.parent import Parent
from freehold.providers.local import engine
from freehold.providers.local.processes import supervisor as supervisor_of_engines
from freehold.providers.local.processes.children import Place
from freehold.providers.local.processes.config import EngineConfig
from freehold.providers.local.processes.running import lock_of, read_census, write_census
from freehold.providers.local.processes.supervisor import Supervisor
from freehold.providers.sqlite.limits import EngineLimits, Limits
from freehold.settings.fields import BadSettings

SERVICE = """
import os, signal, sys, time
from pathlib import Path
from freehold.cli.parent import Parent

folder = Path(sys.argv[1])

def until(file):
    while not file.exists():
        time.sleep(0.01)

def work(number, is_up):
    if number == 0:
        is_up()
        (folder / "serves").touch()
    elif not (folder / "failed").exists():
        until(folder / "serves")
        time.sleep(0.5)  # the parent has noticed
        (folder / "failed").touch()
        return 7
    else:
        is_up()
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
    return 0

sys.exit(Parent(work, 2, None).run())
"""


def test_what_stops_one_after_the_other_has_three_seconds_in_all() -> None:
    assert parent_of_all._HTTP_ENDS_S + supervisor_of_engines._END_S <= 3
    assert engine._END_LIMIT_S < supervisor_of_engines._END_S


class Engines:
    """Stands for the engines of a service: none of them runs, and each start has the next of these results."""

    has_ended = True

    def __init__(self, *results: bool | OSError) -> None:
        self.results = list(results)

    def start(self) -> bool:
        result = self.results.pop(0)
        if isinstance(result, OSError):
            raise result
        return result


def parent(engines: Any) -> Parent:
    return Parent(lambda _number, _is_up: 0, 1, engines)


def test_one_process_that_fails_to_start_does_not_end_a_service_that_another_serves(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", SERVICE, str(tmp_path)], timeout=60, check=False)
    assert (ran.returncode, (tmp_path / "failed").exists()) == (0, True)


def test_engines_that_can_never_be_started_are_named_with_their_setting() -> None:
    engines = Engines(OSError(28, "No space left on device"))
    with pytest.raises(BadSettings, match=r"DATA_DIR: .*\(no space left on device\)"):
        parent(engines)._start_engines(engines, 0.0)  # type: ignore[arg-type]


def test_engines_that_cannot_be_started_again_are_tried_again_later() -> None:
    engines = Engines(True, OSError(28, "No space left on device"), True)
    service = parent(engines)
    for now in (0.0, 10.0):
        service._start_engines(engines, now)  # type: ignore[arg-type]
        assert now < service._engines_start_at <= now + 5
    assert engines.results == [True]


def test_engines_that_another_process_runs_are_taken_over_without_a_pause() -> None:
    engines = Engines(False)
    service = parent(engines)
    service._start_engines(engines, 10.0)  # type: ignore[arg-type]
    assert service._engines_start_at <= 10.0


def test_a_full_disk_is_no_obstacle_to_the_same_number_of_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    lock = lock_of(tmp_path)
    write_census(tmp_path, 2)
    monkeypatch.setattr(Path, "write_bytes", full)
    write_census(tmp_path, 2)
    with pytest.raises(OSError, match="No space"):
        write_census(tmp_path, 3)
    assert read_census(tmp_path) == 2
    assert lock is not None
    os.close(lock)


def test_an_engine_that_cannot_be_forked_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    config = EngineConfig(
        run_dir=str(tmp_path), databases_dir=str(tmp_path), engines=1, limits=Limits(), engine_limits=EngineLimits()
    )
    supervisor, seat = Supervisor(config, lock=-1), Place(0)
    monkeypatch.setattr(os, "fork", refuse)
    before = set(Path("/proc/self/fd").iterdir()) if sys.platform == "linux" else set()
    supervisor._fill(seat)
    assert seat.child is None
    assert seat.starts_at > time.monotonic()
    if before:
        assert set(Path("/proc/self/fd").iterdir()) == before
