"""Shared by processes that start others."""

import ctypes
import os
import signal
import sys

_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however that ends. Linux only. Source: prctl(2)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it had ended already
            os._exit(0)
