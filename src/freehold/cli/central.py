"""`freehold central`: move the database of users, sessions, tenants and published migrations."""

import asyncio
from pathlib import Path

import click
import msgspec

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_settings
from freehold.cli.output import examples, progress, tell
from freehold.dates import to_iso, utc_now
from freehold.settings.fields import BadSettings, Settings
from freehold.settings.servers import same_server

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")


@click.group(
    epilog=examples(
        "freehold central copy --to sqlite:////var/lib/freehold/data/central.db --dry-run", "freehold central reopen"
    )
)
def central() -> None:
    """Move the central database: users, sessions, tenants, published migrations."""


@central.command(
    epilog=examples(
        "freehold central copy --to sqlite:////var/lib/freehold/data/central.db",
        "freehold central copy --to 'http://127.0.0.1:8090/?namespace=central' --token-file central-token",
    )
)
@click.option("--to", "to", required=True, metavar="URL", help="Where to copy to, in the form of DATABASE_URL.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the target's token, for DATABASE_AUTH_TOKEN.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be copied, and change nothing.")
@_JSON
@async_command
async def copy(to: str, token_file: Path | None, dry_run: bool, as_json: bool) -> None:
    """Copy the central database to URL, and make the current one read-only.

    For example, to move it off the sqld that runs tenants' SQL. The target must be empty. A service that is running
    meanwhile returns 503 for writes, so nothing is lost; stop it, and start it again with DATABASE_URL set to URL.
    Tables, the number of rows in each, every value, and the schema's version are compared first: if anything differs,
    the database stays where it was and is writable again. Safe to run twice, and after a kill.

    Exit code 0 when the copy is complete, 1 when the target is not empty or the copy would differ.
    """
    from freehold.central.moving.copy import check_move, move
    from freehold.central.moving.places import CentralPlace

    settings = await _settings()
    if settings.tenant_provider == "sqld" and same_server(to, settings.sqld_url):
        raise click.UsageError("that is the sqld that runs tenants' SQL; name a file, or another server")
    if not to.startswith("sqlite:///") and "://" not in to:
        raise click.UsageError("--to is a URL: sqlite:///path for a file, or a libSQL server's")
    from freehold.wiring.central import central_place

    source = await central_place(settings)
    token = (await asyncio.to_thread(token_file.read_text)).strip() if token_file else None
    wanted = CentralPlace(to, token)
    if dry_run:
        rows = await check_move(source, wanted)
        tell(f"would copy {_summary(rows)} to {wanted.name}", {"place": wanted.name, "rows": rows}, as_json=as_json)
        return
    with progress("copying rows", 1, is_wanted=not as_json) as bar:
        moved = await move(source, wanted, to_iso(utc_now()), bar.reach)
    what = "was copied before" if moved.was_done else "copied"
    text = (
        f"{what}: {_summary(moved.rows)}, schema {moved.schema_version}, to {moved.place}\n"
        f"now set DATABASE_URL to it and start the service; the old one no longer accepts writes"
    )
    tell(text, msgspec.to_builtins(moved), as_json=as_json)


@central.command(
    epilog=examples(
        "freehold central reopen", "freehold central reopen --yes   # even if the copy is complete and may be in use"
    )
)
@click.option("--yes", is_flag=True, help="Also if the copy is complete: what was written to it since stays there.")
@_JSON
@async_command
async def reopen(yes: bool, as_json: bool) -> int:
    """Make the original central database writable again, after an unwanted copy.

    Exit code 1 when the copy is complete and --yes is not given, since a service may be using it. Safe to run twice.
    """
    from freehold.central.moving import closing
    from freehold.wiring.central import central_place

    source = await central_place(await _settings())
    async with source.opened() as target:
        mark = await closing.read_mark(target)
        if mark is not None and mark.state == "copied" and not yes:
            click.echo(f"it was copied to {mark.place} at {mark.at}; use --yes to continue with the old one", err=True)
            return EXIT_NO
        await closing.reopen(target)
    text = (
        "it can be written"
        if mark is None
        else f"it can be written again; {mark.place} is no longer the central database"
    )
    tell(text, {"was": msgspec.to_builtins(mark)}, as_json=as_json)
    return EXIT_DONE


async def _settings() -> Settings:
    """The settings. Raises `BadSettings` if there is no central database where they point."""
    from freehold.cli.installation import missing_central

    settings = command_settings()
    if fault := await missing_central(settings):
        raise BadSettings([fault])
    return settings


def _summary(rows: dict[str, int]) -> str:
    return f"{sum(rows.values())} rows in {len(rows)} tables"
