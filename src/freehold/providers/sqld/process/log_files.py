"""The files that one sqld keeps beside its databases' data: checked, and set aside. Blocks, except in async functions.

Source: files of sqld 0.24.32. `wallog` starts with a head of 64 bytes, which has the number of frames at byte 40 and
the size of a page at byte 52; each frame is a page and 24 bytes more. sqld creates a new log from the data if there is
none, or if it is empty.
"""

import asyncio
import fcntl
import os
import shutil
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec

from freehold.errors import Conflict, NotFound, ProviderUnavailable
from freehold.providers.names import check_name
from freehold.tenants.errors import DatabaseDamaged

_MAGIC = b"SQLDWAL\0"
_HEAD_BYTES, _FRAME_HEAD_BYTES = 64, 24
# Locked for reading by every connection in WAL mode, as long as it is open. Source: SQLite's os_unix.c.
_DMS_BYTE = 128
_DATA = ("data", "data-wal")
_MOMENT_S, _LOOK_S = 2.0, 0.02
_COPIES = 5
_OTHERS_S = 30.0


class DatabaseInUse(Conflict):
    """`tenants repair` changes no file of a database that sqld, or another program, has open."""

    code = "database_in_use"
    remedy = "Stop sqld, and try again."
    where = "cli"


class LogFiles:
    """Implements `tenants.repair.DatabaseFiles` for the namespaces below `dbs` of an sqld's folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "dbs"

    async def damaged(self) -> Sequence[str]:
        """The databases whose files show that sqld will not open them."""
        return await asyncio.to_thread(lambda: list(self._damaged()))

    async def damage(self, database_name: str) -> DatabaseDamaged | None:
        """What is wrong with the files of this database, or None if nothing can be seen."""
        return await asyncio.to_thread(_damage, self._of(database_name))

    @asynccontextmanager
    async def alone(self, database_name: str) -> AsyncIterator[None]:
        """Inside this context no other process repairs this database. It is a lock on the folder that ends with us.

        Raises:
            DatabaseInUse: another process repairs it for longer than half a minute.
            NotFound: the database does not exist.
        """
        handle = _opened(self._of(database_name))
        try:
            until = time.monotonic() + _OTHERS_S
            while not _is_ours(handle):
                if time.monotonic() > until:
                    raise DatabaseInUse("another repair of this database is at work; try again when it has ended")
                await asyncio.sleep(_LOOK_S)
            yield
        finally:
            os.close(handle)

    async def copy(self, database_name: str, folder: Path) -> Path:
        """Copy the data with its write-ahead log into `folder`; nothing is opened and nothing changes.

        Raises:
            DatabaseInUse: someone has it open.
            NotFound: it is not there.
            Conflict: it cannot be read.
        """
        return await asyncio.to_thread(self._copy, database_name, folder)

    async def set_aside(self, database_name: str, file: str) -> str:
        """Give the file another name, with the time in it; returns that name. Never the data themselves.

        Raises:
            DatabaseInUse: someone has it open.
            NotFound: it is not there.
            Conflict: it cannot be renamed.
        """
        return await asyncio.to_thread(self._set_aside, database_name, file)

    def _of(self, database_name: str) -> Path:
        return self._folder / check_name(database_name)

    def _damaged(self) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.is_dir() and _damage(Path(entry.path)) is not None:
                    yield entry.name

    def _copy(self, database_name: str, folder: Path) -> Path:
        source = self._of(database_name)
        try:
            for _ in range(_COPIES):
                _require_unused(source)
                before = _stamps(source)
                for name in before:
                    shutil.copyfile(source / name, folder / name)
                if _stamps(source) == before:
                    break
            else:
                raise DatabaseInUse(f"the data in `{source}` change all the time; stop sqld and try again")
        except FileNotFoundError as error:
            raise NotFound(f"there is no `{error.filename}`") from error
        except OSError as error:
            raise Conflict(f"`{error.filename}` cannot be read: {error.strerror}") from error
        return folder / "data"

    def _set_aside(self, database_name: str, file: str) -> str:
        assert file not in _DATA
        folder = self._of(database_name)
        _require_unused(folder)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        number, target = 1, folder / f"{file}.damaged-{stamp}"
        while target.exists():
            number += 1
            target = folder / f"{file}.damaged-{stamp}-{number}"
        try:
            (folder / file).rename(target)
            _sync(folder)
        except FileNotFoundError as error:
            raise NotFound(f"there is no `{folder / file}`") from error
        except OSError as error:
            raise Conflict(f"`{folder / file}` cannot be renamed: {error.strerror}") from error
        return target.name


def _opened(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotFound(f"there is no folder `{folder}`; is SQLD_DATA_DIR the folder of this sqld?") from error


def _is_ours(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _damage(folder: Path) -> DatabaseDamaged | None:
    return _damage_of_log(folder / "wallog") or _damage_of_statistics(folder / "stats.json")


def _damage_of_log(path: Path) -> DatabaseDamaged | None:
    try:
        with path.open("rb") as file:
            reason = _fault_in_log(file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
    return DatabaseDamaged(reason, "wallog") if reason else None


def _fault_in_log(head: bytes, size: int) -> str:
    if not size:
        return ""
    if size < _HEAD_BYTES:
        return f"it is cut off after {size} bytes"
    if not head.startswith(_MAGIC):
        return "it does not start as a replication log does"
    frames, _version, page_bytes = struct.unpack_from("<QII", head, 40)
    wanted = _HEAD_BYTES + frames * (page_bytes + _FRAME_HEAD_BYTES)
    return f"it has {size} bytes of {wanted}" if size < wanted else ""


def _damage_of_statistics(path: Path) -> DatabaseDamaged | None:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        return DatabaseDamaged(f"it cannot be read: {error.strerror}", "stats.json")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return DatabaseDamaged("it is not JSON", "stats.json")
    return None if isinstance(found, dict) else DatabaseDamaged("it is not a JSON object", "stats.json")


def _require_unused(folder: Path) -> None:
    """Return if no program has the database open. sqld does not, except while it tries to open it.

    There are two checks: SQLite's own locks, which work across users and containers, and the open files of the
    processes that are visible from here.
    """
    os.close(_opened(folder))
    until = time.monotonic() + _MOMENT_S
    while (who := "sqld" if _is_locked(folder / "data-shm") else _holder(folder)) is not None:
        if time.monotonic() > until:
            raise DatabaseInUse(f"{who} has files in `{folder}` open, so nothing is set aside; stop it and try again")
        time.sleep(_LOOK_S)


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """The modification time and the size of each file of the data."""
    found = {name: (folder / name).stat() for name in _DATA if name == "data" or (folder / name).exists()}
    return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Conflict(f"`{path}` cannot be opened: {error.strerror}; run this as sqld's own user") from error
    with closing(os.fdopen(handle, "r+b", buffering=0)) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _DMS_BYTE)
        except OSError:
            return True
        return False  # closing releases it


def _holder(folder: Path) -> str | None:
    """A process that has one of the files open, as far as this user can see."""
    files = {(found.st_dev, found.st_ino) for path in folder.iterdir() if path.is_file() and (found := path.stat())}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is another user's
            for handle in os.scandir(process / "fd"):
                with suppress(OSError):
                    found = os.stat(handle.path)  # noqa: PTH116 - of the open file, and for very many
                    if (found.st_dev, found.st_ino) in files:
                        return f"process {process.name}"
    return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# The namespaces of an sqld as its data folder shows them: one folder for each below `dbs`.
#
# Source: sqld 0.24.32, by running it. A folder may be left over from a namespace that is gone, so what is found
# here still has to be looked up.

_PAGE = 1_000


async def namespace_pages(data_dir: Path) -> AsyncIterator[Sequence[str]]:
    """The names, a page at a time. Raises `ProviderUnavailable` when the folder cannot be read."""
    try:
        found = await asyncio.to_thread(_entries, data_dir)
        while page := await asyncio.to_thread(lambda: list(islice(found, _PAGE))):
            yield page
    except OSError as error:
        raise ProviderUnavailable(
            f"SQLD_DATA_DIR: sqld's folder cannot be read: {error.strerror} ({error.filename})"
        ) from error


def _entries(data_dir: Path) -> Iterator[str]:
    if not (data_dir / "metastore").is_dir():
        raise ProviderUnavailable(f"SQLD_DATA_DIR: `{data_dir}` is not an sqld's folder")
    folder = data_dir / "dbs"
    if not folder.is_dir():  # it is created with the first namespace
        return iter(())
    with os.scandir(folder) as entries:
        return iter([entry.name for entry in entries if entry.is_dir()])
