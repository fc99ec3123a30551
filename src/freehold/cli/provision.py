"""`freehold tenants create` and `freehold tenants provision`: create databases now."""

import click

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_tenants
from freehold.cli.output import JSON, echo_json, examples, one_line, progress, tell
from freehold.tenants.errors import describe
from freehold.tenants.provisioner import Outcome
from freehold.tenants.types import UNPROVISIONED, TenantState


@click.command(
    epilog=examples(
        "freehold tenants create ada@example.com", "freehold tenants create ada@example.com grace@example.com --dry-run"
    )
)
@click.argument("users", metavar="[USER]...", nargs=-1)
@click.option("--pending", is_flag=True, help="The same as `freehold tenants provision`.")
@click.option("--dry-run", is_flag=True, help="Show what would be created, and change nothing.")
@JSON
@async_command
async def create(users: tuple[str, ...], *, pending: bool, dry_run: bool, as_json: bool) -> int:
    """Create an empty database for users who have none.

    A USER (id or address) whose database was deleted, or who never had one, gets a new, empty one at the newest
    version. `freehold tenants restore` fills it from an export, and creates one if there is none. The tokens and
    address of the deleted one stay invalid. A user who has a database keeps it.
    """
    if pending == bool(users):
        raise click.UsageError("name a USER; for all who are waiting for a database, run `freehold tenants provision`")
    if pending:
        return await _provision(dry_run=dry_run, as_json=as_json)
    from freehold.cli.tenant_lifecycle import create_for

    return await create_for(users, dry_run=dry_run, as_json=as_json)


@click.command(
    epilog=examples(
        "freehold tenants provision --dry-run",
        "freehold tenants provision",
        "freehold tenants provision --json | jq 'select(.state == \"failed\")'",
    )
)
@click.option("--dry-run", is_flag=True, help="Show how many databases would be created, and change nothing.")
@JSON
@async_command
async def provision(*, dry_run: bool, as_json: bool) -> int:
    """Create the databases of all users who are waiting for one, without waiting for the service to do it.

    Users that another tool added get their tenant first. Each database is tried once; exit code 1 when one of them
    failed, and the service keeps trying. Safe to run twice, and while the service is running.
    """
    return await _provision(dry_run=dry_run, as_json=as_json)


async def _provision(*, dry_run: bool, as_json: bool) -> int:
    async with command_tenants() as services:
        if dry_run:
            due, missing = await services.provisioner.count_due(), await services.tenants.count_missing()
            tell(
                f"would make {due + missing} databases, {missing} for users without a tenant",
                {"due": due, "users_without_tenant": missing},
                as_json=as_json,
            )
            return EXIT_DONE
        await services.tenants.add_missing()
        made = 0
        with progress("making databases", await services.provisioner.count_due(), is_wanted=not as_json) as bar:

            def ended(outcome: Outcome) -> None:
                nonlocal made
                made += outcome.error is None
                bar.advance(1)
                if as_json:
                    _print_json(outcome)
                elif outcome.error is not None:
                    bar.say(one_line(f"{outcome.tenant.tenant_id}: {describe(outcome.error)}"))

            failed = await services.provisioner.drain(ended)
        counts = await services.listing.counts()
    waiting = sum(counts.get(state, 0) for state in UNPROVISIONED) - len(failed)
    click.echo(f"made {made} databases, {len(failed)} failed", err=True)
    if waiting > 0:
        click.echo(f"{waiting} more are waiting to be retried, or another process is working on them", err=True)
    return EXIT_NO if failed else EXIT_DONE


def _print_json(outcome: Outcome) -> None:
    tenant, error = outcome.tenant, outcome.error
    echo_json(
        {
            "tenant_id": tenant.tenant_id,
            "database_name": tenant.database_name,
            "state": (TenantState.FAILED if error else TenantState.READY).value,
            "schema_version": outcome.schema_version,
            "error": describe(error) if error else None,
        }
    )
