"""`freehold rollout pause` and `retry`."""

import click

from freehold.cli.context import async_command, command_services
from freehold.cli.output import JSON, echo_json, examples
from freehold.cli.rollout_shown import say
from freehold.rollouts.types import RolloutState, StepState

_REASON_CHARS = 500
ROLLOUT = click.argument("rollout_id", required=False, metavar="[ROLLOUT]")
"""The newest rollout by default."""


@click.command(
    epilog=examples("freehold rollout pause", 'freehold rollout pause --reason "support is away until Monday"')
)
@ROLLOUT
@click.option("--reason", default="paused by an operator", metavar="TEXT", help="Shown by `status`.")
@async_command
async def pause(rollout_id: str | None, reason: str) -> None:
    """Pause a rollout: no more tenants start, those in progress finish.

    If it is already paused, the first reason is kept.
    """
    async with command_services() as services:
        found = (await services.rollouts.progress(rollout_id)).rollout
        if found.state is RolloutState.PAUSED:
            click.echo("it is already paused", err=True)
        say(await services.rollouts.pause(found.rollout_id, reason[:_REASON_CHARS]))


@click.command(epilog="\b\nExample:\n  freehold rollout retry --failed && freehold rollout resume --wait")
@ROLLOUT
@click.option("--failed", is_flag=True, help="Tenants that failed.")
@click.option("--drifted", is_flag=True, help="Tenants that had drifted, once they are repaired.")
@click.option("--restored", is_flag=True, help="Tenants that were taken back.")
@JSON
@async_command
async def retry(rollout_id: str | None, *, failed: bool, drifted: bool, restored: bool, as_json: bool) -> None:
    """Queue tenants that were not migrated, to be tried again when the rollout is resumed.

    Also works after the rollout has ended; `rollout start` includes them, too. Nothing happens when there are none,
    so it is safe to run twice. They are brought to the rollout's own version, whatever has been published since.
    """
    chosen: dict[StepState, bool] = {"failed": failed, "drifted": drifted, "restored": restored}
    states = [state for state, is_wanted in chosen.items() if is_wanted]
    if not states:
        raise click.UsageError("give at least one of --failed, --drifted and --restored")
    async with command_services() as services:
        found = (await services.rollouts.progress(rollout_id)).rollout
        count = await services.rollouts.retry(found.rollout_id, states=states)
        now = await services.rollouts.progress(found.rollout_id)
        newest = (await services.registry.snapshot()).version
    if as_json:
        echo_json({"rollout_id": found.rollout_id, "retried": count, "pending": now.counts["pending"]})
        return
    what = " or ".join(states)
    if count:
        click.echo(f"{count} tenants will be retried; continue with: freehold rollout resume --wait")
    elif now.waiting:
        click.echo(
            f"none is {what} any longer, and {now.waiting} wait to be retried; continue with:"
            " freehold rollout resume --wait"
        )
    else:
        click.echo(f"no tenant of rollout {found.rollout_id} is {what}: there is nothing to retry")
    if count and newest > found.to_version:
        click.echo(
            f"they will be brought to version {found.to_version}, and {newest} is the newest by now:"
            " `freehold rollout start` brings them there"
        )
