"""`freehold rollout`: bring the whole fleet to a version, in waves."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_services, echo_json
from freehold.cli.progress import Bar, one_line, progress
from freehold.rollouts.types import Options, Plan, Progress, Rollout, RolloutState, StepState
from freehold.rollouts.worker import WorkerPace

if TYPE_CHECKING:
    from freehold.bootstrap import Services


def _which(verb: Any) -> Any:
    return click.argument("rollout_id", required=False, metavar="[ROLLOUT]")(verb)


def _workers(verb: Any) -> Any:
    """The options of whoever carries a rollout out."""
    lease = click.option(
        "--lease",
        "lease_s",
        type=click.FloatRange(1, 600),
        default=15.0,
        show_default=True,
        help="Seconds that a killed worker keeps others from its tenants.",
    )
    most = click.option(
        "--concurrency", type=click.IntRange(1, 256), default=16, show_default=True, help="At the most."
    )
    return most(lease(verb))


def _as_json(verb: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")(verb)


def _shape(verb: Any) -> Any:
    """The options that say what a rollout is like."""
    for option in reversed(
        [
            click.option(
                "--to", type=click.IntRange(min=1), metavar="VERSION", help="The newest by default."
            ),
            click.option(
                "--wave",
                "waves",
                multiple=True,
                metavar="N|N%",
                help="Tenants in all after this wave; several, growing. 1, 10% and all by default.",
            ),
            click.option(
                "--canary", "canaries", multiple=True, metavar="TENANT", help="Goes first; several by name."
            ),
            click.option(
                "--budget",
                default="0",
                metavar="N|N%",
                help="So many may fail; one more pauses. 0 by default.",
            ),
        ]
    ):
        verb = option(verb)
    return verb


@click.group(
    epilog="""\b
Examples:
  freehold rollout plan
  freehold rollout start --wave 5 --wave 20% --budget 1% --wait
  freehold rollout status
"""
)
def rollout() -> None:
    """Bring the whole fleet to a version, in waves."""


@rollout.command(
    epilog="""\b
Examples:
  freehold rollout plan
  freehold rollout plan --to 9 --rehearse 5
  freehold rollout plan --json | jq .behind
"""
)
@_shape
@click.option(
    "--rehearse", type=click.IntRange(1, 100), metavar="N", help="Migrate copies of N tenants, too."
)
@_as_json
@async_command
async def plan(
    *,
    to: int | None,
    waves: tuple[str, ...],
    canaries: tuple[str, ...],
    budget: str,
    rehearse: int | None,
    as_json: bool,
) -> int:
    """Say what a rollout would do, and change nothing.

    How many rows it would rewrite or go through is estimated from the databases of five tenants.

    With --rehearse it forks some of the tenants that are behind, migrates the copies, and says how long that took,
    how many rows each table had before and after, and whether the copies are sound. Exit code 1 when one is not.
    """
    async with command_services() as services:
        found = await services.rollouts.plan(await _options(services, waves, canaries, budget), to)
        if as_json:
            echo_json(found)
        else:
            _show_plan(found)
        if rehearse is None:
            return EXIT_DONE
        is_sound = True
        async for one in services.rollouts.rehearse(found.to_version, rehearse):
            is_sound &= not one.faults
            if as_json:
                echo_json(one)
            else:
                click.echo(one_line(f"rehearsed {one.tenant_id}: {one.summary}"))
    return EXIT_DONE if is_sound else EXIT_NO


@rollout.command(
    epilog="""\b
Examples:
  freehold rollout start --wait
  freehold rollout start --wave 5 --wave 10% --budget 3 --health "SELECT count(*) > 0 FROM settings" --wait
  freehold rollout start --wait --json | tail -n 1
"""
)
@_shape
@click.option(
    "--health", metavar="SQL", help="Asked of some of each wave; unless it is true, the rollout pauses."
)
@click.option(
    "--restore-points", is_flag=True, help="Keep a copy of each database from before its change, a week."
)
@click.option("--wait", is_flag=True, help="Carry it out here, until it is done or pauses.")
@_workers
@click.option("--dry-run", is_flag=True, help="Say what it would do, and change nothing.")
@_as_json
@async_command
async def start(
    *,
    to: int | None,
    waves: tuple[str, ...],
    canaries: tuple[str, ...],
    budget: str,
    health: str | None,
    restore_points: bool,
    wait: bool,
    concurrency: int,
    lease_s: float,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Start a rollout over all tenants that are behind.

    Its state is in the central database: it may be stopped and gone on with, here or elsewhere, by `work`, and
    several of these share one. The last line with --wait --json is
    {"rollout_id", "to", "tenants", "migrated", "skipped", "failed", "drifted", "requests", "seconds"}.
    """
    async with command_services() as services:
        options = await _options(services, waves, canaries, budget)
        if dry_run:
            found = await services.rollouts.plan(options, to)
            echo_json(found) if as_json else _show_plan(found)
            return EXIT_DONE
        options = msgspec.structs.replace(options, health_sql=health, restore_points=restore_points)
        made = await services.rollouts.start(options, to)
        if not as_json:
            click.echo(f"rollout {made.rollout_id}: {made.tenants} tenants to version {made.to_version}")
        if wait:
            return await _work(services, made, _pace(concurrency, lease_s), as_json=as_json)
        if as_json:
            echo_json(made)
        else:
            click.echo("carry it out with: freehold rollout work")
    return EXIT_DONE


@rollout.command(
    epilog="""\b
Examples:
  freehold rollout work
  freehold rollout work k3J9x2mPq7 --concurrency 4
"""
)
@_which
@_workers
@_as_json
@async_command
async def work(rollout_id: str | None, concurrency: int, lease_s: float, as_json: bool) -> int:
    """Carry a running rollout out, until it is done or pauses. Any number of these may work on one.

    Exit code 0 when it is done and none failed (those that are drifted did not), 1 when it paused, was aborted, some
    failed, or all there were are drifted.
    """
    async with command_services() as services:
        found = (await services.rollouts.progress(rollout_id)).rollout
        return await _work(services, found, _pace(concurrency, lease_s), as_json=as_json)


@rollout.command(
    epilog="""\b
Examples:
  freehold rollout status
  freehold rollout status --json | jq .counts
"""
)
@_which
@_as_json
@async_command
async def status(rollout_id: str | None, as_json: bool) -> int:
    """Say how far a rollout is, the newest by default, with failures grouped by cause.

    Tenants whose users had changed their own schemas, so that they could not be migrated, are told as drifted and are
    no failures: `freehold tenants check` offers the repair.

    Exit code 0 when it is running or done with none failed, however many are drifted; 1 otherwise, and when it is
    done and all there were are drifted.
    """
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
    if as_json:
        echo_json(found)
    else:
        _show(found)
    return EXIT_DONE if found.is_fine else EXIT_NO


@rollout.command(epilog="\b\nExample:\n  freehold rollout pause")
@_which
@async_command
async def pause(rollout_id: str | None) -> int:
    """Have a rollout take on no more tenants; those at work end."""
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
        _say(await services.rollouts.pause(found.rollout.rollout_id))
    return EXIT_DONE


@rollout.command(epilog="\b\nExamples:\n  freehold rollout resume\n  freehold rollout resume --wait")
@_which
@click.option("--wait", is_flag=True, help="Carry it out here, until it is done or pauses.")
@_workers
@_as_json
@async_command
async def resume(rollout_id: str | None, wait: bool, concurrency: int, lease_s: float, as_json: bool) -> int:
    """Let a paused rollout run again."""
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
        running = await services.rollouts.resume(found.rollout.rollout_id)
        if wait:
            return await _work(services, running, _pace(concurrency, lease_s), as_json=as_json)
        _say(running)
    return EXIT_DONE


@rollout.command(epilog="\b\nExample:\n  freehold rollout abort --yes")
@_which
@click.option("--yes", is_flag=True, help="Do not ask.")
@async_command
async def abort(rollout_id: str | None, yes: bool) -> int:
    """End a rollout where it is. No tenant is taken back; what is left is for another one."""
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
        if not yes:
            left = found.counts["pending"]
            click.confirm(f"End rollout {found.rollout.rollout_id} with {left} tenants left?", abort=True)
        _say(await services.rollouts.abort(found.rollout.rollout_id))
    return EXIT_DONE


@rollout.command(epilog="\b\nExample:\n  freehold rollout retry --failed && freehold rollout resume --wait")
@_which
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option(
    "--drifted", is_flag=True, help="Those whose own schemas were in the way, once they are repaired."
)
@async_command
async def retry(rollout_id: str | None, failed: bool, drifted: bool) -> int:
    """Put tenants that were not migrated back, to be tried again when the rollout is resumed."""
    chosen: dict[StepState, bool] = {"failed": failed, "drifted": drifted}
    states = [state for state, is_wanted in chosen.items() if is_wanted]
    if not states:
        raise click.UsageError("say which: --failed, --drifted, or both")
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
        count = await services.rollouts.retry(found.rollout.rollout_id, states=states)
    click.echo(f"{count} tenants will be tried again; go on with: freehold rollout resume")
    return EXIT_DONE


def _pace(concurrency: int, lease_s: float) -> WorkerPace:
    return WorkerPace(concurrency=concurrency, lease_s=lease_s)


async def _options(
    services: "Services", waves: tuple[str, ...], canaries: tuple[str, ...], budget: str
) -> Options:
    """Canaries may be given in any way that names a tenant."""
    ids = tuple([(await services.life.find(each)).tenant_id for each in canaries])
    options = Options(canaries=ids, failure_budget=budget)
    return msgspec.structs.replace(options, waves=waves) if waves else options


async def _work(services: "Services", found: Rollout, pace: WorkerPace, *, as_json: bool) -> int:
    with progress("migrating", found.tenants, is_wanted=not as_json) as bar:
        task = asyncio.current_task()
        assert task is not None
        with _ended_by_signals(task):
            try:
                await services.rollouts.work(
                    found.rollout_id,
                    pace=pace,
                    on_progress=lambda: _reach(services, found.rollout_id, bar),
                )
            except asyncio.CancelledError:
                click.echo("stopped; go on with: freehold rollout work", err=True)
    done = await services.rollouts.progress(found.rollout_id)
    if as_json:
        for failure in (*done.failures, *done.drifted):
            echo_json(failure)
        echo_json(
            {
                "rollout_id": found.rollout_id,
                "to": found.to_version,
                "tenants": found.tenants,
                **{state: done.counts[state] for state in ("migrated", "skipped", "failed", "drifted")},
                "requests": done.requests,
                "seconds": done.seconds,
            }
        )
    else:
        _show(done)
    return EXIT_DONE if done.rollout.state is RolloutState.DONE and done.is_fine else EXIT_NO


@contextmanager
def _ended_by_signals(task: "asyncio.Task[Any]") -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets those at work end and be written down."""
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)
    try:
        yield
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)


async def _reach(services: "Services", rollout_id: str, bar: Bar) -> None:
    bar.reach((await services.rollouts.store.progress(rollout_id)).ended)


def _show_plan(found: Plan) -> None:
    click.echo(f"to version {found.to_version}: {found.tenants} tenants are behind")
    for version, count in found.behind.items():
        click.echo(f"  {count} at version {version}")
    for name in found.migrations:
        click.echo(f"  would apply {name}{' (rewrites tables)' if name in found.rebuilds else ''}")
    click.echo(
        f"  {found.statements} statements in all; waves end at {', '.join(map(str, found.waves)) or '0'}"
    )
    if found.estimated_rows is None:
        click.echo("  no database answered, so the rows to rewrite are unknown")
    for table, rows in (found.estimated_rows or {}).items():
        click.echo(one_line(f"  about {rows:,} rows of {table} would be rewritten or gone through"))
    if found.drifted:
        click.echo(f"  {found.drifted} of them the last rollout found drifted; see: freehold tenants check")
    for state, count in found.left_out.items():
        click.echo(f"  left out: {count} {state}")


def _show(found: Progress) -> None:
    _say(found.rollout)
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count)
    click.echo(f"  wave {found.rollout.wave} of {found.rollout.waves}; {counts or 'no tenants'}")
    click.echo(f"  {found.requests} requests, {found.seconds:g} s")
    for failure in found.failures:
        some = ", ".join(failure.examples)
        click.echo(one_line(f"  {failure.tenants} failed, {failure.cause}: {failure.error} (e.g. {some})"))
    for drifted in found.drifted:
        some = ", ".join(drifted.examples)
        click.echo(
            one_line(f"  {drifted.tenants} not migrated, {drifted.cause}: {drifted.error} (e.g. {some})")
        )
    if found.drifted:
        click.echo("  repair what drifted with: freehold tenants check TENANT")


def _say(found: Rollout) -> None:
    why = f": {found.reason}" if found.reason else ""
    click.echo(
        one_line(f"rollout {found.rollout_id} to version {found.to_version} is {found.state.value}{why}")
    )
