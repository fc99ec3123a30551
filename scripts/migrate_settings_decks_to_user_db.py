#!/usr/bin/env python3
"""Move settings and decks that an older installation kept in the central database into each user's own database.

Settings come from the environment and from `.env`, as for every verb. Try `--help` and `--dry-run`.
"""

import click

from freehold.central.tenants.legacy import CentralLegacyRows
from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_services
from freehold.cli.output import echo_json, one_line, progress
from freehold.tenants.legacy import DECKS, SETTINGS, LegacyMove


@click.command(
    epilog="""\b
Examples:
  python scripts/migrate_settings_decks_to_user_db.py --dry-run
  python scripts/migrate_settings_decks_to_user_db.py --keep --json | jq 'select(.error)'
"""
)
@click.option("--settings-table", default="settings", show_default=True, help="The old table of settings.")
@click.option("--decks-table", default="decks", show_default=True, help="The old table of decks.")
@click.option("--keep", is_flag=True, help="Copy and verify only; the old rows stay.")
@click.option("--dry-run", is_flag=True, help="Say how many rows there are, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a user, for programs.")
@async_command
async def main(*, settings_table: str, decks_table: str, keep: bool, dry_run: bool, as_json: bool) -> int:
    """Move each user's settings and decks out of the central database into their own.

    A row's user is in its column user_id or userId; columns go by their names. For each user: copy in one
    transaction, count what has arrived, and only then remove the old rows, if nobody changed them meanwhile. Safe to
    stop at any moment and to start again. What a device has changed since is newer and stays. Exit code 1 when
    somebody's rows could not be moved; they are still where they were.
    """
    failed = users = settings = decks = 0
    async with command_services() as services:
        rows = CentralLegacyRows(services.central, {SETTINGS: settings_table, DECKS: decks_table})
        if not await rows.tables():
            click.echo("the central database has no such tables; nothing is to be moved", err=True)
            return EXIT_DONE
        move = LegacyMove(rows, services.lifecycle)
        total = sum([1 async for _ in rows.users()])
        with progress("moving rows", total, is_wanted=not as_json) as bar:
            async for user_id in rows.users():
                done = await move.move(user_id, keep=keep, dry_run=dry_run)
                users, settings, decks = users + 1, settings + done.settings, decks + done.decks
                failed += done.error is not None
                if as_json:
                    echo_json(done)
                elif done.error is not None:
                    bar.say(one_line(f"{user_id}: {done.error}"))
                bar.reach(users)
    would = "would move" if dry_run else "copied" if keep else "moved"
    summary = f"{would} {settings} settings and {decks} decks of {users - failed} users, {failed} failed"
    click.echo(summary, err=as_json)
    return EXIT_NO if failed else EXIT_DONE


if __name__ == "__main__":
    main(prog_name="migrate_settings_decks_to_user_db.py")
