"""What a process and those that it started take of the machine. Linux only; nothing elsewhere."""

import os
from collections import defaultdict
from pathlib import Path

_PROC = Path("/proc")


def cpu_seconds(process_id: int) -> float:
    """Processor time since they began, of all that still run."""
    return sum(_ticks(each) for each in family(process_id)) / os.sysconf("SC_CLK_TCK")


def resident_mb(process_id: int) -> float:
    """Memory that they have."""
    pages = 0
    for each in family(process_id):
        try:
            pages += int((_PROC / str(each) / "statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def family(process_id: int) -> list[int]:
    """The process and all below it."""
    children = defaultdict(list)
    for each in _PROC.glob("[0-9]*"):
        try:
            children[int(_stat(int(each.name))[1])].append(int(each.name))
        except (OSError, IndexError, ValueError):
            continue
    found = [process_id]
    for parent in found:
        found += children[parent]
    return found


def _ticks(process_id: int) -> int:
    try:
        fields = _stat(process_id)
        return int(fields[11]) + int(fields[12])
    except (OSError, IndexError, ValueError):
        return 0


def _stat(process_id: int) -> list[str]:
    """The fields after the command's name, which may hold anything."""
    return (_PROC / str(process_id) / "stat").read_text().rpartition(")")[2].split()
