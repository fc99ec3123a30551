"""`freehold tenants rotate`: revoke all tokens of a database, for emergencies."""

import click

from freehold.cli.context import EXIT_DONE, async_command, command_tenants, echo_json


@click.command(
    epilog="""\b
Examples:
  freehold tenants list
  freehold tenants rotate t-k3j9x2mpq7k3j9x2mpq7k3j9x2
"""
)
@click.argument("database_name")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@async_command
async def rotate(database_name: str, dry_run: bool, as_json: bool) -> int:
    """Revoke all tokens of a database immediately; its user's apps ask for new ones.

    Use this if a token was leaked. Sessions continue: also sign the user out if one of those was leaked. On Turso,
    tokens that others minted for this database end, too. Exit code 1 when there is no such database. Safe to run
    twice.
    """
    async with command_tenants() as services:
        if dry_run:
            await services.rotations.check(database_name)
            generation = await services.rotations.generation(database_name)
        else:
            generation = await services.rotations.rotate(database_name)
    if as_json:
        echo_json({"database_name": database_name, "generation": generation, "dry_run": dry_run})
    elif dry_run:
        click.echo(f"would revoke all tokens of {database_name}")
    else:
        click.echo(f"all tokens of {database_name} are revoked")
    return EXIT_DONE
