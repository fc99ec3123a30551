"""The engine processes, from their supervisor's point of view."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

from freehold.providers.local.processes.control import News, decode_news


class Child:
    """One engine process."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.control = control
        self.began = time.monotonic()
        self.heard_at = self.began
        self.is_ready = False
        self._rest = b""

    def news(self) -> Iterator[News | None]:
        """Yield the messages received from it, then None if it has ended."""
        try:
            text = self.control.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            text = b""
        if not text:
            yield None
            return
        self.heard_at = time.monotonic()
        *lines, self._rest = (self._rest + text).split(b"\n")
        yield from (decode_news(line) for line in lines)

    def tell(self, text: bytes) -> None:
        with contextlib.suppress(OSError):
            self.control.sendall(text + b"\n")

    def end(self, how: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, how)


class Place:
    """The place of an engine: the process that serves, its replacement while it starts, and those that are leaving."""

    def __init__(self, name: int | str) -> None:
        self.name = name
        self.child: Child | None = None
        self.next: Child | None = None
        self.leaving: list[Child] = []  # the oldest first
        self.starts_at = 0.0
        self.is_stuck = False  # whether the engine that serves has to be replaced
        self.ends = 0  # engines in a row that ended too soon
