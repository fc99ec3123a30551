"""What lint finds, what a rule is, and which rules a folder need not keep."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from freehold.migrate.types import Migration
from freehold.registry.folder_config import read_config
from freehold.registry.lint.step import Step
from freehold.registry.release import Waiver, release_of

Severity = Literal["error", "warning"]


class Problem(Struct, frozen=True):
    """What a rule says of one migration. `statement` is the number of a statement from 1; 0 is the whole file."""

    message: str
    statement: int = 0


class Rule(Struct, frozen=True, kw_only=True):
    """One thing to look for. `why` explains it and `fix` says what to do instead; both are in docs/lint.md."""

    code: str
    slug: str
    why: str
    fix: str
    severity: Severity = "error"
    # Not for versions that are known to be released: what they did is done, and they cannot be changed.
    only_new: bool = False
    # None where something else finds it: the migration core, or reading the folder.
    check: Callable[[Step], Iterator[Problem]] | None = None


class Finding(Struct, frozen=True, kw_only=True):
    """One place that breaks a rule. `line` and `statement` count from 1; 0 is the file as a whole."""

    code: str
    rule: str
    severity: Severity
    file: str
    line: int
    statement: int
    message: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.severity} {self.code} {self.rule}: {self.message}"


def is_failed(findings: Sequence[Finding], *, strict: bool) -> bool:
    """Whether these findings stop a release: an error does, a warning only when `strict`."""
    return any(strict or finding.severity == "error" for finding in findings)


# Which rules a folder's migrations need not keep: lines in the files, and `registry.toml` for published ones.


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
