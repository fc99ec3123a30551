"""`freehold rollout`: migrate all tenants to a version, in waves."""

import asyncio
import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_services, confirm
from freehold.cli.output import JSON, Bar, echo_json, examples, one_line, progress, tell
from freehold.cli.rollout_back import discard, restore
from freehold.cli.rollout_shown import say, show, show_plan, workers
from freehold.cli.rollout_steer import ROLLOUT, pause, retry
from freehold.rollouts.errors import NobodyBehind
from freehold.rollouts.types import Options, Rollout, RolloutState
from freehold.rollouts.worker import RolloutWorkerConfig

if TYPE_CHECKING:
    from freehold.wiring.services import Services


def _all(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One decorator that adds these options in this order."""
    return lambda verb: functools.reduce(lambda done, option: option(done), reversed(options), verb)


# Of commands that migrate the tenants of a rollout themselves.
_workers = _all(
    click.option(
        "--concurrency", type=click.IntRange(1, 256), default=16, show_default=True, help="Tenants at once, at most."
    ),
    click.option(
        "--lease",
        "lease_s",
        type=click.FloatRange(1, 600),
        default=15.0,
        show_default=True,
        help="Seconds until others may take over the tenants of a killed worker.",
    ),
)
# What defines a rollout.
_shape = _all(
    click.option(
        "--to", type=click.IntRange(min=1), metavar="VERSION", help="Version to migrate to; the newest by default."
    ),
    click.option(
        "--wave",
        "waves",
        multiple=True,
        metavar="N|N%",
        help="Tenants in total after this wave; can be repeated. 1, 10% and all by default.",
    ),
    click.option(
        "--canary", "canaries", multiple=True, metavar="TENANT", help="A tenant that goes first; can be repeated."
    ),
    click.option(
        "--budget", default="0", metavar="N|N%", help="How many tenants may fail before the rollout pauses (default 0)."
    ),
    click.option("--include-restored", is_flag=True, help="Include tenants that were taken back from an earlier one."),
)


@click.group(
    epilog=examples(
        "freehold rollout plan",
        "freehold rollout start --wave 5 --wave 20% --budget 1% --wait",
        "freehold rollout status",
    )
)
def rollout() -> None:
    """Migrate all tenants to a version, in waves."""


@rollout.command(
    epilog=examples(
        "freehold rollout plan",
        "freehold rollout plan --to 9 --rehearse 5",
        "freehold rollout plan --json | jq .behind",
    )
)
@_shape
@click.option("--rehearse", type=click.IntRange(1, 100), metavar="N", help="Also migrate copies of N tenants.")
@JSON
@async_command
async def plan(
    *,
    to: int | None,
    waves: tuple[str, ...],
    canaries: tuple[str, ...],
    budget: str,
    include_restored: bool,
    rehearse: int | None,
    as_json: bool,
) -> int:
    """Show what a rollout would do, and change nothing.

    The number of rows that it would rewrite or read is estimated from five tenants' databases.

    With --rehearse it forks some of the tenants that are behind, migrates the copies, and shows how long that took,
    how many rows each table had before and after, and whether the copies are valid. Exit code 1 when one is not.
    """
    async with command_services() as services:
        options = await _options(services, waves, canaries, budget, include_restored=include_restored)
        found = await services.rollouts.plan(options, to)
        if as_json:
            echo_json(found)
        else:
            show_plan(found)
        if rehearse is None:
            return EXIT_DONE
        is_sound = True
        async for one in services.rollouts.rehearse(found.to_version, rehearse):
            is_sound &= not one.faults
            tell(one_line(f"rehearsed {one.tenant_id}: {one.summary}"), one, as_json=as_json)
    return EXIT_DONE if is_sound else EXIT_NO


@rollout.command(
    epilog=examples(
        "freehold rollout start --wait",
        'freehold rollout start --wave 5 --wave 10% --budget 3 --health "SELECT count(*) > 0 FROM settings" --wait',
        "freehold rollout start --wait --json | tail -n 1",
    )
)
@_shape
@click.option(
    "--health",
    metavar="SQL",
    help="SQL run on some tenants of each wave, first on an empty database; unless true, the rollout pauses.",
)
@click.option(
    "--restore-points", is_flag=True, help="Keep a copy of each database from before its change: see `restore`."
)
@click.option(
    "--keep-days",
    type=click.IntRange(1, 90),
    default=7,
    show_default=True,
    help="How long the copies are kept; each takes as much space as its database.",
)
@click.option("--wait", is_flag=True, help="Carry it out here, until it is done or pauses.")
@_workers
@click.option("--dry-run", is_flag=True, help="Show what it would do, and change nothing.")
@JSON
@async_command
async def start(
    *,
    to: int | None,
    waves: tuple[str, ...],
    canaries: tuple[str, ...],
    budget: str,
    include_restored: bool,
    health: str | None,
    restore_points: bool,
    keep_days: int,
    wait: bool,
    concurrency: int,
    lease_s: float,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Start a rollout over all tenants that are behind.

    Its state is in the central database: it can be stopped and continued with `work`, here or elsewhere, and several
    workers can share it. The last line with --wait --json is {"rollout_id", "to", "tenants", "migrated", "skipped",
    "failed", "drifted", "requests", "seconds"}.

    When no tenant is behind, it says so and creates no rollout: exit code 0, and `rollout_id` is null.
    """
    async with command_services() as services:
        options = msgspec.structs.replace(
            await _options(services, waves, canaries, budget, include_restored=include_restored),
            health_sql=health,
            restore_points=restore_points,
            keep_days=keep_days,
        )
        if dry_run:
            is_true = await services.rollouts.check(options, to)
            found = await services.rollouts.plan(options, to)
            echo_json(found) if as_json else show_plan(found)
            if not is_true:
                click.echo("the health query is not true on an empty database; it need not be", err=True)
            return EXIT_DONE
        try:
            made = await services.rollouts.start(options, to)
        except NobodyBehind as none:
            return _nothing_to_do(none, as_json=as_json)
        if not as_json:
            click.echo(f"rollout {made.rollout_id}: {made.tenants} tenants to version {made.to_version}")
        if wait:
            return await _work(services, made, _config(concurrency, lease_s), as_json=as_json)
        tell("run it with: freehold rollout work", made, as_json=as_json)
    return EXIT_DONE


@rollout.command(epilog=examples("freehold rollout work", "freehold rollout work k3J9x2mPq7 --concurrency 4"))
@ROLLOUT
@_workers
@JSON
@async_command
async def work(rollout_id: str | None, concurrency: int, lease_s: float, as_json: bool) -> int:
    """Work on a running rollout until it is done or paused. Any number of workers may share one.

    Also works on one that is done, when some of its tenants are to be retried.

    Exit code 0 when it is done and none failed (drifted ones do not count), 1 when it paused, was aborted, some
    failed, or all of them have drifted.
    """
    async with command_services() as services:
        found = (await services.rollouts.progress(rollout_id)).rollout
        return await _work(services, found, _config(concurrency, lease_s), as_json=as_json)


@rollout.command(epilog=examples("freehold rollout status", "freehold rollout status --json | jq .counts"))
@ROLLOUT
@JSON
@async_command
async def status(rollout_id: str | None, as_json: bool) -> int:
    """Show the progress of a rollout, the newest by default, with failures grouped by cause.

    Tenants that could not be migrated because their users had changed the schemas are reported as drifted, not as
    failures: `freehold tenants check` prints the repair.

    Exit code 0 when it is running, or done with no failures, however many tenants have drifted; 1 otherwise, and when
    it is done and all of them have drifted.
    """
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
    if as_json:
        echo_json(found)
    else:
        show(found)
    return EXIT_DONE if found.is_fine else EXIT_NO


@rollout.command(epilog=examples("freehold rollout resume", "freehold rollout resume --wait"))
@ROLLOUT
@click.option("--wait", is_flag=True, help="Carry it out here, until it is done or pauses.")
@_workers
@JSON
@async_command
async def resume(rollout_id: str | None, wait: bool, concurrency: int, lease_s: float, as_json: bool) -> int:
    """Resume a paused rollout, or one that is done and has tenants to retry.

    Shows whether a worker is running: without one, nothing happens.
    """
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
        running = await services.rollouts.resume(found.rollout.rollout_id)
        if wait:
            return await _work(services, running, _config(concurrency, lease_s), as_json=as_json)
        done = await services.rollouts.progress(running.rollout_id)
    if as_json:
        echo_json(done)
    else:
        say(done.rollout)
        click.echo(f"  {workers(done)}")
    return EXIT_DONE


@rollout.command(epilog="\b\nExample:\n  freehold rollout abort --yes")
@ROLLOUT
@click.option("--yes", is_flag=True, help="Do not ask.")
@async_command
async def abort(rollout_id: str | None, yes: bool) -> None:
    """End a rollout where it is. No tenant is rolled back; the remaining ones are left for another rollout."""
    async with command_services() as services:
        found = await services.rollouts.progress(rollout_id)
        left = found.counts["pending"]
        confirm(f"end rollout {found.rollout.rollout_id} with {left} tenants left?", yes=yes)
        say(await services.rollouts.abort(found.rollout.rollout_id))


for _command in (pause, retry, restore, discard):
    rollout.add_command(_command)


def _nothing_to_do(none: NobodyBehind, *, as_json: bool) -> int:
    if as_json:
        nobody = dict.fromkeys(("tenants", "migrated", "skipped", "failed", "drifted", "requests", "seconds"), 0)
        echo_json({"rollout_id": None, "to": none.to_version, **nobody})
    else:
        click.echo(str(none))
    return EXIT_DONE


def _config(concurrency: int, lease_s: float) -> RolloutWorkerConfig:
    return RolloutWorkerConfig(concurrency=concurrency, lease_s=lease_s)


async def _options(
    services: "Services", waves: tuple[str, ...], canaries: tuple[str, ...], budget: str, *, include_restored: bool
) -> Options:
    """The options, with canaries (given as id, address or database name) resolved to tenant ids."""
    ids = tuple([(await services.lifecycle.find(each)).tenant_id for each in canaries])
    options = Options(canaries=ids, failure_budget=budget, include_restored=include_restored)
    return msgspec.structs.replace(options, waves=waves) if waves else options


async def _work(services: "Services", found: Rollout, config: RolloutWorkerConfig, *, as_json: bool) -> int:
    with progress("migrating", found.tenants, is_wanted=not as_json) as bar:
        task = asyncio.current_task()
        assert task is not None
        with _ended_by_signals(task):
            try:
                await services.rollouts.work(
                    found.rollout_id, config=config, on_progress=lambda: _reach(services, found.rollout_id, bar)
                )
            except asyncio.CancelledError:
                click.echo("stopped; continue with: freehold rollout work", err=True)
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
        show(done)
    return EXIT_DONE if done.rollout.state is RolloutState.DONE and done.is_fine else EXIT_NO


@contextmanager
def _ended_by_signals(task: "asyncio.Task[Any]") -> Iterator[None]:
    """On the first Ctrl-C or SIGTERM, let the migrations in progress finish and be recorded."""
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
