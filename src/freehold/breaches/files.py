"""Passwords from breaches in a copy on this machine, as the downloaders of Have I Been Pwned write it.

Either a folder with a file for each range (`21BD1` or `21BD1.txt`, lines `SUFFIX:COUNT`), or one file of all hashes
in order (lines `HASH:COUNT`). Implements `freehold.auth.passwords.rules.BreachedPasswords`.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog

from freehold.breaches.lines import PREFIX_CHARS, digest_of, is_listed

_MAX_RANGE_BYTES = 16 * 1024 * 1024
_MAX_LINE_BYTES = 100

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BreachFiles:
    """Read anew for each password, in a thread: a copy may be replaced while the service runs."""

    path: Path

    async def knows(self, password: str) -> bool:
        digest = digest_of(password)
        try:
            return await asyncio.to_thread(self._holds, digest)
        except OSError as error:
            log.warning("breached_passwords.unreadable", reason=type(error).__name__)
            return False

    def _holds(self, digest: str) -> bool:
        if not self.path.is_dir():
            with self.path.open("rb") as file:
                return _is_in_order(file, digest)
        prefix, suffix = digest[:PREFIX_CHARS], digest[PREFIX_CHARS:]
        for name in (prefix, f"{prefix}.txt", prefix.lower(), f"{prefix.lower()}.txt"):
            file_path = self.path / name
            if file_path.is_file():
                with file_path.open("rb") as file:
                    return is_listed(suffix, file.read(_MAX_RANGE_BYTES).decode("ascii", "replace"))
        return False


def _is_in_order(file: BinaryIO, digest: str) -> bool:
    """Look the hash up by halves: some 40 short reads in a file of any size."""
    wanted = digest.encode()
    low, high = 0, file.seek(0, os.SEEK_END)
    while low < high:  # the first line at or after `low` is not yet known to be too early
        middle = (low + high) // 2
        file.seek(middle)
        if middle:
            file.seek(middle - 1)
            file.readline(_MAX_LINE_BYTES)  # the end of the line before
        line = file.readline(_MAX_LINE_BYTES)
        found, _, times = line.strip().upper().partition(b":")
        if found == wanted:
            return times != b"0"
        if not line or found > wanted:
            high = middle
        else:
            low = max(middle + 1, file.tell())
    return False
