"""Lint a folder: read it, replay it on a scratch database, and apply each rule to each migration."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec import Struct

from freehold.errors import Unavailable
from freehold.migrate.apply import apply
from freehold.migrate.check import check_order
from freehold.migrate.failures import MigrationFailed
from freehold.migrate.schema import EMPTY, Schema, read_schema
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.types import Migration
from freehold.registry.files import FileFault, file_name, read_folder
from freehold.registry.folder_config import CONFIG_FILE
from freehold.registry.lint.catalogue import CHECKS, RULES, WAIVABLE
from freehold.registry.lint.findings import Finding, Problem, Waivers, waivers_of
from freehold.registry.lint.hints import fix_of
from freehold.registry.lint.rows.watch import RowWatch
from freehold.registry.lint.step import Keys, Step
from freehold.registry.lint.walk import Walk
from freehold.registry.release import Waiver
from freehold.registry.sum_file import SUM_FILE, UNSEALED, SumFile, read_sum_file, sum_faults, unpublished_changes
from freehold.registry.types import BadRegistry

_REFUSED, _WAIVER = "FH010", "FH113"


class Linted(Struct, frozen=True):
    """The readable migrations and the findings. `schemas` holds the schema after each replayed version."""

    migrations: tuple[Migration, ...]
    findings: tuple[Finding, ...]
    schemas: tuple[Schema, ...] = ()


async def lint_folder(folder: Path, base: SumFile | None = None) -> Linted:
    """Apply every rule to every file. `base` holds the sums of what was released; later versions are one batch.

    Uses scratch databases only. Takes a few milliseconds per migration, and some tens if it is tried on rows.

    Raises:
        BadRegistry: the folder, `registry.sum` or `registry.toml` cannot be read.
        Unavailable: no scratch database can be opened.
    """
    found = await read_folder(folder)
    sums = await asyncio.to_thread(read_sum_file, folder)
    waivers = await asyncio.to_thread(waivers_of, folder, found.migrations)
    faults = [*found.faults, *_sum_faults(sums, base, found.migrations)]
    known = {one.version for one in found.migrations}
    lost = [version for version in waivers.by_version if version not in known]
    faults += [FileFault(CONFIG_FILE, f"there is no version {version} to waive", _WAIVER) for version in lost]
    findings = [_of_fault(fault) for fault in faults]
    schemas: tuple[Schema, ...] = ()
    if not found.faults and not check_order(found.migrations):
        replayed = await replay(found.migrations, None if base is None else len(base.migrations))
        schemas = tuple(step.after for step in replayed.steps)
        if (error := replayed.refused) is not None:
            refused = file_name(found.migrations[len(schemas)])
            findings.append(_of_fault(FileFault(refused, error.reason, _REFUSED, error.line, error.statement)))
        used: set[str] = set()
        for step in replayed.steps:
            findings += _checked(step, waivers, used)
        if replayed.refused is None:
            findings += _of_no_use(waivers, used, is_partial=base is not None)
    findings.sort(key=lambda finding: (finding.file, finding.line, finding.code))
    return Linted(found.migrations, tuple(findings), schemas)


def _sum_faults(sums: SumFile | None, base: SumFile | None, migrations: Sequence[Migration]) -> list[FileFault]:
    if sums is None:
        sums = SumFile()
        faults = [FileFault(SUM_FILE, "there is no such file in this folder", UNSEALED)] if migrations else []
    else:
        faults = sum_faults(sums, migrations)
    return faults + (unpublished_changes(sums, base) if base else [])


def _checked(step: Step, waivers: Waivers, used: set[str]) -> Iterator[Finding]:
    """Yield the findings. Adds to `used` the rules that a waiver for the whole folder suppressed."""
    one = step.migration
    own = waivers.by_version.get(one.version, ())
    waived = {waiver.rule for waiver in own} & WAIVABLE
    everywhere = {waiver.rule for waiver in waivers.everywhere} & WAIVABLE
    # A waiver of a rule that was skipped here is not reported as unused.
    found = {rule.code for rule in CHECKS if rule.only_new and step.is_released}
    for rule in CHECKS:
        problems = [] if rule.code in found else list(rule.check(step))
        if problems and rule.code in waived | everywhere:
            found.add(rule.code)
            used |= {rule.code} - waived
            continue
        for problem in problems:
            yield _of_problem(one, rule.code, problem)
    for waiver in own:
        if waiver.rule not in found:
            yield _of_problem(one, _WAIVER, Problem(_is_no_use(waiver, "here")))


def _of_no_use(waivers: Waivers, used: Set[str], *, is_partial: bool) -> Iterator[Finding]:
    """Yield waivers for the whole folder that suppress nothing; `is_partial` if some versions were skipped."""
    unseen = {rule.code for rule in CHECKS if rule.only_new and is_partial}
    for waiver in waivers.everywhere:
        if waiver.rule not in used | unseen:
            yield _of_fault(FileFault(CONFIG_FILE, _is_no_use(waiver, "in any version"), _WAIVER))


def _is_no_use(waiver: Waiver, where: str) -> str:
    what = f"found nothing {where}" if waiver.rule in WAIVABLE else "cannot be waived"
    return f"{waiver.rule} {what}"


def _of_problem(one: Migration, code: str, problem: Problem) -> Finding:
    line = one.pieces[problem.statement - 1].line if problem.statement else 0
    return _of_fault(FileFault(file_name(one), problem.message, code, line, problem.statement))


def _of_fault(fault: FileFault) -> Finding:
    rule = RULES[fault.code]
    return Finding(
        code=rule.code,
        rule=rule.slug,
        severity=rule.severity,
        file=fault.file,
        line=fault.line,
        statement=fault.statement,
        message=fault.reason,
        fix=fix_of(rule.code, fault.reason) or rule.fix,
    )


def fingerprints(linted: Linted) -> Mapping[int, str]:
    """Return the schema fingerprint of each version that could be replayed."""
    return {one.version: schema.fingerprint for one, schema in zip(linted.migrations, linted.schemas, strict=False)}


def require_replayed(linted: Linted) -> None:
    """Check that every version could be replayed. Raises `BadRegistry` with the errors."""
    if len(linted.schemas) < len(linted.migrations) or not linted.migrations:
        errors = [str(finding) for finding in linted.findings if finding.severity == "error"]
        raise BadRegistry(errors or ["there are no migrations in this folder"])


class Replayed(Struct, frozen=True):
    """A step for each migration up to the first that SQLite refuses, and the refusal."""

    steps: tuple[Step, ...]
    refused: MigrationFailed | None


async def replay(migrations: Sequence[Migration], released: int | None = None) -> Replayed:
    """Replay migrations on a scratch database, and try those that may lose rows on generated ones as well.

    Versions up to `released` count as already applied everywhere.

    Raises:
        Unavailable: no scratch database can be opened.
    """
    batch = frozenset(one.version for one in migrations if released is not None and one.version > released)
    steps: list[Step] = []
    refused = None
    before, keys = EMPTY, Keys()
    rows = RowWatch(released or 0)
    with closing(Walk()) as walk:
        async with sqlite_scratch() as target:
            for at, one in enumerate(migrations):
                await rows.begin(one, before, target)
                try:
                    await apply(target, migrations, to=one.version, recorded=one.version - 1)
                except MigrationFailed as error:
                    refused = error
                    break
                except Unavailable as error:
                    if "interrupted" not in str(error):
                        raise
                    # Nobody else uses the scratch database, so the migration itself is the cause.
                    reason = "interrupted: on an empty database it runs for longer than there is time"
                    refused = MigrationFailed(migration=one, reason=reason)
                    break
                after = await read_schema(target)
                step = Step(one, before, after, migrations[:at], batch, is_released=one.version <= (released or 0))
                walked = await asyncio.to_thread(walk.go, step.statements, after)
                seen = await rows.end(step)
                steps.append(msgspec.structs.replace(step, observed=seen, walked=walked, keys_before=keys))
                before, keys = after, walked.keys
    return Replayed(tuple(msgspec.structs.replace(step, head=before, keys_at_head=keys) for step in steps), refused)
