"""Gives memory back to the machine that large requests and answers have used: the C library keeps what is freed."""

import asyncio
import ctypes
import os
import sys
from pathlib import Path

_LOOK_EVERY_S = 5.0
# Below that it is not worth a look at every page.
_WORTH_BYTES = 64_000_000
_M_ARENA_MAX = -8
_STATM = Path("/proc/self/statm")


async def give_back_memory() -> None:
    """Do so now and then, while there is more than after the last time; until cancelled. Linux with glibc only."""
    trim = _trim()
    if trim is None:
        return
    least = _resident_bytes()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        now = _resident_bytes()
        if now > least + _WORTH_BYTES:
            await asyncio.to_thread(trim, 0)  # without the interpreter's lock
            now = _resident_bytes()
            least = min(least, now)


def keep_less_memory() -> None:
    """Let threads share the C library's arenas: as many as cores, instead of eight times that. Before threads start.

    Each arena keeps up to 64 MB that it does not need, and no trimming takes that from it. Source: mallopt(3).
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, max(2, os.cpu_count() or 1))


def _trim() -> "ctypes._NamedFuncPointer | None":
    if sys.platform != "linux" or not _STATM.exists():
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # another C library
        return None


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
