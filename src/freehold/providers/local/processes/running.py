"""Starts the engine processes of an installation, or finds the running ones: there is one set per DATA_DIR."""

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from freehold.errors import ProviderUnavailable
from freehold.providers.local.processes.config import EngineConfig

_SUPERVISOR = "freehold.providers.local.processes.supervisor"
# What a process needs to find its libraries and write its log: no settings and no secrets.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH")
_END_S = 3.0


class Census(Struct, frozen=True):
    """How many engines there are; clients need it to find a database's engine."""

    engines: int


def lock_of(run_dir: Path) -> int | None:
    """Take the lock of the process that runs the engines: a descriptor to keep open, or None if it is taken."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened


def write_census(run_dir: Path, engines: int) -> None:
    """Record how many engines there are. The holder of the lock calls it before any engine listens."""
    for each in run_dir.glob("engine-*"):
        each.unlink(missing_ok=True)
    with contextlib.suppress(ProviderUnavailable):
        if read_census(run_dir) == engines:  # nothing to write, for which a full disk has no room
            return
    draft = run_dir / "engines.draft"
    draft.write_bytes(msgspec.json.encode(Census(engines)))
    draft.replace(run_dir / "engines.json")


def read_census(run_dir: Path) -> int:
    """How many engines are running.

    Raises:
        ProviderUnavailable: none is.
    """
    try:
        return msgspec.json.decode((run_dir / "engines.json").read_bytes(), type=Census).engines
    except (OSError, msgspec.DecodeError) as error:
        raise ProviderUnavailable("the engines of the databases do not run") from error


class StartedEngines:
    """Engine processes started by this process, with their supervisor; they end with it, or on `close`."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        """Start them, which takes some tenths of a second; False if another process already runs them."""
        run_dir = Path(self._config.run_dir)
        lock = lock_of(run_dir)
        if lock is None:
            return False
        try:
            write_census(run_dir, self._config.engines)
            self._process = subprocess.Popen(  # noqa: S603 - no outside input
                [sys.executable, "-m", _SUPERVISOR, str(lock)],
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
                stdin=subprocess.PIPE,
                pass_fds=(lock,),
            )
        finally:
            os.close(lock)  # the supervisor has it
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(self._config) + b"\n")
            self._process.stdin.flush()
        return True

    @property
    def has_ended(self) -> bool:
        """Whether they are not running, and `start` is needed."""
        return self._process is None or self._process.poll() is not None

    def close(self) -> None:
        """End them, within three seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
