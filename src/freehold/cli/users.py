"""`freehold users`: people who sign in."""

import sys

import click

from freehold.auth.types import AdminOutcome
from freehold.cli.context import async_command, command_services, echo_json
from freehold.cli.users_import import import_users

_WORDS = {
    AdminOutcome.CREATED: "{email} is now an administrator",
    AdminOutcome.PROMOTED: "{email} was an ordinary user and is now an administrator",
    AdminOutcome.UNCHANGED: "{email} is an administrator already; nothing changed",
}


@click.group(epilog="Example: freehold users create-admin ada@example.com")
def users() -> None:
    """People who sign in."""


users.add_command(import_users)


@users.command(
    "create-admin",
    epilog="""\b
Examples:
  freehold users create-admin ada@example.com
  pass show ada | freehold users create-admin ada@example.com --password-stdin --json
  freehold users create-admin grace@example.com --promote""",
)
@click.argument("email")
@click.option("--name", default="Administrator", show_default=True, help="Name of a user that is made.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@click.option("--promote", is_flag=True, help="Make an ordinary user of this address an administrator.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@async_command
async def create_admin(email: str, name: str, *, password_stdin: bool, promote: bool, as_json: bool) -> None:
    """Make sure that EMAIL is an administrator. Safe to run twice.

    A password is asked for only if there is no user with this address yet; one that exists keeps theirs.
    Exit code 1 if the user exists, is an ordinary one, and --promote was not said.
    """
    async with command_services() as services:
        outcome = await services.auth.ensure_admin(
            email, name, _read_password if password_stdin else _ask_password, promote=promote
        )
    if as_json:
        echo_json({"email": email.lower(), "outcome": outcome})
    else:
        click.echo(_WORDS[outcome].format(email=email.lower()))


def _read_password() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def _ask_password() -> str:
    if not sys.stdin.isatty():
        raise click.ClickException("there is no terminal to ask for the password; use --password-stdin")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
