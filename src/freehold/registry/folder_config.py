"""`registry.toml` beside the migrations: waivers of lint rules, and which files are further parts of the release."""

import asyncio
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from freehold.registry.publishing import MAX_PART_BYTES, require_parts
from freehold.registry.types import BadRegistry, PartFile

CONFIG_FILE = "registry.toml"


class WaiverEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[waiver]]`: a rule that a published migration need not keep, or none of the folder without `version`."""

    rule: str
    reason: Annotated[str, Meta(min_length=3)]
    version: int | None = None


class PartEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[part]]`: a file of this folder that is signed and served with the migrations, under its own name."""

    file: str
    must_understand: bool = False


class FolderConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The file as it is read; empty where there is none."""

    waiver: tuple[WaiverEntry, ...] = ()
    part: tuple[PartEntry, ...] = ()


def read_config(folder: Path) -> FolderConfig:
    """What the folder's `registry.toml` says. Blocking. Raises `BadRegistry` when it is not as it must be."""
    try:
        return msgspec.convert(tomllib.loads((folder / CONFIG_FILE).read_text("utf-8")), FolderConfig)
    except FileNotFoundError:
        return FolderConfig()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadRegistry([f"{CONFIG_FILE}: {error}"]) from error


async def load_parts(folder: Path) -> list[PartFile]:
    """The further parts of the folder's release. Raises `BadRegistry`, with every fault."""
    return await asyncio.to_thread(_load_parts, folder)


def _load_parts(folder: Path) -> list[PartFile]:
    found: list[PartFile] = []
    faults: list[str] = []
    for entry in read_config(folder).part:
        if Path(entry.file).name != entry.file:
            faults.append(f"{CONFIG_FILE}: part {entry.file!r}: name a file of this folder")
            continue
        try:
            with (folder / entry.file).open("rb") as file:
                content = file.read(MAX_PART_BYTES + 1)
        except OSError as error:
            faults.append(f"{CONFIG_FILE}: part {entry.file!r}: {(error.strerror or 'unreadable').lower()}")
            continue
        found.append(PartFile(name=entry.file, content=content, must_understand=entry.must_understand))
    if faults:
        raise BadRegistry(faults)
    require_parts(found)
    return found
