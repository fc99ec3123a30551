"""A sqld of our own under its supervisor, with the supervisor's port."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freehold.errors import Unavailable
from freehold.providers.sqld.process.control import served_control
from freehold.providers.sqld.process.run import (
    MEMORY_MB,
    SqldOptions,
    SqldProcess,
    allow_open_files,
    lock_folder,
    start_sqld,
)
from freehold.providers.sqld.process.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class RunningSqld:
    """Where a sqld and its supervisor answer. `admin_key` was made for this run, and is the key to both."""

    url: str
    admin_url: str
    admin_key: str
    supervisor_url: str


@asynccontextmanager
async def supervised_sqld(
    options: SqldOptions, lock_file: Path, listener: socket.socket, *, folder_name: str
) -> AsyncIterator[Supervisor]:
    """A sqld with these options, started again whenever it ends; its supervisor answers at `listener`.

    Raises:
        BadSettings: another sqld works on the folder of `lock_file`; `folder_name` is the setting that names it.
        Unavailable: it does not start.
    """
    await asyncio.to_thread(allow_open_files)
    with await lock_folder(lock_file, folder_name) as lock:

        async def start() -> SqldProcess | None:
            return await start_sqld(options, lock.fileno())

        supervisor = Supervisor(start)
        async with supervisor.running(), served_control(supervisor, listener, options.admin_key, options.memory_mb):
            yield supervisor


@asynccontextmanager
async def running_sqld(
    binary: Path, folder: Path, private_key: Ed25519PrivateKey, *, memory_mb: int = MEMORY_MB
) -> AsyncIterator[RunningSqld]:
    """A supervised sqld on free loopback ports, on the data in `folder`. It ends with this context, and also if this
    process is killed.

    Raises:
        BadSettings: another sqld works on that folder.
        Unavailable: it does not start; the message says where its log is.
    """
    await asyncio.to_thread(_prepare, folder, private_key)
    key = secrets.token_urlsafe(32)
    options = SqldOptions(
        binary=binary,
        data=folder / "data",
        public_key_file=folder / "public.pem",
        address="",
        admin_address="",
        admin_key=key,
        memory_mb=memory_mb,
        log_file=folder / "sqld.log",
    )
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        control_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for is_last in (False, False, True):  # a free port may be taken by someone else before sqld has it
            address, admin_address = _free_addresses()
            options = replace(options, address=address, admin_address=admin_address)
            try:
                await stack.enter_async_context(
                    supervised_sqld(options, folder / "lock", listener, folder_name="--data-dir")
                )
                break
            except Unavailable as error:
                if is_last:
                    raise Unavailable(f"{error}; its log is {options.log_file}") from error
        yield RunningSqld(f"http://{address}", f"http://{admin_address}", key, control_url)


def _prepare(folder: Path, private_key: Ed25519PrivateKey) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)


def _free_addresses() -> tuple[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return f"127.0.0.1:{one.getsockname()[1]}", f"127.0.0.1:{two.getsockname()[1]}"
