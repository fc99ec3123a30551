"""The installed `freehold` command, without the second that each new process takes to read its modules."""

import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from testbed.warm_process import Order

ROOT = Path(__file__).parents[1]
FREEHOLD = Path(sys.executable).with_name("freehold")
# What Python reads when it begins, so it must begin anew.
_OF_PYTHON = ("PYTHON", "LC_")
_COMMAND, _CHANNEL = "FREEHOLD_WARM_COMMAND", "FREEHOLD_WARM_CHANNEL"
# Sends what `Started` sends; without the packages of the environment it begins in a fiftieth of a second.
_HANDING_ON = f"""
import json, os, socket, sys
environ = {{**os.environ}}
command, channel = environ.pop("{_COMMAND}"), int(environ.pop("{_CHANNEL}"))
told, tell = os.pipe()
order = {{"argv": [command, *sys.argv[1:]], "environ": environ, "folder": os.getcwd()}}
socket.send_fds(socket.socket(fileno=channel), [json.dumps(order).encode()], [0, 1, 2, tell])
os.close(tell)
with open(told) as lines:
    lines.readline()
    code = int(lines.readline())
os._exit(code if code >= 0 else 128 - code)
"""


class Started:
    """A running command, with the part of `subprocess.Popen` that tests need."""

    def __init__(self, channel: socket.socket, order: Order, streams: Sequence[IO[Any]]) -> None:
        told, tell = os.pipe()
        self._told = open(told, "rb", buffering=0)  # noqa: SIM115, PTH123 - open as long as the process is
        self._reading = threading.Lock()
        descriptors = [*(each.fileno() for each in streams), tell]
        socket.send_fds(channel, [msgspec.json.encode(order)], descriptors)
        os.close(tell)
        self.pid = int(self._told.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended_within(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("freehold", timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)

    def _ended_within(self, seconds: float | None) -> int | None:
        with self._reading:
            if self.returncode is None and select.select([self._told], [], [], seconds)[0]:
                self.returncode = int(self._told.readline())
                self._told.close()
            return self.returncode


class _Warm:
    """The process that has the modules; one for each worker, from the first command on."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def channel(self) -> socket.socket:
        with self._starting:
            if self._channel is None:
                self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "testbed.warm_process", str(theirs.fileno())],
                        cwd=ROOT,
                        env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        pass_fds=[theirs.fileno()],
                    )
            return self._channel


_warm = _Warm()


def start(
    words: Sequence[str],
    *,
    folder: Path,
    environ: Mapping[str, str],
    stdout: IO[Any],
    stderr: IO[Any],
    stdin: IO[Any] | None = None,
    anew: bool = False,
) -> Started | subprocess.Popen[bytes]:
    """Start `freehold WORDS`; without `stdin` nothing is typed. `anew` reads its modules itself."""
    argv = [str(FREEHOLD), *words]
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - one way for every stream
        typed = stdin or nothing
        if anew or sys.platform != "linux" or any(name.startswith(_OF_PYTHON) for name in environ):
            return subprocess.Popen(argv, cwd=folder, env=environ, stdin=typed, stdout=stdout, stderr=stderr)
        return Started(_warm.channel(), Order(argv, dict(environ), str(folder)), (typed, stdout, stderr))


def on_path(folder: Path) -> tuple[dict[str, str], int]:
    """Put a `freehold` into the folder, for scripts; gives the variables and the descriptor that they have to pass on.

    It hands its streams to the process that has the modules, and ends as the command does.
    """
    command = folder / "freehold"
    command.write_text(f"#!{sys.executable} -SE\n{_HANDING_ON}")
    command.chmod(0o755)
    channel = _warm.channel().fileno()
    return {_COMMAND: str(FREEHOLD), _CHANNEL: str(channel)}, channel


def run(
    words: Sequence[str], *, folder: Path, environ: Mapping[str, str], stdin: str = "", limit_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `freehold WORDS` to its end; it is killed after the limit."""
    with tempfile.TemporaryFile() as typed, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        typed.write(stdin.encode())
        typed.seek(0)
        running = start(words, folder=folder, environ=environ, stdin=typed, stdout=out, stderr=err)
        try:
            code = running.wait(limit_s)
        except BaseException:
            running.kill()
            running.wait()
            raise
        told = []
        for each in (out, err):
            each.seek(0)
            told.append(each.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess([str(FREEHOLD), *words], code, *told)
