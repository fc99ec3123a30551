"""`freehold users`: manage the people who sign in."""

import sys
from collections.abc import Iterator
from datetime import datetime

import click
import msgspec

from freehold.auth.types import AdminOutcome, User
from freehold.cli.context import async_command, command_services
from freehold.cli.output import JSON, echo_json, examples, one_line, tell
from freehold.cli.users_import import import_users
from freehold.errors import NotFound

_WORDS = {
    AdminOutcome.CREATED: "{email} is now an administrator",
    AdminOutcome.PROMOTED: "{email} was an ordinary user and is now an administrator",
    AdminOutcome.UNCHANGED: "{email} is an administrator already; nothing changed",
}


@click.group(epilog=examples("freehold users create-admin ada@example.com", "freehold users list"))
def users() -> None:
    """Manage the people who sign in."""


users.add_command(import_users)


@users.command(
    "list", epilog=examples("freehold users list", "freehold users list --search example.com --json | jq -r .email")
)
@click.option("--search", default="", metavar="TEXT", help="Only users whose e-mail address contains this.")
@JSON
@async_command
async def list_(search: str, as_json: bool) -> None:
    """List users by id: address, roles, and why a user cannot sign in. Works with any number of users."""
    count = 0
    async with command_services() as services:
        async for user in services.user_admin.each(search):
            count += 1
            if as_json:
                echo_json(user)
            else:
                words = [user.user_id, user.email, user.role, *_marks(user, services.user_admin.auth.clock())]
                click.echo(one_line("  ".join(words)))
    if not as_json:
        click.echo(f"{count or 'no'} user{'s' if count != 1 else ''}", err=True)


@users.command(epilog="Example: freehold users show ada@example.com --json")
@click.argument("user", metavar="USER")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@async_command
async def show(user: str, as_json: bool) -> None:
    """Show one user, by e-mail address or id: roles, sessions, whether they have a password, and their database."""
    async with command_services() as services:
        found = await services.user_admin.find(user)
        credential = await services.auth.store.find_credential(found.email)
        try:
            tenant = await services.lifecycle.find(found.user_id)
        except NotFound:
            tenant = None
        facts = {
            **msgspec.to_builtins(found),
            "has_password": credential is not None and credential.password_hash is not None,
            "sessions": len(await services.user_admin.sessions(found.user_id)),
            "tenant_id": tenant and tenant.tenant_id,
            "database": tenant and tenant.database_name,
            "database_state": tenant and tenant.state.value,
        }
    if as_json:
        echo_json(facts)
        return
    for name, value in facts.items():
        click.echo(f"{name:<16} {'-' if value is None else one_line(str(value))}")


@users.command(
    "set-password",
    epilog=examples(
        "freehold users set-password ada@example.com",
        "pass show ada | freehold users set-password ada@example.com --password-stdin",
    ),
)
@click.argument("user", metavar="USER")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@async_command
async def set_password(user: str, *, password_stdin: bool, as_json: bool) -> None:
    """Set a user's password, by e-mail address or id, for example for an administrator who lost theirs.

    The command asks for it or reads it from stdin: others could read it on a command line. All of the user's sessions
    and API keys end, the user is notified by e-mail, and the change is recorded in the audit trail.
    """
    async with command_services() as services:
        found = await services.user_admin.find(user)
        ended = len(await services.user_admin.sessions(found.user_id))
        password = _read_password() if password_stdin else _ask_password()
        await services.user_admin.set_password(found.user_id, password)
    tell(
        f"{found.email} has a new password; {ended} sessions ended, and all API keys",
        {"email": found.email, "sessions_ended": ended},
        as_json=as_json,
    )


def _marks(user: User, now: datetime) -> Iterator[str]:
    if user.is_banned_at(now):
        yield "banned"
    if user.is_anonymous:
        yield "guest"
    elif not user.email_verified:
        yield "unverified"


@users.command(
    "create-admin",
    epilog=examples(
        "freehold users create-admin ada@example.com",
        "pass show ada | freehold users create-admin ada@example.com --password-stdin --json",
        "freehold users create-admin grace@example.com --promote",
    ),
)
@click.argument("email")
@click.option("--name", default="Administrator", show_default=True, help="Name of the user if one is created.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@click.option("--promote", is_flag=True, help="Make an existing user with this address an administrator.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@async_command
async def create_admin(email: str, name: str, *, password_stdin: bool, promote: bool, as_json: bool) -> None:
    """Make sure that EMAIL is an administrator. Safe to run twice.

    Asks for a password only if there is no user with this address yet; existing users keep theirs. Exit code 1 if the
    user exists, is not an administrator, and --promote is not given.
    """
    async with command_services("new") as services:
        outcome = await services.auth.ensure_admin(
            email, name, _read_password if password_stdin else _ask_password, promote=promote
        )
    tell(_WORDS[outcome].format(email=email.lower()), {"email": email.lower(), "outcome": outcome}, as_json=as_json)


def _read_password() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def _ask_password() -> str:
    if not sys.stdin.isatty():
        raise click.ClickException("there is no terminal to ask for the password; use --password-stdin")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
