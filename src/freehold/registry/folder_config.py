"""`registry.toml` beside the migrations: waivers of lint rules, and the further parts of the release."""

import asyncio
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from freehold.registry.files import read_file, reason_of
from freehold.registry.publishing import MAX_PART_BYTES, require_parts
from freehold.registry.types import BadRegistry, PartFile

CONFIG_FILE = "registry.toml"
_MAX_CONFIG_BYTES = 1_048_576


class WaiverEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[waiver]]`: exempts one published migration from a rule, or the whole folder without `version`."""

    rule: str
    reason: Annotated[str, Meta(min_length=3)]
    version: int | None = None


class PartEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[part]]`: a file of this folder that is signed and served with the migrations, under its own name."""

    file: str
    must_understand: bool = False


class FolderConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The parsed file; empty if there is none."""

    waiver: tuple[WaiverEntry, ...] = ()
    part: tuple[PartEntry, ...] = ()


def read_config(folder: Path) -> FolderConfig:
    """Parse the folder's `registry.toml`. Blocking. Raises `BadRegistry` if it is invalid."""
    try:
        content = read_file(folder / CONFIG_FILE, _MAX_CONFIG_BYTES)
        if len(content) > _MAX_CONFIG_BYTES:
            raise BadRegistry([f"{CONFIG_FILE}: over the limit of {_MAX_CONFIG_BYTES} bytes"])
        return msgspec.convert(tomllib.loads(content.decode()), FolderConfig)
    except FileNotFoundError:
        return FolderConfig()
    except OSError as error:
        raise BadRegistry([f"{CONFIG_FILE}: {reason_of(error)}"]) from error
    except RecursionError as error:
        raise BadRegistry([f"{CONFIG_FILE}: it is nested too deeply"]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadRegistry([f"{CONFIG_FILE}: {error}"]) from error


async def load_parts(folder: Path) -> list[PartFile]:
    """Return the further parts of the folder's release. Raises `BadRegistry` with every fault."""
    return await asyncio.to_thread(_load_parts, folder)


def _load_parts(folder: Path) -> list[PartFile]:
    found: list[PartFile] = []
    faults: list[str] = []
    for entry in read_config(folder).part:
        path = folder / entry.file
        shown = repr(entry.file[:80])
        try:
            # What is signed is public for good, so a link must not pull in files from elsewhere. Links within the
            # folder are allowed: Kubernetes mounts use them.
            if Path(entry.file).name != entry.file or not path.resolve().is_relative_to(folder.resolve()):
                faults.append(f"{CONFIG_FILE}: part {shown}: name a file of this folder")
                continue
            content = read_file(path, MAX_PART_BYTES)
        # ValueError comes from an invalid name, RuntimeError from a symlink loop.
        except (OSError, ValueError, RuntimeError) as error:
            why = reason_of(error) if isinstance(error, OSError) else "no name of a file"
            faults.append(f"{CONFIG_FILE}: part {shown}: {why}")
            continue
        found.append(PartFile(name=entry.file, content=content, must_understand=entry.must_understand))
    if faults:
        raise BadRegistry(faults)
    require_parts(found)
    return found
