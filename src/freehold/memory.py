"""Memory of a long-running process: fewer arenas, fewer collections, and freed memory is returned.

`asyncio` is imported where it is used: the service's parent needs none.
"""

import ctypes
import gc
import os
import sys
from pathlib import Path

_M_ARENA_MAX = -8


def keep_less_memory() -> None:
    """Have the C library use one arena, instead of eight for each core. Call it before threads start.

    Trimming never returns the free end of another arena, such as the 32 MB of a password's hash. The threads that
    allocate much are few, and hold the interpreter's lock for most of the time. Source: mallopt(3), glibc's `mtrim`.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 1)


def leave_out_of_collections() -> None:
    """Exclude everything that exists now from garbage collection: it lives as long as the process.

    Scanning it takes 0.1 s and more, during which no request goes on, and anyone who causes many objects, such as by
    sending long SQL, triggers that again and again. Source: the documentation of `gc.freeze`.
    """
    gc.collect()
    gc.freeze()


# Returns memory that large requests and responses have used: the C library keeps what is freed.

_LOOK_EVERY_S = 5.0
# Less is not worth a look at every page.
_WORTH_BYTES = 24_000_000
_STATM = Path("/proc/self/statm")
_opened: list[int] = []  # the descriptor of that file, in this process


async def give_back_memory(worth_bytes: int = _WORTH_BYTES) -> None:
    """Return freed memory whenever usage has grown by `worth_bytes` since the last time; until cancelled.

    Linux with glibc only.
    """
    import asyncio

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
    """The resident memory of this process. Only the first call opens a file."""
    if not _opened:
        _opened.append(os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC))
    return int(os.pread(_opened[0], 200, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_opened.clear)  # the child would read its parent's
