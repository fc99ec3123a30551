"""`freehold registry lint` and `seal`: check and seal the files of a folder, without touching any installation."""

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, registry_folder
from freehold.cli.output import JSON, echo_json, examples, tell
from freehold.migrate.types import Migration, chains
from freehold.registry.files import file_name, load_folder
from freehold.registry.lint.findings import Finding, is_failed
from freehold.registry.lint.run import Linted, fingerprints, lint_folder, require_replayed
from freehold.registry.sum_file import SUM_FILE, SumFile, parse_sum_file, read_sum_file, sum_file_of
from freehold.registry.types import BadRegistry

FOLDER = click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.command(
    epilog=examples(
        "freehold registry lint",
        "freehold registry lint schema_registry/bahar --json",
        "freehold registry lint --base origin/main --format github",
    )
)
@FOLDER
@click.option("--base", metavar="REF", help="A git commit: versions listed in its registry.sum count as released.")
@click.option("--strict", is_flag=True, help="Fail on warnings, too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github"]),
    default="text",
    help="`github` writes annotations for a pull request.",
)
@JSON
@async_command
async def lint(folder: Path | None, base: str | None, strict: bool, form: str, as_json: bool) -> int:
    """Check the files in a folder, using only a scratch database.

    Checks names, versions, checksums, what a migration must not contain, and what would break apps or other engines:
    docs/lint.md has every rule. Exit code 1 when there is an error (with --strict, a warning); findings go to stderr,
    with --json or --format github to stdout.
    """
    folder = registry_folder(folder)
    before = None if base is None else await asyncio.to_thread(_sum_file_at, folder, base)
    linted = await lint_folder(folder, before)
    if not linted.migrations and not linted.findings:
        raise BadRegistry([f"{folder}: there are no migrations in this folder"])
    failed = is_failed(linted.findings, strict=strict)
    for finding in linted.findings:
        if as_json:
            echo_json({**msgspec.structs.asdict(finding), "fault": str(finding)})
        elif form == "github":
            click.echo(_annotation(folder, finding))
        else:
            click.echo(f"{finding}\n    {finding.fix}", err=True)
    if failed:
        return EXIT_NO
    if form == "text" or as_json:
        _show(linted, as_json=as_json)
    click.echo(f"{len(linted.migrations)} migrations are sound", err=True)
    return EXIT_DONE


@click.command(epilog=examples("freehold registry seal", "freehold registry seal --again 12"))
@FOLDER
@click.option(
    "--again",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="VERSION",
    help="Accept an edited file as it is now; only for versions that no database has.",
)
@JSON
@async_command
async def seal(folder: Path | None, again: tuple[int, ...], as_json: bool) -> None:
    """Write registry.sum: the checksums of each file and of the resulting schema.

    Commit it with the migrations. Two branches that take the same number conflict in it, and edits of a sealed file
    are detected; such a file is sealed again only with --again. Safe to run twice.
    """
    folder = registry_folder(folder)
    before = await asyncio.to_thread(read_sum_file, folder) or SumFile()
    linted = await lint_folder(folder)
    require_replayed(linted)
    if lost := sorted(set(again) - {one.version for one in linted.migrations}):
        raise BadRegistry([f"--again {version}: there is no such version" for version in lost])
    _require_kept(before, linted.migrations, again)
    schemas = fingerprints(linted)
    after = sum_file_of(linted.migrations, [schemas[one.version] for one in linted.migrations])
    await asyncio.to_thread((folder / SUM_FILE).write_text, after.text, "utf-8")
    new = [one for one in after.migrations if one not in before.migrations]
    for one in new:
        tell(
            f"sealed {one.file}",
            {"version": one.version, "file": one.file, "checksum": one.checksum, "schema": one.schema},
            as_json=as_json,
        )
    click.echo(f"{folder / SUM_FILE} is at version {len(after.migrations)}", err=True)


async def load_migrations(folder: Path) -> list[Migration]:
    """The migrations of a folder. Raises `BadRegistry`, also if there are none."""
    migrations = await load_folder(folder)
    if not migrations:
        raise BadRegistry([f"{folder}: there are no migrations in this folder"])
    return migrations


def _require_kept(before: SumFile, migrations: Sequence[Migration], again: Sequence[int]) -> None:
    files = {one.version: one for one in migrations}
    faults = [
        f"{line.file}: was sealed with other content; restore it, or use --again {line.version} if no database has it"
        for line in before.migrations
        if line.version not in again and (line.version not in files or files[line.version].checksum != line.checksum)
    ]
    if faults:
        raise BadRegistry(faults)


def _sum_file_at(folder: Path, reference: str) -> SumFile:
    """The folder's `registry.sum` as it was at a commit; empty when it had none."""
    if reference.startswith("-"):
        raise BadRegistry([f"--base: `{reference}` is not a commit"])
    if _git(folder, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}") is None:
        raise BadRegistry([f"--base: git knows no commit `{reference}`; fetch it first"])
    return parse_sum_file(_git(folder, "show", f"{reference}:./{SUM_FILE}") or "")


def _git(folder: Path, *words: str) -> str | None:
    """What git prints, or None if it fails."""
    git = shutil.which("git")
    if git is None:
        raise BadRegistry(["--base: git is not installed; install it or leave --base out"])
    done = subprocess.run([git, "-C", folder, *words], capture_output=True, check=False)  # noqa: S603 - no shell
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _show(linted: Linted, *, as_json: bool) -> None:
    for migration, link in zip(linted.migrations, chains(linted.migrations), strict=True):
        count = len(migration.statements)
        facts = {
            "version": migration.version,
            "name": migration.name,
            "description": migration.description,
            "checksum": migration.checksum,
            "chain": link,
            "statements": count,
        }
        text = f"{file_name(migration)}  {migration.checksum[:12]}  {count:>2} statement(s)"
        tell(text, facts, as_json=as_json)


def _annotation(folder: Path, finding: Finding) -> str:
    """A workflow command. Source: docs.github.com, "Workflow commands", setting an error message."""
    place = f"file={_property(str(folder / finding.file))}" + (f",line={finding.line}" if finding.line else "")
    title = _property(f"{finding.code} {finding.rule}")
    text = _data(f"{finding.message}\n{finding.fix}")
    return f"::{finding.severity} {place},title={title}::{text}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
