"""`freehold tenants reconcile`: make the provider's databases and the central database agree."""

from collections.abc import Mapping

import click

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_tenants
from freehold.cli.output import JSON, echo_json, examples, one_line, progress, tell
from freehold.tenants.findings import NOT_OURS, Finding, Kind, Reconciled
from freehold.tenants.reconcile import Options


@click.command(
    epilog=examples(
        "freehold tenants reconcile --dry-run",
        "freehold tenants reconcile",
        "freehold tenants reconcile --json | jq 'select(.kind == \"missing\")'",
    )
)
@click.option("--dry-run", is_flag=True, help="Show what is wrong, and change nothing.")
@click.option("--yes", is_flag=True, help="Also do what cannot be undone: delete databases that no tenant ever had.")
@JSON
@async_command
async def reconcile(dry_run: bool, yes: bool, as_json: bool) -> int:
    """Compare the provider's databases with the central database, both ways, and repair what differs.

    Deletes the databases of deleted tenants, creates missing ones again, and migrates those that are behind. A
    database that no tenant ever had is deleted only with --yes, and only if its name has Freehold's form. On sqld,
    such orphans are found if SQLD_DATA_DIR is set. Exit code 1 when something is left. Safe to run twice, and while
    the service is running.
    """
    async with command_tenants() as services:
        if not dry_run:
            await services.tenants.add_missing()
        total = sum((await services.listing.counts()).values())
        with progress("looking at databases", total, is_wanted=not as_json) as bar:
            done = await services.reconciler.run(
                Options(dry_run=dry_run, yes=yes),
                echo_json if as_json else lambda finding: bar.say(_line(finding)),
                bar.reach,
            )
    tell(_summary(done), done, as_json=as_json)
    return EXIT_DONE if done.is_whole else EXIT_NO


def _line(finding: Finding) -> str:
    return one_line(f"{finding.kind.value}: {finding.tenant_id or '-'} {finding.database_name}: {finding.detail}")


def _summary(done: Reconciled) -> str:
    repaired = {kind: count - done.left.get(kind, 0) for kind, count in done.found.items()}
    ours = {kind: count for kind, count in repaired.items() if count and kind not in NOT_OURS}
    return f"looked at {done.checked} tenants; repaired: {_counts(ours)}; left: {_counts(done.left)}"


def _counts(counts: Mapping[Kind, int]) -> str:
    return ", ".join(f"{count} {kind.value}" for kind, count in counts.items()) or "nothing"
