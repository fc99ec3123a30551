"""Long reading in Python holds the interpreter, whatever thread it is in. This lets it pause where it may.

Where nobody paces it, it goes straight on.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

_local = threading.local()
EVERY = 64  # tokens or so between two pauses: some 100 µs


def breathe() -> None:
    """Let others go on, if somebody wants that of this thread."""
    pause = getattr(_local, "pause", None)
    if pause is not None:
        pause()


@contextlib.contextmanager
def paced(pause: Callable[[], None]) -> Iterator[None]:
    """What reads inside, in this thread, calls `pause` now and then."""
    before = getattr(_local, "pause", None)
    _local.pause = pause
    try:
        yield
    finally:
        _local.pause = before
