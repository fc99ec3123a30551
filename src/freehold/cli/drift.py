"""`freehold tenants check`: does every database have the schema of its version?"""

from collections import Counter
from collections.abc import Iterator

import click

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_services, echo_json
from freehold.cli.progress import one_line, progress
from freehold.tenants.drift import Checked
from freehold.tenants.types import TenantState


@click.command(
    epilog="""\b
Examples:
  freehold tenants check
  freehold tenants check --json | jq 'select(.verdict != "same")'
  freehold tenants check > repair.sql
"""
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a database, for programs.")
@async_command
async def check(as_json: bool) -> int:
    """Compare each ready tenant's database with the schema that its version must have. Changes nothing.

    What differs goes to stderr, and the SQL that would repair it to stdout: look at it before you run it, for a
    table that should not be there is dropped by it. Exit code 1 when a database differs or cannot be read.
    """
    verdicts: Counter[str] = Counter()
    async with command_services() as services:
        total = (await services.tenants.counts()).get(TenantState.READY, 0)
        with progress("checking databases", total) as bar:
            async for checked in services.drift.run(services.tenants.each(state=TenantState.READY)):
                verdicts[checked.verdict] += 1
                bar.reach(verdicts.total())
                if as_json:
                    echo_json(_shown(checked))
                    continue
                name = checked.tenant.database_name
                for reason in checked.reasons:
                    bar.say(one_line(f"{name} at version {checked.version}: {reason}"))
                for line in _script(checked):
                    click.echo(line)
    odd = verdicts.total() - verdicts["same"]
    click.echo(f"{verdicts.total()} databases: {odd or 'none'} not as they should be", err=True)
    return EXIT_NO if odd else EXIT_DONE


def _shown(checked: Checked) -> dict[str, object]:
    return {
        "tenant_id": checked.tenant.tenant_id,
        "database_name": checked.tenant.database_name,
        "verdict": checked.verdict,
        "schema_version": checked.version,
        "reasons": checked.reasons,
        "repair": [*_script(checked)],
    }


def _script(checked: Checked) -> Iterator[str]:
    """SQL to run in that database."""
    if not checked.repair:
        return
    yield f"-- {checked.tenant.database_name}, version {checked.version}"
    if checked.foreign_keys_off:
        yield "PRAGMA foreign_keys = OFF;"
    yield "BEGIN IMMEDIATE;"
    yield from (f"{sql};" for sql in checked.repair)
    yield "COMMIT;"
    if checked.foreign_keys_off:
        yield "PRAGMA foreign_keys = ON;"
