"""Print plans and progress of rollouts for people."""

import click

from freehold.cli.output import one_line
from freehold.rollouts.types import Kept, Plan, Progress, Rollout, RolloutState


def show_plan(found: Plan) -> None:
    """Print what a rollout would do."""
    click.echo(f"to version {found.to_version}: {found.tenants} tenants are behind")
    for version, count in found.behind.items():
        click.echo(f"  {count} at version {version}")
    for name in found.migrations:
        click.echo(f"  would apply {name}{' (rewrites tables)' if name in found.rebuilds else ''}")
    click.echo(f"  {found.statements} statements in all; waves end at {', '.join(map(str, found.waves)) or '0'}")
    if found.estimated_rows is None:
        click.echo("  no database answered, so the rows to rewrite are unknown")
    for table, rows in (found.estimated_rows or {}).items():
        click.echo(one_line(f"  about {rows:,} rows of {table} would be rewritten or read"))
    if found.estimated_bytes:
        click.echo(f"  about {found.estimated_bytes / 1_000_000:,.1f} MB of restore points with --restore-points")
    if found.drifted:
        click.echo(f"  the last rollout found {found.drifted} of them drifted; see: freehold tenants check")
    for state, count in found.left_out.items():
        hint = "; --include-restored includes them" if state == "restored" else ""
        click.echo(f"  left out: {count} {state}{hint}")


def show(found: Progress) -> None:
    """Print the progress of a rollout."""
    say(found.rollout)
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count)
    click.echo(f"  wave {found.rollout.wave} of {found.rollout.waves}; {counts or 'no tenants'}")
    if found.rollout.state is RolloutState.RUNNING:
        click.echo(f"  {workers(found)}")
    if found.waiting:
        click.echo(f"  {found.waiting} are to be tried again: freehold rollout resume --wait")
    click.echo(f"  {found.requests} requests, {found.seconds:g} s")
    for failure in found.failures:
        some = ", ".join(failure.examples)
        click.echo(one_line(f"  {failure.tenants} failed, {failure.cause}: {failure.error} (e.g. {some})"))
    for drifted in found.drifted:
        some = ", ".join(drifted.examples)
        click.echo(one_line(f"  {drifted.tenants} not migrated, {drifted.cause}: {drifted.error} (e.g. {some})"))
    if found.drifted:
        click.echo("  repair what drifted with: freehold tenants check TENANT")
    _show_kept(found.kept)


def _show_kept(kept: Kept) -> None:
    if kept.restore_points:
        click.echo(
            f"  {kept.restore_points} restore points, kept until {kept.until} or later:"
            " freehold rollout restore TENANT | --failed | --all"
        )
    if kept.set_aside:
        click.echo(
            f"  {kept.set_aside} databases that were set aside by it, kept until {kept.until} or later;"
            " freehold rollout restore --all --dry-run names them"
        )


def workers(found: Progress) -> str:
    """How many workers are running, and the command that starts one if there are none."""
    match found.workers:
        case 0:
            return "no worker is at work on it; start one with: freehold rollout work"
        case 1:
            return "1 worker is at work on it"
        case many:
            return f"{many} workers are at work on it"


def say(found: Rollout) -> None:
    """Print the state of a rollout in one line."""
    why = f": {found.reason}" if found.reason else ""
    click.echo(one_line(f"rollout {found.rollout_id} to version {found.to_version} is {found.state.value}{why}"))
