"""Reads the migrations in a folder: `NNNN_snake_case_name.sql`, versions 1, 2, 3 without gaps."""

import asyncio
import codecs
import re
from collections import defaultdict
from pathlib import Path

import msgspec

from freehold.migrate.check import check_migration
from freehold.migrate.split import MAX_SCRIPT_BYTES
from freehold.migrate.types import Migration, normalise
from freehold.registry.types import BadRegistry

_FILE_NAME = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z][a-z0-9]*(?:_[a-z0-9]+)*)\.sql")
_EXPECTED = "expected NNNN_snake_case_name.sql, e.g. 0001_create_decks.sql"


async def load_folder(folder: Path) -> list[Migration]:
    """The migrations of a folder, oldest first. Files that do not end in `.sql` are not looked at.

    Raises:
        BadRegistry: with every fault of every file, each starting with the file's name.
    """
    return await asyncio.to_thread(_load, folder)


def _load(folder: Path) -> list[Migration]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".sql")
    except OSError as error:
        raise BadRegistry(
            [f"{folder}: {_reason(error)}; give the folder that holds the migrations"]
        ) from error
    faults: list[str] = []
    found: dict[int, list[Path]] = defaultdict(list)
    migrations: list[Migration] = []
    for path in paths:
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            faults.append(f"{path.name}: {_EXPECTED}")
            continue
        version = int(match["version"])
        found[version].append(path)
        try:
            migration = Migration(version=version, name=match["name"], sql=_read(path))
        except BadRegistry as error:
            faults += error.faults
            continue
        migrations.append(migration)
        faults += _check_text(path, migration)
    faults += _check_versions(found)
    if faults:
        raise BadRegistry(sorted(faults))
    return sorted(migrations, key=lambda migration: migration.version)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SCRIPT_BYTES + 1)
    except OSError as error:
        raise BadRegistry([f"{path.name}: {_reason(error)}"]) from error
    if len(data) > MAX_SCRIPT_BYTES:
        raise BadRegistry([f"{path.name}: over the limit of {MAX_SCRIPT_BYTES} bytes; divide it"])
    if data.startswith(codecs.BOM_UTF8):
        raise BadRegistry([f"{path.name}: starts with a byte order mark; save the file as UTF-8 without it"])
    try:
        return normalise(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadRegistry([f"{path.name}: line {line} is not UTF-8; save the file as UTF-8"]) from error


def _check_text(path: Path, migration: Migration) -> list[str]:
    if migration.version < 1:
        return []  # said once, with the versions
    # The file's name says which migration it is.
    faults = [msgspec.structs.replace(fault, version=0, name="") for fault in check_migration(migration)]
    return [f"{path.name}: {fault}" for fault in faults]


def _check_versions(found: dict[int, list[Path]]) -> list[str]:
    faults = [
        f"{path.name}: version {version} is taken by {paths[0].name}; give it the next free number"
        for version, paths in found.items()
        for path in paths[1:]
    ]
    if 0 in found:
        faults.append(f"{found[0][0].name}: versions start at 1")
    versions = sorted(version for version in found if version > 0)
    for previous, version in zip([0, *versions], versions, strict=False):
        if version != previous + 1:
            missing = f"{previous + 1}" if version == previous + 2 else f"{previous + 1} to {version - 1}"
            faults.append(f"{found[version][0].name}: there is no file of version {missing}")
    return faults


def _reason(error: OSError) -> str:
    return (error.strerror or "cannot be read").lower()
