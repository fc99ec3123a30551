"""What a process uses, as Linux counts it: memory, and how many of its threads compute."""

import os
import time
from pathlib import Path

_TICKS_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# Of the time between two looks; on a busy machine one that never pauses gets no more than a part of a core.
_BUSY_SHARE = 0.1
_LEAST_S = 0.05


class Usage:
    """Looks at one process after another. Blocking, for microseconds."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._seen: dict[str, int] = {}
        self._seen_at = 0.0
        self._busy: int | None = None

    def memory_bytes(self, pid: int) -> int | None:
        """Its resident memory; None where that is not to be known."""
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return None

    def busy_threads(self, pid: int) -> int | None:
        """How many threads computed since the last look, or are about to; None at the first look, and elsewhere."""
        now = time.monotonic()
        if pid == self._pid and now - self._seen_at < _LEAST_S:
            return self._busy
        found = _threads(pid)
        before = self._seen if pid == self._pid else None
        since_s = now - self._seen_at
        self._pid, self._seen_at = pid, now
        self._seen = {thread: ticks for thread, (ticks, _) in found.items()}
        if before is None or not found:
            self._busy = None
        else:
            least = since_s * _TICKS_S * _BUSY_SHARE
            self._busy = sum(
                state in "RD" or ticks - before.get(thread, 0) > max(least, 1)
                for thread, (ticks, state) in found.items()
            )
        return self._busy


def _threads(pid: int) -> dict[str, tuple[int, str]]:
    """Of each thread, the ticks that it has computed and its state's letter."""
    found: dict[str, tuple[int, str]] = {}
    try:
        with os.scandir(f"/proc/{pid}/task") as tasks:
            names = [task.name for task in tasks]
        for name in names:
            fields = Path(f"/proc/{pid}/task/{name}/stat").read_text().rpartition(")")[2].split()
            found[name] = (int(fields[11]) + int(fields[12]), fields[0])
    except (OSError, ValueError, IndexError):
        return found
    return found
