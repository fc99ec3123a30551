"""The length of passwords, and better-auth's hash format.

`HEX_SALT:HEX_KEY`: scrypt with N=16384, r=16, p=1 and a key of 64 bytes over the NFKC form of the password. The salt is
the hex *text*, not the bytes it stands for.
"""

import asyncio
import contextlib
import ctypes
import hashlib
import hmac
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from freehold.audit.origin import current_origin
from freehold.auth.errors import PasswordTooLong, PasswordTooShort
from freehold.fair_line import FairLine

MIN_LENGTH, MAX_LENGTH = 8, 128

_N, _R, _P, _KEY_BYTES = 16384, 16, 1, 64
_MAX_MEMORY_BYTES = 128 * _N * _R * 2
# Verified when there is no user, so that both cases take the same time. No password has this key.
_NOBODYS_HASH = f"{'0' * 32}:{'0' * 2 * _KEY_BYTES}"
_WAITING_PER_THREAD = 32
_TOO_MANY = "too many people are signing in right now; try again in a moment"
_NICENESS = 5
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


def check_new_password(password: str) -> None:
    """Check the length of a new password.

    Raises:
        PasswordTooShort: fewer than 8 characters.
        PasswordTooLong: more than 128.
    """
    if length_of(password) < MIN_LENGTH:
        raise PasswordTooShort(f"a password has at least {MIN_LENGTH} characters")
    check_length(password)


def check_length(password: str) -> None:
    """Reject texts that are too long for a password before they are hashed. Raises `PasswordTooLong`."""
    if length_of(password) > MAX_LENGTH:
        raise PasswordTooLong(f"a password has at most {MAX_LENGTH} characters")


def length_of(text: str) -> int:
    """The length in UTF-16 units, as browsers count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def hash_password(password: str, salt: str | None = None) -> str:
    """The hash to store. Takes some 60 ms and 32 MB: call it through a `PasswordHasher`."""
    salt = salt or secrets.token_hex(16)
    return f"{salt}:{_derive(password, salt).hex()}"


def verify_password(password: str, password_hash: str) -> bool:
    """Whether it is this password's hash. A malformed hash matches nothing, but takes the same time."""
    salt, _, key = password_hash.partition(":")
    return hmac.compare_digest(_derive(password, salt).hex().encode(), key.encode())


def _derive(password: str, salt: str) -> bytes:
    return hashlib.scrypt(
        unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass"),
        salt=salt.encode(),
        n=_N,
        r=_R,
        p=_P,
        maxmem=_MAX_MEMORY_BYTES,
        dklen=_KEY_BYTES,
    )


class ScryptHasher:
    """Hashes in its own threads, one per core: scrypt releases the GIL, and more threads would only compete.

    The queue is limited and fair: those who have had the fewest turns recently go first, see `FairLine`. Implements
    `PasswordHasher`; use it from one event loop.
    """

    def __init__(self, threads: int | None = None, waiting_per_thread: int = _WAITING_PER_THREAD) -> None:
        threads = threads or cores()
        _keep_freed_memory()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_give_way_to_others)
        self._line = FairLine(threads, threads * waiting_per_thread, _TOO_MANY)

    async def hash(self, password: str) -> str:
        return await self._run(hash_password, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        matches = await self._run(verify_password, password, password_hash or _NOBODYS_HASH)
        return matches and password_hash is not None

    def close(self) -> None:
        """Start no more hashes; running ones finish."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        await self._line.enter(current_origin().site)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
        finally:
            self._line.leave()


def _keep_freed_memory() -> None:
    """Let a hash reuse the 32 MB of the previous one instead of asking the system for empty pages each time.

    This saves a sixth of a hash's time. By default, glibc takes more than 32 MB directly from the system and returns it
    at once; for smaller sizes, these are the values that it would choose by itself. Other C libraries have no such
    function. Source: mallopt(3).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _give_way_to_others() -> None:
    """Lower the thread's priority, so that hashing does not delay other requests."""
    if sys.platform == "linux":  # where priorities are per thread
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
