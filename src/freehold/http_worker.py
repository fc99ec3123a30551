"""One of the processes that serve HTTP for a service, and what these share: locks by key, and boards to write on.

`asyncio` is imported where it is used: the service's parent needs only to create what is shared.
"""

import fcntl
import hashlib
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_BOARD_BYTES = 1_000_000  # of memory that is used only once it is written
_HEAD = struct.Struct("<II")
_READS = 20
_LOOK_S = 0.01


class Board:
    """Memory that one process writes and others read. Create it before they are forked."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BOARD_BYTES)

    def write(self, content: bytes) -> None:
        """Replace what is on it. Raises `ValueError` if that is too long."""
        if len(content) > _BOARD_BYTES - _HEAD.size:
            raise ValueError("too long for a board")
        self._memory[_HEAD.size : _HEAD.size + len(content)] = content
        self._memory[: _HEAD.size] = _HEAD.pack(len(content), zlib.crc32(content))

    def read(self) -> bytes:
        """What was written last; empty if nothing was, or if its writer ended in the middle of it."""
        for _ in range(_READS):
            length, checksum = _HEAD.unpack(self._memory[: _HEAD.size])
            content = self._memory[_HEAD.size : _HEAD.size + length]
            if zlib.crc32(content) == checksum:
                return content
        return b""


class KeyLocks:
    """Locks by key between processes: what one does for a key, the others wait for. Create it before they are forked.

    A lock is one byte of an empty file without a name; the system releases it when its process ends. Source: fcntl(2),
    advisory record locking, which does not exclude callers of the same process.
    """

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            self._file = os.dup(file.fileno())
        self._inside: dict[int, int] = {}

    @asynccontextmanager
    async def held(self, key: str, patience_s: float) -> AsyncIterator[None]:
        """Hold the key's lock for this process, together with others of this process that hold it.

        Raises:
            TimeoutError: another process has had it all the while.
        """
        import asyncio

        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6])
        async with asyncio.timeout(patience_s):
            while not (place in self._inside or self._took(place)):  # noqa: ASYNC110 - no event comes from a process
                await asyncio.sleep(_LOOK_S)
        self._inside[place] = self._inside.get(place, 0) + 1
        try:
            yield
        finally:
            self._inside[place] -= 1
            if not self._inside[place]:
                del self._inside[place]
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _took(self, place: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class HttpWorker:
    """Number `number` of `count`. One that is alone shares nothing: it has neither `locks` nor `boards`."""

    number: int = 0
    count: int = 1
    locks: KeyLocks | None = None
    boards: tuple[Board, ...] = ()

    def share(self, total: int) -> int:
        """This process's part of what the service may have in all, rounded up."""
        return -(-total // self.count)


ALONE = HttpWorker()


def http_workers(count: int) -> tuple[HttpWorker, ...]:
    """The workers of a service, before they are forked."""
    if count == 1:
        return (ALONE,)
    locks = KeyLocks()
    boards = tuple(Board() for _ in range(count))
    return tuple(HttpWorker(number, count, locks, boards) for number in range(count))
