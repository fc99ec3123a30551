"""Read the migrations in a folder: `NNNN_snake_case_name.sql`, versions 1, 2, 3 without gaps."""

import asyncio
import codecs
import errno
import os
import re
import stat
from collections import defaultdict
from pathlib import Path

import msgspec

from freehold.migrate.check import check_migration
from freehold.migrate.split import MAX_SCRIPT_BYTES
from freehold.migrate.types import Migration, normalise
from freehold.registry.types import BadRegistry

_FILE_NAME = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z][a-z0-9]*(?:_[a-z0-9]+)*)\.sql")
BAD_FILE, MISSING_VERSION, DUPLICATE_VERSION = "FH020", "FH021", "FH022"
_EXPECTED = "expected NNNN_snake_case_name.sql, e.g. 0001_create_decks.sql"


class FileFault(msgspec.Struct, frozen=True, order=True):
    """A fault in a file. `code` is a rule in docs/lint.md; `line` and `statement` count from 1, 0 is unknown."""

    file: str
    reason: str
    code: str
    line: int = 0
    statement: int = 0

    def __str__(self) -> str:
        parts = [f"statement {self.statement}"] if self.statement else []
        parts += [f"line {self.line}"] if self.line else []
        return f"{self.file}: {', '.join(parts)}: {self.reason}" if parts else f"{self.file}: {self.reason}"


class Folder(msgspec.Struct, frozen=True):
    """The readable migrations, by version, and the faults of all files."""

    migrations: tuple[Migration, ...]
    faults: tuple[FileFault, ...]


async def load_folder(folder: Path) -> list[Migration]:
    """Return the migrations in a folder's `.sql` files, oldest first. Raises `BadRegistry` with all faults of all."""
    found = await read_folder(folder)
    if found.faults:
        raise BadRegistry([str(fault) for fault in found.faults])
    return list(found.migrations)


async def read_folder(folder: Path) -> Folder:
    """Return the same with faults as data. Raises `BadRegistry` only if the folder itself cannot be read."""
    return await asyncio.to_thread(_load, folder)


def file_name(migration: Migration) -> str:
    """Return a name like `0007_create_revlog.sql`."""
    return f"{migration.version:04}_{migration.name}.sql"


def _load(folder: Path) -> Folder:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".sql")
    except OSError as error:
        raise BadRegistry([f"{folder}: {reason_of(error)}; give the folder that holds the migrations"]) from error
    faults: list[FileFault] = []
    found: dict[int, list[Path]] = defaultdict(list)
    migrations: list[Migration] = []
    for path in paths:
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            faults.append(FileFault(path.name, _EXPECTED, BAD_FILE))
            continue
        version = int(match["version"])
        found[version].append(path)
        try:
            migration = Migration(version=version, name=match["name"], sql=_read(path))
        except _Unreadable as error:
            faults.append(FileFault(path.name, str(error), BAD_FILE))
            continue
        migrations.append(migration)
        if version:  # 0 is reported once, by _check_versions
            for fault in check_migration(migration):
                faults.append(FileFault(path.name, fault.reason, fault.code, fault.line, fault.statement))
    faults += _check_versions(found)
    return Folder(tuple(sorted(migrations, key=lambda migration: migration.version)), tuple(sorted(faults)))


class _Unreadable(Exception):
    """The message says why."""


def _read(path: Path) -> str:
    try:
        data = read_file(path, MAX_SCRIPT_BYTES)
    except OSError as error:
        raise _Unreadable(reason_of(error)) from error
    if len(data) > MAX_SCRIPT_BYTES:
        raise _Unreadable(f"over the limit of {MAX_SCRIPT_BYTES} bytes; divide it")
    if data.startswith(codecs.BOM_UTF8):
        raise _Unreadable("starts with a byte order mark; save the file as UTF-8 without it")
    try:
        return normalise(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unreadable(f"line {line} is not UTF-8; save the file as UTF-8") from error


def _check_versions(found: dict[int, list[Path]]) -> list[FileFault]:
    faults = [
        FileFault(
            path.name, f"version {version} is taken by {paths[0].name}; give it the next free number", DUPLICATE_VERSION
        )
        for version, paths in found.items()
        for path in paths[1:]
    ]
    if 0 in found:
        faults.append(FileFault(found[0][0].name, "versions start at 1", BAD_FILE))
    versions = sorted(version for version in found if version > 0)
    for previous, version in zip([0, *versions], versions, strict=False):
        if version != previous + 1:
            missing = f"{previous + 1}" if version == previous + 2 else f"{previous + 1} to {version - 1}"
            faults.append(FileFault(found[version][0].name, f"there is no file of version {missing}", MISSING_VERSION))
    return faults


def reason_of(error: OSError) -> str:
    """Return why a file cannot be read."""
    return (error.strerror or "cannot be read").lower()


# Others may have put files into a migrations folder: reading must neither block nor be unbounded.

_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_file(path: Path, most_bytes: int) -> bytes:
    """Return up to `most_bytes` + 1 bytes, so that callers notice a larger file. Blocking, but never on a pipe.

    Raises:
        OSError: it cannot be read, or is a pipe, a device or a folder.
    """
    try:
        opened = os.open(path, os.O_RDONLY | _NO_WAITING)
    except ValueError as error:  # an impossible file name
        raise OSError(errno.EINVAL, "no name of a file") from error
    with os.fdopen(opened, "rb") as file:
        kind = os.fstat(opened).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "not a regular file")
        return file.read(most_bytes + 1)
