"""`freehold registry test`: run migrations on real engines, with rows in the databases."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from freehold.cli.context import EXIT_DONE, EXIT_NO, EXIT_SETTINGS, async_command, fail, registry_folder
from freehold.cli.output import JSON, echo_json, examples
from freehold.cli.registry_check import FOLDER, load_migrations
from freehold.providers.engines.engines import ENGINES, EngineMissing, open_engines
from freehold.registry.lint.findings import waivers_of
from freehold.registry.sum_file import SUM_FILE, read_sum_file
from freehold.registry.trial import Tried, load_fixtures, try_out
from freehold.registry.trial_rows import FIXTURES


@click.command(
    "test",
    epilog=examples(
        "freehold registry test",
        "freehold registry test schema_registry/bahar --since 7",
        "freehold registry test --engine sqlite --engine libsql --json",
    ),
)
@FOLDER
@click.option(
    "--engine",
    "engines",
    type=click.Choice(ENGINES),
    multiple=True,
    help="Only on these engines; all three by default. The others are compared with the first.",
)
@click.option("--since", type=click.IntRange(min=0), default=0, help="Only from this version and later ones.")
@JSON
@async_command
async def trial(folder: Path | None, engines: tuple[str, ...], since: int, as_json: bool) -> int:
    """Apply every migration from every earlier version, with rows, on SQLite, libSQL and Turso's engine.

    The rows are those of FOLDER/fixtures/NNNN.sql, written once version NNNN is reached. Fails when schema or rows
    differ between engines, the schema is not the one that registry.sum records, rows are lost outside a contract
    migration, a rebuild loses rows, values or row numbers that something refers to, integrity_check,
    foreign_key_check or FTS5's check finds a problem, applying twice is not the same as once, or rows depend on the
    time or on random values. Values that a migration changes are reported, and so are tables that no fixture has rows
    for. Exit code 1 when it fails, and 3 when an engine is not installed.
    """
    folder = registry_folder(folder)
    migrations = await load_migrations(folder)
    fixtures = await load_fixtures(folder)
    sums = await asyncio.to_thread(read_sum_file, folder)
    recorded = {} if sums is None else {one.version: one.schema for one in sums.migrations}
    waivers = await asyncio.to_thread(waivers_of, folder, migrations)
    chosen = list(dict.fromkeys(engines)) or list(ENGINES)
    failed = histories = 0
    last: Tried | None = None
    try:
        async with open_engines(chosen) as opened:
            tries = try_out(migrations, fixtures, opened, recorded, since=since, waivers=waivers)
            async for tried in tries:
                histories += 1
                last = tried
                failed += bool(tried.faults)
                _show(tried, as_json=as_json, is_first=tried.engine == chosen[0])
    except EngineMissing as error:
        fail(error)
        return EXIT_SETTINGS
    _hint(recorded, fixtures, len(migrations), last.uncovered if last else ())
    click.echo(f"{histories} histories on {', '.join(chosen)}: {failed or 'none'} failed", err=True)
    return EXIT_NO if failed else EXIT_DONE


def _show(tried: Tried, *, as_json: bool, is_first: bool) -> None:
    if as_json:
        echo_json(
            {
                "engine": tried.engine,
                "from": tried.start,
                "rows": tried.rows,
                "faults": [msgspec.structs.asdict(fault)["reason"] for fault in tried.faults],
                "changes": tried.changes,
                "uncovered": tried.uncovered,
            }
        )
        return
    for fault in tried.faults:
        click.echo(str(fault), err=True)
    if is_first:
        for change in tried.changes:
            click.echo(f"changed: {change}", err=True)


def _hint(recorded: dict[int, str], fixtures: dict[int, tuple[str, ...]], head: int, uncovered: Sequence[str]) -> None:
    if len(recorded) < head:
        click.echo(f"{SUM_FILE} records no schema for some versions: run `freehold registry seal`", err=True)
    if not fixtures:
        click.echo(f"there are no {FIXTURES}/NNNN.sql: the only rows were those that migrations insert", err=True)
    elif uncovered:
        click.echo(f"no fixture has rows for: {', '.join(uncovered)}; what happens to them was not tested", err=True)
