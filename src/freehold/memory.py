"""Memory of a process that runs for long: fewer arenas, fewer collections, and what was freed goes back."""

import asyncio
import ctypes
import gc
import os
import sys
from pathlib import Path

_M_ARENA_MAX = -8


def keep_less_memory() -> None:
    """Let threads share the C library's arenas: as many as cores, instead of eight times that. Before threads start.

    Each arena keeps up to 64 MB that it does not need, and no trimming takes that from it. Source: mallopt(3).
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, max(2, os.cpu_count() or 1))


def leave_out_of_collections() -> None:
    """Let the garbage collector pass over all that is there now: it stays as long as the process does.

    Looking through it takes 0.1 s and more, in which no request goes on, and whoever makes many objects, such as by
    sending long SQL, makes the collector look again and again. Source: the documentation of `gc.freeze`.
    """
    gc.collect()
    gc.freeze()


# Gives memory back to the machine that large requests and answers have used: the C library keeps what is freed.

_LOOK_EVERY_S = 5.0
# Below that it is not worth a look at every page.
_WORTH_BYTES = 64_000_000
_STATM = Path("/proc/self/statm")
_opened: list[int] = []  # that file, of this process


async def give_back_memory(worth_bytes: int = _WORTH_BYTES) -> None:
    """Do so now and then, while there is more by `worth_bytes` than after the last time; until cancelled.

    Linux with glibc only.
    """
    trim = _trim()
    if trim is None:
        return
    least = resident_bytes()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        now = resident_bytes()
        if now > least + worth_bytes:
            await asyncio.to_thread(trim, 0)  # without the interpreter's lock
            now = resident_bytes()
            least = min(least, now)


def _trim() -> "ctypes._NamedFuncPointer | None":
    if sys.platform != "linux" or not _STATM.exists():
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # another C library
        return None


def resident_bytes() -> int:
    """Memory that this process has. After the first call no file is opened any more."""
    if not _opened:
        _opened.append(os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC))
    return int(os.pread(_opened[0], 200, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_opened.clear)  # it is the parent's there
