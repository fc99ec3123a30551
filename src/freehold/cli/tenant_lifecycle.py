"""`freehold tenants` on single tenants: show, migrate, suspend, resume, fork, export, restore, delete, rotate."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from freehold.cli.context import EXIT_DONE, EXIT_NO, EXIT_UNREACHABLE, async_command, command_tenants, confirm
from freehold.cli.output import JSON, echo_json, examples, one_line, progress, tell
from freehold.errors import FreeholdError, Unavailable
from freehold.tenants.types import UNPROVISIONED, Tenant, TenantState

if TYPE_CHECKING:
    pass

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_TENANT = click.argument("tenant", metavar="TENANT")
_TENANTS = click.argument("tenants", metavar="TENANT...", nargs=-1, required=True)

Act = Callable[[str], Awaitable[Tenant]]


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise click.BadParameter("not a timestamp with a time zone; write 2026-11-21T10:00:00Z")


async def create_for(users: tuple[str, ...], *, dry_run: bool, as_json: bool) -> int:
    """Create a database for each of these users who has none, and return the exit code of `tenants create`."""
    async with command_tenants() as services:

        async def make(reference: str) -> Tenant:
            tenant = await services.lifecycle.create(reference)
            if tenant.state in UNPROVISIONED:
                await services.provisioner.one(tenant)
            return await services.lifecycle.find(tenant.tenant_id)

        return await _each(users, services.lifecycle.find if dry_run else make, "making databases", as_json=as_json)


@click.command(epilog="Example: freehold tenants show ada@example.com --json")
@_TENANT
@JSON
@async_command
async def show(tenant: str, as_json: bool) -> int:
    """Show one tenant: by its id, its user's id or address, or its database's name.

    Also shows whether the database exists and at which version its own ledger is. Exit code 1 if it does not exist.
    """
    async with command_tenants() as services:
        found = await services.lifecycle.find(tenant)
        is_here = found.provider == services.provider.name
        database = await services.provider.find(found.database_name) if is_here else None
        facts = {
            **msgspec.to_builtins(found),
            "email": (await services.listing.store.emails([found.user_id])).get(found.user_id),
            "is_there": database is not None,
            "is_refusing": database is not None and database.is_suspended,
            "url": database.url if database else None,
        }
    if as_json:
        echo_json(facts)
    else:
        for name, value in facts.items():
            click.echo(f"{name:<16} {'-' if value is None else one_line(str(value))}")
    return EXIT_DONE if database is not None else EXIT_NO


@click.command(
    epilog=examples(
        "freehold tenants migrate ada@example.com",
        "freehold tenants migrate k3J9x2mPq7 t-4mz3 --json | jq 'select(.error)'",
    )
)
@_TENANTS
@JSON
@async_command
async def migrate(tenants: tuple[str, ...], as_json: bool) -> int:
    """Bring these databases to the newest published version. Each is tried once; exit code 1 when one failed.

    Use `freehold rollout` for all tenants. Safe to run twice, and while the service is running: a migration is
    applied once, no matter who applies it.
    """
    async with command_tenants() as services:
        return await _each(tenants, services.lifecycle.migrate, "migrating", as_json=as_json)


@click.command(
    epilog=examples(
        "freehold tenants suspend ada@example.com --reason 'unpaid since May'",
        "freehold tenants suspend k3J9x2mPq7 t-4mz3 --json",
    )
)
@_TENANTS
@click.option("--reason", default="", help="The reason; the user sees it in each error.")
@JSON
@async_command
async def suspend(tenants: tuple[str, ...], reason: str, as_json: bool) -> int:
    """Block all reads and writes for these tenants, in the database engine itself. Data is kept.

    If a provider does not respond (exit code 4), the service retries until it does. Safe to run twice.
    """
    async with command_tenants() as services:
        return await _each(
            tenants, lambda each: services.lifecycle.suspend(each, reason), "suspending", as_json=as_json
        )


@click.command(epilog="Example: freehold tenants resume ada@example.com")
@_TENANTS
@JSON
@async_command
async def resume(tenants: tuple[str, ...], as_json: bool) -> int:
    """End the suspension of these tenants, and bring them to the newest version. Safe to run twice."""
    async with command_tenants() as services:
        return await _each(tenants, services.lifecycle.resume, "resuming", as_json=as_json)


@click.command(epilog="Example: freehold tenants fork ada@example.com --json | jq -r .database_name")
@_TENANT
@JSON
@async_command
async def fork(tenant: str, as_json: bool) -> None:
    """Copy a tenant's database as it is now; the copy is a separate tenant that belongs to no user.

    Use it to try a migration on real data, or to investigate. `freehold tenants delete` removes it.
    """
    async with command_tenants() as services:
        _print(await services.lifecycle.fork(tenant), as_json=as_json)


@click.command(epilog="Example: freehold tenants export ada@example.com ada.db")
@_TENANT
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace an existing file.")
@JSON
@async_command
async def export(tenant: str, file: Path, force: bool, as_json: bool) -> None:
    """Export a consistent copy of a tenant's database to FILE, which any SQLite opens.

    Works while the tenant is suspended, and while others write to it. Can also export the copies that a rollout
    keeps: use the name that `freehold rollout restore` prints.
    """
    _check_target(file, force=force)
    part = file.with_name(f".{file.name}.part")
    async with command_tenants() as services:
        try:
            found, copied = await services.lifecycle.export(tenant, part)
            part.replace(file)
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)
    for line in copied.skipped:
        click.echo(f"left out: {one_line(line)}", err=True)
    facts = {"tenant_id": found.tenant_id, "file": str(file), "left_out": copied.skipped}
    tell(f"wrote {file}", facts, as_json=as_json)


@click.command(
    epilog=examples(
        "freehold tenants restore ada@example.com ada.db --dry-run",
        "freehold tenants restore ada@example.com ada.db --yes",
        "freehold tenants restore ada@example.com --at 2026-11-21T10:00:00Z --yes",
    )
)
@_TENANT
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--at", callback=_moment, metavar="MOMENT", help="Point in time to restore to (Turso only).")
@click.option("--accept-changes", is_flag=True, help="Also if tables differ from what the migrations created.")
@_DRY_RUN
@_YES
@JSON
@async_command
async def restore(
    tenant: str,
    file: Path | None,
    *,
    at: datetime | None,
    accept_changes: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Give a tenant a new database with the content of FILE, at the newest version; the old one is then deleted.

    Works for a tenant whose database was deleted, too, as long as its user exists.

    FILE is checked first: it must be intact, with a history that this registry knows, and not ahead of it. The old
    database is kept until the new one is complete. The address changes: clients ask for it again.

    With --at instead of FILE, the content is that of the database itself at that time, or up to about 15 s before.
    Only Turso keeps a history, for as long as its plan says; without one, the exit code is 1 and nothing changes. The
    old database's history is deleted with it: no other time can be chosen afterwards.
    """
    if at is not None:
        if file is not None or accept_changes:
            raise click.UsageError("give either FILE, perhaps with --accept-changes, or --at")
        return await _restore_at(tenant, at, dry_run=dry_run, yes=yes, as_json=as_json)
    if file is None:
        raise click.UsageError("give either FILE or --at")
    async with command_tenants() as services:
        found = await services.lifecycle.find(tenant)
        checked = await services.lifecycle.check_file(file)
        for line in checked.changed:
            click.echo(one_line(line), err=True)
        if dry_run:
            tell(f"{file} is sound, at version {checked.schema_version}", checked, as_json=as_json)
            return EXIT_NO if checked.changed and not accept_changes else EXIT_DONE
        is_gone = found.state is TenantState.DELETED
        what = f"give {found.tenant_id}, whose database was deleted, another one from" if is_gone else ""
        confirm(f"{what or f'replace the database of {found.tenant_id} with'} {file}?", yes=yes)
        with progress("copying rows", 1, is_wanted=not as_json) as bar:
            done = await services.lifecycle.restore(tenant, file, accept_changes=accept_changes, on_rows=bar.reach)
    _print(done.tenant, as_json=as_json)
    return EXIT_DONE


@click.command(
    epilog=examples("freehold tenants delete k3J9x2mPq7", "freehold tenants delete k3J9x2mPq7 x8Kd0aQw3n --yes --json")
)
@_TENANTS
@_DRY_RUN
@_YES
@JSON
@async_command
async def delete(tenants: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool) -> int:
    """Delete these tenants' databases with all their data. Their users stay, without a database.

    Exit code 0 when the provider has confirmed that all are gone; otherwise the service keeps trying.
    """
    async with command_tenants() as services:
        found = [await services.lifecycle.find(each) for each in tenants]
        if dry_run:
            for each in found:
                _print(each, as_json=as_json)
            return EXIT_DONE
        confirm(f"delete {len(found)} databases for good?", yes=yes)

        async def gone(reference: str) -> Tenant:
            await services.lifecycle.delete(reference)
            return await services.lifecycle.find(reference)

        code = await _each([each.tenant_id for each in found], gone, "deleting", as_json=as_json)
        left = [await services.lifecycle.find(each.tenant_id) for each in found]
    waiting = sum(each.state is not TenantState.DELETED for each in left)
    if waiting:
        click.echo(f"{waiting} are not gone yet; the service keeps trying", err=True)
    return EXIT_NO if waiting else code


@click.command(epilog=examples("freehold tenants list", "freehold tenants rotate t-k3j9x2mpq7k3j9x2mpq7k3j9x2"))
@click.argument("database_name")
@_DRY_RUN
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@async_command
async def rotate(database_name: str, dry_run: bool, as_json: bool) -> None:
    """Revoke all tokens of a database immediately; its user's apps ask for new ones.

    Use this if a token was leaked. Sessions continue: also sign the user out if one of those was leaked. On Turso,
    tokens that others minted for this database end, too. Exit code 1 when there is no such database. Safe to run
    twice.
    """
    async with command_tenants() as services:
        if dry_run:
            await services.rotations.check(database_name)
            generation = await services.rotations.generation(database_name)
        else:
            generation = await services.rotations.rotate(database_name)
    if as_json:
        echo_json({"database_name": database_name, "generation": generation, "dry_run": dry_run})
    elif dry_run:
        click.echo(f"would revoke all tokens of {database_name}")
    else:
        click.echo(f"all tokens of {database_name} are revoked")


async def _restore_at(tenant: str, at: datetime, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    async with command_tenants() as services:
        found = await services.lifecycle.find(tenant)
        services.lifecycle.check_moment(at)
        if dry_run:
            text = f"would ask `{found.provider}` for {found.database_name} as of {at.isoformat()}"
            tell(text, {"tenant_id": found.tenant_id, "at": at.isoformat()}, as_json=as_json)
            return EXIT_DONE
        confirm(f"put {found.tenant_id} back to {at.isoformat()}? What came after is lost.", yes=yes)
        done = await services.lifecycle.restore_at(tenant, at)
    _print(done, as_json=as_json)
    return EXIT_DONE


def _check_target(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise click.UsageError(f"`{file}` exists already; use --force to replace it")


async def _each(references: list[str] | tuple[str, ...], act: Act, label: str, *, as_json: bool) -> int:
    """Act on each, also after a failure. Return 1 if one failed, 4 if all failures were providers not answering."""
    failures: list[FreeholdError] = []
    with progress(label, len(references), is_wanted=not as_json and len(references) > 1) as bar:
        for done, reference in enumerate(references, start=1):
            try:
                tenant = await act(reference)
            except FreeholdError as error:
                failures.append(error)
                if as_json:
                    echo_json({"tenant": reference, "error": str(error), "code": error.code})
                else:
                    bar.say(one_line(f"{reference}: {error}"))
            else:
                if as_json or len(references) == 1:
                    _print(tenant, as_json=as_json)
            bar.reach(done)
    if len(references) > 1 and not as_json:
        click.echo(f"{len(references) - len(failures)} done, {len(failures)} failed", err=True)
    if failures and all(isinstance(error, Unavailable) for error in failures):
        return EXIT_UNREACHABLE
    return EXIT_NO if failures else EXIT_DONE


def _print(tenant: Tenant, *, as_json: bool) -> None:
    text = f"{tenant.tenant_id} {tenant.state.value} {tenant.database_name} version {tenant.schema_version}"
    tell(text, tenant, as_json=as_json)
