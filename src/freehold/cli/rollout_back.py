"""`freehold rollout restore` and `discard`: use or delete the copies that a rollout kept."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import click

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_services, confirm
from freehold.cli.output import JSON, Bar, echo_json, examples, one_line, progress, tell
from freehold.cli.rollout_steer import ROLLOUT
from freehold.dates import from_ms, to_iso
from freehold.rollouts.restoring import ALL
from freehold.rollouts.types import RestorePoint, Rollout, StepState, TakenBack

if TYPE_CHECKING:
    from freehold.wiring.services import Services

_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command(
    epilog=examples(
        "freehold rollout restore ada@example.com",
        "freehold rollout restore --failed --dry-run",
        "freehold rollout restore --all --rollout k3J9x2mPq7 --yes --json",
    )
)
@click.argument("tenants", metavar="[TENANT]...", nargs=-1)
@click.option("--failed", is_flag=True, help="Tenants that failed after some of several migrations.")
@click.option("--all", "everybody", is_flag=True, help="All tenants that it has changed.")
@click.option("--rollout", "rollout_id", metavar="ROLLOUT", help="Which rollout; the newest by default.")
@click.option("--dry-run", is_flag=True, help="Show which tenants would be taken back, and change nothing.")
@_YES
@JSON
@async_command
async def restore(
    tenants: tuple[str, ...],
    *,
    failed: bool,
    everybody: bool,
    rollout_id: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Take tenants back to before a rollout that kept restore points, both schema and rows.

    What their users have written since is no longer in their databases: each current database is set aside and kept
    as long as the restore points, and `freehold tenants export NAME FILE` reads it. A tenant's address changes:
    clients ask for it again. A tenant that the rollout has not changed stays as it is.

    No later rollout migrates these tenants until you use --include-restored or `rollout retry --restored`. Their own
    apps may; `freehold tenants suspend` keeps those out.

    Pause a running rollout first. Safe to run twice, and again after it was killed. Exit code 1 when a tenant could
    not be taken back.
    """
    if sum((bool(tenants), failed, everybody)) != 1:
        raise click.UsageError("give one of TENANT, --failed and --all")
    async with command_services() as services:
        restoring = services.rollouts.restoring
        rollout = await restoring.rollout(rollout_id)
        count, points = await _chosen(services, rollout, tenants, failed=failed)
        if dry_run:
            async for point in points:
                _tell_point(point, as_json=as_json)
            return EXIT_DONE
        if not count:
            click.echo(f"rollout {rollout.rollout_id} has no tenants to take back", err=True)
            return EXIT_DONE
        confirm(
            f"take {count} tenants back to before rollout {rollout.rollout_id}? What was written since is set aside.",
            yes=yes,
        )
        counts = {"restored": 0, "unchanged": 0, "failed": 0}
        with progress("taking back", count, is_wanted=not as_json) as bar:
            async for done in restoring.restore(rollout, points):
                counts[done.outcome] += 1
                _tell(done, bar, as_json=as_json)
                bar.reach(sum(counts.values()))
    summary = f"{counts['restored']} taken back, {counts['unchanged']} left as they are, {counts['failed']} failed"
    click.echo(summary, err=True)
    return EXIT_NO if counts["failed"] else EXIT_DONE


@click.command(epilog="\b\nExample:\n  freehold rollout discard --yes")
@ROLLOUT
@_YES
@JSON
@async_command
async def discard(rollout_id: str | None, yes: bool, as_json: bool) -> None:
    """Delete a rollout's restore points, and the databases that were set aside before they expire.

    No tenant can be taken back afterwards. Safe to run twice.
    """
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
        rollout_id = found.rollout.rollout_id
        there = found.kept.restore_points + found.kept.set_aside
        if there:
            confirm(f"delete {there} copies of rollout {rollout_id} for good?", yes=yes)
        count = await services.rollouts.restoring.discard(rollout_id)
    tell(
        f"{count} copies will be deleted by the service",
        {"rollout_id": rollout_id, "discarded": count},
        as_json=as_json,
    )


async def _chosen(
    services: "Services", rollout: Rollout, tenants: tuple[str, ...], *, failed: bool
) -> tuple[int, AsyncIterator[RestorePoint]]:
    """The number of chosen tenants, and their restore points."""
    restoring = services.rollouts.restoring
    if tenants:
        ids = list(dict.fromkeys([(await services.lifecycle.find(each)).tenant_id for each in tenants]))
        return len(ids), restoring.of(rollout, ids)
    states: tuple[StepState, ...] = ("failed",) if failed else ALL
    counts = (await services.rollouts.store.progress(rollout.rollout_id)).counts
    return sum(counts.get(state, 0) for state in states), restoring.each(rollout, states)


def _tell_point(point: RestorePoint, *, as_json: bool) -> None:
    until = to_iso(from_ms(point.until_ms)) if point.until_ms else None
    facts = {
        "tenant_id": point.tenant.tenant_id,
        "state": point.state,
        "version": point.tenant.schema_version,
        "restore_point": point.name if until else None,
        "kept_until": until,
        "set_aside": point.set_aside,
    }
    if as_json:
        echo_json(facts)
    else:
        kept = f"{point.name}, kept until {until}" if until else "no restore point"
        if point.set_aside:
            kept += f"; set aside: {', '.join(point.set_aside)}"
        click.echo(f"{point.tenant.tenant_id} {point.state}, at version {point.tenant.schema_version}: {kept}")


def _tell(done: TakenBack, bar: Bar, *, as_json: bool) -> None:
    if as_json:
        echo_json(done)
    elif done.outcome == "restored":
        bar.say(
            f"{done.tenant_id} is at version {done.version} again, as {done.database_name}; its previous database is"
            f" kept until {done.kept_until} as {done.kept_as}"
        )
    else:
        bar.say(one_line(f"{done.tenant_id}: {done.reason}"))
