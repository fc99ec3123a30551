"""`registry.toml` beside the migrations: waivers of lint rules, and which files are further parts of the release."""

import asyncio
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from freehold.registry.files import read_file
from freehold.registry.publishing import MAX_PART_BYTES, require_parts
from freehold.registry.types import BadRegistry, PartFile

CONFIG_FILE = "registry.toml"
_MAX_CONFIG_BYTES = 1_048_576


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
        content = read_file(folder / CONFIG_FILE, _MAX_CONFIG_BYTES)
        if len(content) > _MAX_CONFIG_BYTES:
            raise BadRegistry([f"{CONFIG_FILE}: over the limit of {_MAX_CONFIG_BYTES} bytes"])
        return msgspec.convert(tomllib.loads(content.decode()), FolderConfig)
    except FileNotFoundError:
        return FolderConfig()
    except OSError as error:
        raise BadRegistry([f"{CONFIG_FILE}: {_reason(error)}"]) from error
    except RecursionError as error:
        raise BadRegistry([f"{CONFIG_FILE}: it is nested too deeply"]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadRegistry([f"{CONFIG_FILE}: {error}"]) from error


async def load_parts(folder: Path) -> list[PartFile]:
    """The further parts of the folder's release. Raises `BadRegistry`, with every fault."""
    return await asyncio.to_thread(_load_parts, folder)


def _load_parts(folder: Path) -> list[PartFile]:
    found: list[PartFile] = []
    faults: list[str] = []
    for entry in read_config(folder).part:
        path = folder / entry.file
        shown = repr(entry.file[:80])
        try:
            # What is signed is public for good: a link must not bring in what lies elsewhere. Within the folder it
            # may lead somewhere, as in those that Kubernetes mounts.
            if Path(entry.file).name != entry.file or not path.resolve().is_relative_to(folder.resolve()):
                faults.append(f"{CONFIG_FILE}: part {shown}: name a file of this folder")
                continue
            content = read_file(path, MAX_PART_BYTES)
        # The latter two are of a name, or of links in a circle.
        except (OSError, ValueError, RuntimeError) as error:
            why = _reason(error) if isinstance(error, OSError) else "no name of a file"
            faults.append(f"{CONFIG_FILE}: part {shown}: {why}")
            continue
        found.append(PartFile(name=entry.file, content=content, must_understand=entry.must_understand))
    if faults:
        raise BadRegistry(faults)
    require_parts(found)
    return found


def _reason(error: OSError) -> str:
    return (error.strerror or "unreadable").lower()
