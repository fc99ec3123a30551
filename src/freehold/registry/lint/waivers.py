"""Which rules a folder's migrations need not keep: lines in the files, and `registry.toml` for published ones."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from freehold.migrate.types import Migration
from freehold.registry.release import Waiver, release_of
from freehold.registry.types import BadRegistry

CONFIG_FILE = "registry.toml"


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    rule: str
    reason: Annotated[str, Meta(min_length=3)]


class _Config(Struct, frozen=True, forbid_unknown_fields=True):
    waiver: tuple[_Entry, ...] = ()


def waivers_of(folder: Path, migrations: Sequence[Migration]) -> Mapping[int, tuple[Waiver, ...]]:
    """Waivers by version. Blocking. Raises `BadRegistry` when `registry.toml` is not as it must be."""
    found = {one.version: release_of(one).waivers for one in migrations}
    for entry in _config(folder / CONFIG_FILE).waiver:
        found[entry.version] = (*found.get(entry.version, ()), Waiver(entry.rule, entry.reason))
    return found


def _config(path: Path) -> _Config:
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), _Config)
    except FileNotFoundError:
        return _Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadRegistry([f"{CONFIG_FILE}: {error}"]) from error
