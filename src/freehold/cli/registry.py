"""`freehold registry`: write, check, sign and publish the migrations of tenant databases."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import click

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_services, registry_folder
from freehold.cli.output import JSON, echo_json, examples, tell
from freehold.cli.registry_check import FOLDER, lint, load_migrations, seal
from freehold.cli.registry_keys import keys, sign
from freehold.cli.registry_publish import publish
from freehold.cli.registry_trial import trial
from freehold.cli.registry_write import diff, new
from freehold.errors import InvalidInput
from freehold.migrate.types import Migration
from freehold.registry.client_versions import Census
from freehold.registry.types import PublishedMigration


@click.group(epilog=examples("freehold registry lint", "freehold registry publish --dry-run"))
def registry() -> None:
    """Write, check, sign and publish the migrations of tenant databases.

    FOLDER is SCHEMA_REGISTRY unless given.
    """


for _command in (new, diff, lint, seal, trial, publish, sign, keys):
    registry.add_command(_command)


@registry.command(
    epilog=examples(
        "freehold registry status",
        "freehold registry status --census",
        "freehold registry status --at https://auth.example.com",
        "freehold registry status --json | jq 'select(.state != \"published\")'",
    )
)
@FOLDER
@click.option("--census", "with_census", is_flag=True, help="Also show which versions are in use.")
@click.option("--at", "service", metavar="URL", help="Compare with what this service serves to apps; needs no token.")
@JSON
@async_command
async def status(*, folder: Path | None, with_census: bool, service: str | None, as_json: bool) -> int:
    """Compare the files of a folder with what is published.

    Each version is `published`, `pending` (a file that is not published yet), `changed` (published with other SQL) or
    `no file`. Exit code 0 when all are published, otherwise 1. With --census it also shows which versions are in use:
    tenants by the version last seen in their ledgers, users by the oldest app among their devices.

    With --at it pulls like an app and verifies checksums, chain, signature and expiry; the exit code is 1 if anything
    does not match. It trusts whichever key signs there; apps have theirs pinned.
    """
    if service is not None and with_census:
        raise click.UsageError("--census counts in the central database; a service named with --at does not reveal it")
    census = None
    published: Sequence[Migration | PublishedMigration]
    migrations = await load_migrations(registry_folder(folder))
    if service is not None:
        published = await _served_by(service)
    else:
        async with command_services("aside") as services:
            published = (await services.registry.snapshot()).rows
            census = await services.reports.census(len(published)) if with_census else None
    states = list(_states(published, migrations))
    for version, name, state in states:
        tell(f"{version:04}  {state:<9}  {name}", {"version": version, "name": name, "state": state}, as_json=as_json)
    if census is not None:
        _show_census(census, as_json=as_json)
    click.echo(f"published: version {len(published)}; files: version {len(migrations)}", err=True)
    # A version without a file was published over HTTP: worth showing, but not a failure.
    return EXIT_DONE if all(state in {"published", "no file"} for _, _, state in states) else EXIT_NO


async def _served_by(service: str) -> tuple[Migration, ...]:
    from freehold.client import FreeholdClient
    from freehold.client.calls import service_url

    try:
        service_url(service)
    except InvalidInput as error:
        raise click.UsageError(f"--at: {error}") from error
    async with FreeholdClient(service) as client:
        return (await client.pull()).migrations


def _show_census(census: Census, *, as_json: bool) -> None:
    if as_json:
        echo_json({"census": census})
        return
    for tenants in census.tenants:
        click.echo(f"{tenants.tenants:>7} tenants at version {tenants.schema_version}, {tenants.state}")
    for app in census.apps:
        guests = f" and {app.guests} guests" if app.guests else ""
        click.echo(f"{app.users:>7} users{guests} at version {app.schema_version} with {_app(app.app_version)}")
    for each in census.anonymous:
        click.echo(
            f"{each.devices:>7} devices of nobody signed in at version {each.schema_version}"
            f" with {_app(each.app_version)}"
        )


def _app(version: str) -> str:
    return f"app {version}" if version else "an app that did not say its version"


def _states(
    published: Sequence[Migration | PublishedMigration], migrations: Sequence[Migration]
) -> Iterator[tuple[int, str, str]]:
    for version, (row, migration) in enumerate(zip_longest(published, migrations), start=1):
        if row is None:
            state = "pending"
        elif migration is None:
            state = "no file"
        else:
            state = "published" if row.checksum == migration.checksum else "changed"
        named = migration or row
        yield version, named.name if named else "", state
