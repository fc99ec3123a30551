"""`freehold tenants repair`: repair databases that sqld no longer opens."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import click

from freehold.cli.context import EXIT_DONE, EXIT_NO, EXIT_UNREACHABLE, async_command, command_tenants
from freehold.cli.output import Bar, echo_json, examples, one_line, progress
from freehold.errors import CentralUnavailable, FreeholdError, Unavailable
from freehold.settings.fields import BadSettings
from freehold.tenants.repair import NotRepairable, Repair, Repaired
from freehold.tenants.types import Tenant, TenantState

if TYPE_CHECKING:
    from freehold.wiring.tenants import TenantServices


@click.command(
    epilog=examples(
        "freehold tenants repair --all-broken --dry-run",
        "freehold tenants repair --all-broken --json | jq 'select(.is_well | not)'",
        "freehold tenants repair ada@example.com t-4mz3",
    )
)
@click.argument("tenants", nargs=-1, metavar="[TENANT...]")
@click.option("--all-broken", is_flag=True, help="All tenants whose database does not open.")
@click.option("--dry-run", is_flag=True, help="Show what would be set aside, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per database, for programs.")
@async_command
async def repair(tenants: tuple[str, ...], all_broken: bool, dry_run: bool, as_json: bool) -> int:
    """Repair databases that sqld cannot open because a file next to their data is damaged.

    A power failure can damage the replication log. Run this on sqld's machine, as sqld's user, with SQLD_DATA_DIR
    set; sqld may be running or not. The damaged file is renamed, never deleted, and sqld creates another one from the
    data. The data are only read: rows are counted before and after, then integrity and the schema of the version are
    checked, and the repair is recorded in the audit trail. A database that opens is checked and left as it is, and
    one that a program has open is not touched. Devices with a replica download it again at their next sync.

    TENANT is an id, a database's name or its user's id or e-mail address. Exit code 1 when one is still damaged. Safe
    to run twice.
    """
    if bool(tenants) == all_broken:
        raise click.UsageError("give either TENANT... or --all-broken")
    results: list[Repaired | FreeholdError] = []
    async with command_tenants() as services:
        mender = _mender(services)
        counts = await services.listing.counts()
        total = len(tenants) or sum(counts.values())
        with progress("looking at databases", total, is_wanted=not as_json) as bar:
            async for reference in _chosen(services, mender, tenants, bar):
                results.append(await _one(services, mender, reference, dry_run=dry_run))
                _tell(reference, results[-1], bar, as_json=as_json)
                if tenants:
                    bar.reach(len(results))
    failures = [each for each in results if isinstance(each, FreeholdError) or not each.is_well]
    click.echo(f"{len(results)} databases checked, {len(failures) or 'none'} still damaged", err=True)
    if failures and all(isinstance(each, Unavailable) for each in failures):
        return EXIT_UNREACHABLE
    return EXIT_NO if failures else EXIT_DONE


def _mender(services: "TenantServices") -> Repair:
    if services.repair is not None:
        return services.repair
    if services.provider.name == "sqld":
        raise BadSettings(["SQLD_DATA_DIR: required: sqld's files are renamed, so run this on its machine"])
    raise NotRepairable(f"databases of the provider `{services.provider.name}` have no such files")


async def _chosen(
    services: "TenantServices", mender: Repair, references: tuple[str, ...], bar: Bar
) -> AsyncIterator[Tenant | str]:
    for reference in references:
        yield reference
    if references:
        return
    async for tenant in mender.broken(_all(services), bar.reach):
        yield tenant


async def _all(services: "TenantServices") -> AsyncIterator[Tenant]:
    for state in TenantState:
        if state is not TenantState.DELETED:
            async for tenant in services.listing.each(state=state):
                yield tenant


async def _one(
    services: "TenantServices", mender: Repair, reference: Tenant | str, *, dry_run: bool
) -> Repaired | FreeholdError:
    try:
        tenant = await services.lifecycle.find(reference) if isinstance(reference, str) else reference
        return await mender.run(tenant, dry_run=dry_run)
    except CentralUnavailable:
        raise
    except FreeholdError as error:
        return error


def _tell(reference: Tenant | str, result: Repaired | FreeholdError, bar: Bar, *, as_json: bool) -> None:
    name = reference if isinstance(reference, str) else reference.database_name
    if isinstance(result, FreeholdError):
        if as_json:
            echo_json({"tenant": name, "is_well": False, "error": str(result), "code": result.code})
        else:
            bar.say(one_line(f"{name}: {result}"))
        return
    if as_json:
        echo_json(
            {
                "tenant_id": result.tenant.tenant_id,
                "database_name": result.tenant.database_name,
                "outcome": result.outcome,
                "is_well": result.is_well,
                "reason": result.reason,
                "set_aside": result.set_aside,
                "rows_before": result.rows_before,
                "rows": result.rows,
                "findings": result.findings,
            }
        )
        return
    facts = [result.outcome.replace("_", " "), result.reason]
    if result.set_aside:
        facts.append(f"now {', '.join(result.set_aside)}")
    if result.rows_before is not None:
        facts.append(f"{result.rows_before} rows before")
    if result.rows is not None:
        facts.append(f"{result.rows} rows")
    if result.outcome == "set_aside":
        facts.append("start sqld and run this again to see it open")
    click.echo(one_line(f"{result.tenant.database_name}: {', '.join(fact for fact in facts if fact)}"))
    for finding in result.findings:
        bar.say(one_line(f"{result.tenant.database_name}: {finding}"))
