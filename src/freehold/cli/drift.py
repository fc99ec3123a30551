"""`freehold tenants check`: compare each database with the schema of its version."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_tenants
from freehold.cli.output import echo_json, examples, one_line, progress
from freehold.tenants.drift import Checked
from freehold.tenants.types import Tenant, TenantState

if TYPE_CHECKING:
    from freehold.wiring.tenants import TenantServices


_CHECKED = (TenantState.READY, TenantState.SUSPENDED)
_FINE = ("same", "suspended")


@click.command(
    epilog=examples(
        "freehold tenants check",
        "freehold tenants check --json | jq 'select(.verdict != \"same\")'",
        "freehold tenants check amal@example.com > repair.sql",
        "freehold tenants sql amal@example.com --write - < repair.sql",
    )
)
@click.argument("tenants", nargs=-1, metavar="[TENANT...]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per database, for programs.")
@async_command
async def check(tenants: tuple[str, ...], as_json: bool) -> int:
    """Compare each tenant's database with the schema that its version must have. Changes nothing.

    TENANT is an id, a database's name, or its user's id or e-mail address; all ready and suspended ones by default.
    Differences go to stderr, and the SQL that would repair them to stdout, a script for each database: review it
    before you run it with `freehold tenants sql`, since it drops what should not be there. Exit code 1 when a
    database differs or cannot be read; a suspended one is only reported.
    """
    verdicts: Counter[str] = Counter()
    async with command_tenants() as services:
        chosen = [await services.lifecycle.find(tenant) for tenant in tenants]
        counts = await services.listing.counts()
        total = len(chosen) if chosen else sum(counts.get(state, 0) for state in _CHECKED)
        with progress("checking databases", total) as bar:
            async for checked in services.drift.run(_fleet(services, chosen)):
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
    odd = verdicts.total() - sum(verdicts[fine] for fine in _FINE)
    unseen = f", {verdicts['suspended']} suspended and not looked at" if verdicts["suspended"] else ""
    click.echo(f"{verdicts.total()} databases: {odd or 'none'} not as they should be{unseen}", err=True)
    return EXIT_NO if odd else EXIT_DONE


async def _fleet(services: "TenantServices", chosen: Sequence[Tenant]) -> AsyncIterator[Tenant]:
    for tenant in chosen:
        yield tenant
    for state in () if chosen else _CHECKED:
        async for tenant in services.listing.each(state=state):
            yield tenant


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
    yield f"-- {checked.tenant.database_name}, version {checked.version}; stop at the first error (sqlite3 -bail)"
    # The user chose the names in that database: a newline in one must not end the comment.
    yield from (one_line(f"-- {loss}") for loss in checked.losses)
    if checked.foreign_keys_off:
        yield "PRAGMA foreign_keys = OFF;"
    yield "BEGIN IMMEDIATE;"
    yield from (f"{sql};" for sql in checked.repair)
    yield "COMMIT;"
    if checked.foreign_keys_off:
        yield "PRAGMA foreign_keys = ON;"
