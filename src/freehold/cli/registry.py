"""`freehold registry`: ordered migrations of the tenant databases."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from freehold.cli.context import (
    EXIT_DONE,
    EXIT_NO,
    async_command,
    command_services,
    echo_json,
)
from freehold.cli.registry_check import FOLDER, JSON, lint, seal
from freehold.cli.registry_keys import keys, read_release, sign
from freehold.cli.registry_trial import trial
from freehold.cli.registry_write import diff, new
from freehold.migrate.types import Migration
from freehold.registry.census import Census
from freehold.registry.files import file_name, load_folder
from freehold.registry.snapshot import Snapshot
from freehold.registry.types import BadRegistry


@click.group(
    epilog="""\b
Examples:
  freehold registry lint
  freehold registry publish --dry-run
"""
)
def registry() -> None:
    """Ordered migrations of the tenant databases: write, check and publish them, compare.

    FOLDER is SCHEMA_REGISTRY unless given.
    """


registry.add_command(new)
registry.add_command(diff)
registry.add_command(lint)
registry.add_command(seal)
registry.add_command(trial)
registry.add_command(sign)
registry.add_command(keys)


@registry.command(
    epilog="""\b
Examples:
  freehold registry publish --dry-run
  freehold registry publish schema_registry/bahar
  freehold registry publish --signed release.json
"""
)
@FOLDER
@click.option("--dry-run", is_flag=True, help="Say what would be published, and publish nothing.")
@click.option(
    "--signed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `freehold registry sign` wrote; no key is needed here then.",
)
@click.option(
    "--force", is_flag=True, help="Publish contract migrations although older apps are live; it is recorded."
)
@JSON
@async_command
async def publish(folder: Path | None, dry_run: bool, signed: Path | None, force: bool, as_json: bool) -> int:
    """Publish the migrations of a folder that are not published yet: all of them or none. Safe to run twice.

    A published migration never changes: if a file has other SQL than what was published, nothing happens and
    the exit code is 1. So it is when a contract migration needs a newer app than some that were seen lately.
    """
    async with command_services() as services:
        migrations = await _load(folder or services.settings.schema_registry)
        release = None if signed is None else await asyncio.to_thread(read_release, signed)
        if dry_run:
            report = await services.registry.plan(migrations, release, force=force)
        else:
            report = await services.registry.publish(migrations, release, force=force)
            report = msgspec.structs.replace(
                report, renewed=await services.registry.renew() or report.renewed
            )
    if as_json:
        echo_json({**msgspec.structs.asdict(report), "dry_run": dry_run})
        return EXIT_DONE
    done = "would publish" if dry_run else "published"
    for version in report.published:
        click.echo(f"{done} {file_name(migrations[version - 1])}")
    summary = f"{report.already} were published before; the registry is at version {report.version}"
    click.echo(summary if not dry_run else summary.replace("is at", "would be at"), err=True)
    if not report.renewed:
        click.echo("there is nothing to do", err=True)
    for version in report.without_file:
        click.echo(f"version {version} is published but has no file in this folder", err=True)
    return EXIT_DONE


@registry.command(
    epilog="""\b
Examples:
  freehold registry status
  freehold registry status --census
  freehold registry status --json | jq 'select(.state != "published")'
"""
)
@FOLDER
@click.option("--census", "with_census", is_flag=True, help="Show which versions are in use, too.")
@JSON
@async_command
async def status(folder: Path | None, with_census: bool, as_json: bool) -> int:
    """Compare the files of a folder with what is published.

    Each version is `published`, `pending` (a file that is not published yet), `changed` (published with other
    SQL) or `no file`. Exit code 0 when all are published, else 1. With --census it also shows which versions are
    in use: tenants by what was last seen in their ledgers, devices by what they said when they pulled.
    """
    async with command_services() as services:
        migrations = await _load(folder or services.settings.schema_registry)
        snapshot = await services.registry.snapshot()
        census = await services.reports.census(snapshot.version) if with_census else None
    states = _states(snapshot, migrations)
    for version, name, state in states:
        if as_json:
            echo_json({"version": version, "name": name, "state": state})
        else:
            click.echo(f"{version:04}  {state:<9}  {name}")
    if census is not None:
        _show_census(census, as_json=as_json)
    click.echo(f"published: version {snapshot.version}; files: version {len(migrations)}", err=True)
    # A version without a file came over HTTP: worth telling, and nothing to act upon.
    return EXIT_DONE if all(state in {"published", "no file"} for _, _, state in states) else EXIT_NO


def _show_census(census: Census, *, as_json: bool) -> None:
    if as_json:
        echo_json({"census": census})
        return
    for each in census.tenants:
        click.echo(f"{each.tenants:>7} tenants at version {each.schema_version}, {each.state}")
    for app in census.apps:
        named = f"app {app.app_version}" if app.app_version else "an app that did not say its version"
        click.echo(f"{app.devices:>7} devices at version {app.schema_version} with {named}")


async def _load(folder: Path) -> list[Migration]:
    migrations = await load_folder(folder)
    if not migrations:
        raise BadRegistry([f"{folder}: there are no migrations in this folder"])
    return migrations


def _states(snapshot: Snapshot, migrations: Sequence[Migration]) -> list[tuple[int, str, str]]:
    found = []
    for version in range(1, max(snapshot.version, len(migrations)) + 1):
        row = snapshot.rows[version - 1] if version <= snapshot.version else None
        migration = migrations[version - 1] if version <= len(migrations) else None
        if row is None:
            state = "pending"
        elif migration is None:
            state = "no file"
        else:
            state = "published" if row.checksum == migration.checksum else "changed"
        named = migration or row
        found.append((version, named.name if named else "", state))
    return found
