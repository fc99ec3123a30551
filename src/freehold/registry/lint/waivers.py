"""Which rules a folder's migrations need not keep: lines in the files, and `registry.toml` for published ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from freehold.migrate.types import Migration
from freehold.registry.folder_config import read_config
from freehold.registry.release import Waiver, release_of


class Waivers(Struct, frozen=True):
    """Waivers by version, and those for the whole folder."""

    by_version: Mapping[int, tuple[Waiver, ...]]
    everywhere: tuple[Waiver, ...] = ()

    def is_waived(self, version: int, rule: str) -> bool:
        """Whether this version need not keep the rule."""
        return any(one.rule == rule for one in (*self.by_version.get(version, ()), *self.everywhere))


def waivers_of(folder: Path, migrations: Sequence[Migration]) -> Waivers:
    """What files and `registry.toml` waive. Blocking. Raises `BadRegistry` when that is not as it must be."""
    found = {one.version: release_of(one).waivers for one in migrations}
    everywhere = []
    for entry in read_config(folder).waiver:
        waiver = Waiver(entry.rule, entry.reason)
        if entry.version is None:
            everywhere.append(waiver)
        else:
            found[entry.version] = (*found.get(entry.version, ()), waiver)
    return Waivers(found, tuple(everywhere))
