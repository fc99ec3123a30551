"""What lint reports, what a rule is, and which rules a folder is exempt from."""

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
    """What a rule says about one migration. `statement` counts from 1; 0 is the whole file."""

    message: str
    statement: int = 0


class Rule(Struct, frozen=True, kw_only=True):
    """One thing to look for. `why` explains it and `fix` says what to do instead; both are also in docs/lint.md."""

    code: str
    slug: str
    why: str
    fix: str
    severity: Severity = "error"
    # Skips versions known to be released: they cannot be changed, and their effect has happened.
    only_new: bool = False
    # By default something else reports it: the migration core, or reading the folder.
    check: Callable[[Step], Iterator[Problem]] = lambda _step: iter(())


class Finding(Struct, frozen=True, kw_only=True):
    """One place that breaks a rule. `line` and `statement` count from 1; 0 is the whole file."""

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
    """Return whether these findings stop a release: errors do, warnings only when `strict`."""
    return any(strict or finding.severity == "error" for finding in findings)


class Waivers(Struct, frozen=True):
    """Waivers by version (from the files and `registry.toml`), and those for the whole folder."""

    by_version: Mapping[int, tuple[Waiver, ...]]
    everywhere: tuple[Waiver, ...] = ()

    def is_waived(self, version: int, rule: str) -> bool:
        """Return whether this version is exempt from the rule."""
        return any(one.rule == rule for one in (*self.by_version.get(version, ()), *self.everywhere))


def waivers_of(folder: Path, migrations: Sequence[Migration]) -> Waivers:
    """Return the waivers of the files and of `registry.toml`. Blocking. Raises `BadRegistry` if that is invalid."""
    found = {one.version: release_of(one).waivers for one in migrations}
    entries = [(entry.version, Waiver(entry.rule, entry.reason)) for entry in read_config(folder).waiver]
    for version, waiver in entries:
        if version is not None:
            found[version] = (*found.get(version, ()), waiver)
    return Waivers(found, tuple(waiver for version, waiver in entries if version is None))
