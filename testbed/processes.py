"""What a process and those that it started take of the machine. Linux only; nothing elsewhere."""

import os
from collections import defaultdict
from pathlib import Path

_PROC = Path("/proc")


def cpu_seconds(process_id: int) -> float:
    """Processor time since they began, of all that still run."""
    return sum(_ticks(each) for each in family(process_id)) / os.sysconf("SC_CLK_TCK")


def memory_mb(process_id: int) -> float:
    """Memory that they have; what several of them share counts once. Source: proc_pid_smaps(5), `Pss`."""
    kilobytes = 0
    for each in family(process_id):
        try:
            lines = (_PROC / str(each) / "smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024 / 1_000_000


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
