"""`freehold keys`: show and rotate the keys that sign JWTs."""

from datetime import UTC, datetime

import click

from freehold.cli.context import async_command, command_services
from freehold.cli.output import echo_json, examples, tell
from freehold.dates import from_iso


@click.group(epilog="Example: freehold keys rotate")
def keys() -> None:
    """Show and rotate the keys that sign JWTs."""


@keys.command("list", epilog="Example: freehold keys list --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each key.")
@async_command
async def list_keys(*, as_json: bool) -> None:
    """List published keys, newest first: the one that signs, and retired ones whose tokens are still valid."""
    async with command_services() as services:
        found = await services.signing_keys.listed()
    for key in found:
        is_retired = key.expires_at is not None and from_iso(key.expires_at) <= datetime.now(UTC)
        state = "retired" if is_retired else "signing"
        if as_json:
            record = {"id": key.key_id, "state": state, "created_at": key.created_at}
            echo_json({**record, "retired_at": key.expires_at})
        else:
            click.echo(f"{key.key_id}  {state:8}  made {key.created_at}")


@keys.command(epilog=examples("freehold keys rotate", "freehold keys rotate --at-once --json"))
@click.option(
    "--at-once", is_flag=True, help="Refuse all tokens signed so far, for a key that may have been compromised."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@async_command
async def rotate(*, at_once: bool, as_json: bool) -> None:
    """Sign with a new key from now on. All running processes switch immediately.

    The old keys stay published for 20 minutes, until the last token signed with them has expired. Keys are also
    replaced automatically when they are JWT_KEY_DAYS old.
    """
    async with command_services() as services:
        key_id = await services.signing_keys.rotate(at_once=at_once)
    tell(f"JWTs are signed with key {key_id} from now on", {"id": key_id, "at_once": at_once}, as_json=as_json)
