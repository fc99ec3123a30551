"""Which rules a folder's migrations need not keep: lines in the files, and `registry.toml` for published ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from freehold.migrate.types import Migration
from freehold.registry.folder_config import read_config
from freehold.registry.release import Waiver, release_of


def waivers_of(folder: Path, migrations: Sequence[Migration]) -> Mapping[int, tuple[Waiver, ...]]:
    """Waivers by version. Blocking. Raises `BadRegistry` when `registry.toml` is not as it must be."""
    found = {one.version: release_of(one).waivers for one in migrations}
    for entry in read_config(folder).waiver:
        found[entry.version] = (*found.get(entry.version, ()), Waiver(entry.rule, entry.reason))
    return found
