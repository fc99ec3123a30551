"""`freehold registry publish`: publish into the central database, or to a service over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from freehold.cli.context import async_command, command_services, command_settings, registry_folder
from freehold.cli.output import JSON, echo_json, examples
from freehold.cli.registry_check import FOLDER, load_migrations
from freehold.cli.registry_keys import read_release
from freehold.errors import Unauthenticated, Unavailable
from freehold.migrate.types import Migration
from freehold.registry.files import file_name
from freehold.registry.folder_config import load_parts
from freehold.registry.signed import SignedRelease
from freehold.registry.types import PartFile, PublishReport
from freehold.settings.fields import BadSettings
from freehold.settings.servers import is_private_to

if TYPE_CHECKING:
    from freehold.client.calls import Answer

# A service does not answer while it restarts. Retrying is safe: the same release is published only once.
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
# Before publishing, the service tries the migrations out, which takes as long as their statements.
_TIMEOUT_S = 120.0
_KEY_LETTERS = 64  # API keys have at least this many; session tokens and JWTs have fewer, or dots


@click.command(
    epilog=examples(
        "freehold registry publish --dry-run",
        "freehold registry publish schema_registry/bahar",
        "freehold registry publish --signed release.json",
        "REGISTRY_TOKEN=... freehold registry publish --signed release.json --to https://auth.example.com",
    )
)
@FOLDER
@click.option("--dry-run", is_flag=True, help="Show what would be published, and publish nothing.")
@click.option(
    "--signed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The output of `freehold registry sign`; with it, no key is needed here.",
)
@click.option(
    "--to",
    "service",
    metavar="URL",
    help="Publish to this service; requires --signed, and an API key in REGISTRY_TOKEN.",
)
@click.option(
    "--renew",
    is_flag=True,
    help="Sign what is published again, with a counter above all earlier ones; for use after restoring a backup.",
)
@click.option(
    "--force", is_flag=True, help="Publish contract migrations even if older apps are still in use; this is recorded."
)
@JSON
@async_command
async def publish(
    *,
    folder: Path | None,
    dry_run: bool,
    signed: Path | None,
    service: str | None,
    renew: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Publish the migrations of a folder that are not published yet, and the release's parts: all or none.

    Safe to run twice. Parts are the files that `[[part]]` in registry.toml names; one that it no longer names leaves
    the release.

    A published migration never changes: if a file's SQL differs from what was published, nothing happens and the exit
    code is 1. The same applies when a contract migration needs a newer app than some that were seen recently.

    With --to, only the service is needed: not its central database, nor any of its secrets. REGISTRY_TOKEN is an API
    key with the scope registry:publish (`freehold api-keys create`), and registry:force for --force. If the service
    does not respond, the command retries for some seconds.
    """
    if renew and (dry_run or signed is not None):
        raise click.UsageError("--renew signs here; what is signed elsewhere is renewed by signing it again")
    if service is not None and (signed is None or not is_private_to(service)):
        raise click.UsageError(
            "--to needs --signed: the key that signs stays here"
            if signed is None
            else "--to is a URL like https://auth.example.com; without https only on this machine"
        )
    release = None if signed is None else await asyncio.to_thread(read_release, signed)
    if service is not None and release is not None:
        settings = command_settings()
        folder = registry_folder(folder)
        migrations, parts = await load_migrations(folder), await load_parts(folder)
        token = settings.registry_token.reveal()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise BadSettings(
                ["REGISTRY_TOKEN: expected an API key, from `freehold api-keys create --scope registry:publish`"]
            )
        report = await _publish_to(service, token, migrations, parts, release, force=force, dry_run=dry_run)
    else:
        migrations, report = await _publish_here(folder, release, force=force, dry_run=dry_run, renew=renew)
    _tell(report, migrations, dry_run=dry_run, as_json=as_json)


async def _publish_here(
    folder: Path | None, release: SignedRelease | None, *, force: bool, dry_run: bool, renew: bool
) -> tuple[list[Migration], PublishReport]:
    folder = registry_folder(folder)
    migrations, parts = await load_migrations(folder), await load_parts(folder)
    async with command_services("aside" if dry_run else "new") as services:
        if dry_run:
            return migrations, await services.registry.plan(migrations, release, parts=parts, force=force)
        report = await services.registry.publish(migrations, release, parts=parts, force=force)
        renewed = await services.registry.renew(force=renew and not report.renewed) or report.renewed
        return migrations, msgspec.structs.replace(report, renewed=renewed)


async def _publish_to(
    service: str,
    token: str,
    migrations: Sequence[Migration],
    parts: Sequence[PartFile],
    release: SignedRelease,
    *,
    force: bool,
    dry_run: bool,
) -> PublishReport:
    import httpx

    from freehold.client.calls import Calls, service_url
    from freehold.wire import PublishAnswer

    body = {"signed": release, "migrations": migrations, "force": force, "dry_run": dry_run}
    if parts:  # older services do not know this field
        body["parts"] = parts
    is_api_key = len(token) >= _KEY_LETTERS and "." not in token
    shown = {"x-api-key": token} if is_api_key else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=_TIMEOUT_S) as http:
        calls = Calls(http, service_url(service), most_s=_TIMEOUT_S)
        ask = partial(calls.send, "POST", "/migrations/publish", body=body, headers=shown)
        try:
            answer = calls.read(await _until_it_answers(ask), PublishAnswer)
        except Unauthenticated as error:
            raise BadSettings([f"REGISTRY_TOKEN: the service does not accept it ({error})"]) from error
    return msgspec.convert(answer, PublishReport, from_attributes=True)


async def _until_it_answers(ask: Callable[[], Awaitable["Answer"]]) -> "Answer":
    for pause_s in _PAUSES_S:
        try:
            return await ask()
        except Unavailable as error:
            click.echo(f"{error}; asking again", err=True)
            await asyncio.sleep(pause_s)
    return await ask()


def _tell(report: PublishReport, migrations: Sequence[Migration], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        echo_json({**msgspec.structs.asdict(report), "dry_run": dry_run})
        return
    done = "would publish" if dry_run else "published"
    for version in report.published:
        click.echo(f"{done} {file_name(migrations[version - 1])}")
    summary = f"{report.already} were published before; the registry is at version {report.version}"
    click.echo(summary if not dry_run else summary.replace("is at", "would be at"), err=True)
    if not report.renewed:
        click.echo("there is nothing to do", err=True)
    elif not report.published:
        click.echo(f"the signature {'would be' if dry_run else 'was'} renewed", err=True)
    for version in report.without_file:
        click.echo(f"version {version} is published but has no file in this folder", err=True)
