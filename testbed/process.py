"""One program as a child process: started, waited for, listened to, and ended by its id."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import httpx

from testbed.warm import Started

# A busy machine takes long to start anything.
_START_LIMIT_S = 60.0
_END_LIMIT_S = 20.0
_LOOK_EVERY_S = 0.02

Running = subprocess.Popen[bytes] | Started
Begins = Callable[[IO[bytes], IO[bytes]], Running]


def spawn(words: Sequence[Any], folder: Path, environ: Mapping[str, str]) -> Begins:
    """How to begin a program as a child of this process."""
    return lambda output, log: subprocess.Popen(
        words, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=log
    )


class Process:
    """What it prints goes to the end of a file; its standard output may have one of its own."""

    def __init__(self, log_file: Path, output_file: Path | None = None) -> None:
        self.log_file = log_file
        self._output_file = output_file or log_file
        self._running: Running | None = None
        self._said_before = 0

    def launch(self, begins: Begins, is_ready: Callable[[], object]) -> bool:
        """Begin, and wait until it is ready. Gives whether it was within the limit; otherwise it is ended.

        That nobody listens yet, or hangs up, means that it is not ready.
        """
        self._said_before = len(_read(self._output_file))
        with self._output_file.open("ab") as output, self.log_file.open("ab") as log:
            self._running = begins(output, log)
        until = time.monotonic() + _START_LIMIT_S
        while self.is_running and time.monotonic() < until:
            try:
                if is_ready():
                    return True
            except (OSError, httpx.TransportError):
                pass
            time.sleep(_LOOK_EVERY_S)
        self.kill()
        return False

    @property
    def is_running(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def process_id(self) -> int:
        assert self._running is not None, "it was never started"
        return self._running.pid

    def log(self) -> str:
        """All that was printed, also by earlier starts."""
        return _read(self.log_file)

    def said(self) -> str:
        """What came on standard output since the last start."""
        return _read(self._output_file)[self._said_before :]

    def stop(self) -> int:
        """SIGTERM, and wait; gives the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is tidied up."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        assert isinstance(self._running, subprocess.Popen), "only our own child tells when it has stopped"
        self._running.send_signal(signal.SIGSTOP)
        os.waitpid(self._running.pid, os.WUNTRACED)  # until it has stopped; it goes on for a moment

    def resume(self) -> None:
        """Let it go on."""
        assert self._running is not None
        self._running.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> int:
        if self._running is None:
            return 0
        if self._running.poll() is None:
            self._running.send_signal(how)
        try:
            return self._running.wait(timeout=_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            return self._running.wait(timeout=_END_LIMIT_S)


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""
