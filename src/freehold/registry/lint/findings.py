"""What lint finds, and what a rule is."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from freehold.registry.lint.step import Step

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
