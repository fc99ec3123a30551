"""Gives memory back to the machine that large requests and answers have used: the C library keeps what is freed."""

import asyncio
import ctypes
import os
import sys
from pathlib import Path

_LOOK_EVERY_S = 5.0
# Below that it is not worth a look at every page.
_WORTH_BYTES = 64_000_000
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


def _trim() -> "ctypes._NamedFuncPointer | None":
    if sys.platform != "linux" or not _STATM.exists():
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # another C library
        return None


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
