"""`freehold api-keys`: keys with scopes and limits that users cannot give themselves."""

import re
from collections.abc import Sequence

import click

from freehold.auth.api_keys.types import ApiKey, ApiKeyPage, NewApiKey, Permissions
from freehold.cli.context import async_command, command_services
from freehold.cli.output import echo_json, examples, tell

_SCOPE = re.compile(r"([a-z0-9_-]+):([a-z0-9_-]+)")
_RATE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})")
_DAY_S = 86_400


class _Scope(click.ParamType[tuple[str, str]]):
    name = "resource:action"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        found = _SCOPE.fullmatch(value)
        if found is None:
            self.fail(
                f"`{value}` is not a scope; write `databases:write`, `registry:publish`, `registry:force`,"
                " or RESOURCE:ACTION of your own",
                param,
                ctx,
            )
        return found[1], found[2]


class _Rate(click.ParamType[tuple[int, int]]):
    name = "number/seconds"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = _RATE.fullmatch(value)
        if found is None:
            self.fail(f"`{value}` is not a rate; write e.g. `1000/86400`, a thousand a day", param, ctx)
        return int(found[1]), int(found[2]) * 1000


@click.group(epilog="Example: freehold api-keys create ada@example.com --name ci --scope databases:write")
def api_keys() -> None:
    """Manage API keys, with scopes and limits that users cannot set.

    Users create their own keys with the official client. Such keys read their owner's database, up to 1000 times a
    day.
    """


@api_keys.command(
    epilog=examples(
        "freehold api-keys create ada@example.com --name backup",
        "freehold api-keys create ada@example.com --name ci --scope databases:write --days 30",
        "freehold api-keys create ada@example.com --limit 10/60 --uses 500 --refill 500/86400 --json",
    )
)
@click.argument("email")
@click.option("--name", help="What the key is for, up to 32 characters.")
@click.option("--prefix", help="Prefix of the key: letters, digits, _ and -.")
@click.option(
    "--scope",
    "scopes",
    type=_Scope(),
    multiple=True,
    help="What the key may do; can be repeated. Default: databases:read.",
)
@click.option("--days", type=click.IntRange(1, 365), help="Days until the key expires; never by default.")
@click.option(
    "--limit", type=_Rate(), default="1000/86400", show_default=True, help="Uses allowed per period, as USES/SECONDS."
)
@click.option("--uses", type=click.IntRange(1), help="How many times it may be used in total.")
@click.option("--refill", type=_Rate(), help="Uses to add back, and how often: USES/SECONDS.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@async_command
async def create(
    email: str,
    *,
    name: str | None,
    prefix: str | None,
    scopes: Sequence[tuple[str, str]],
    days: int | None,
    limit: tuple[int, int],
    uses: int | None,
    refill: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Create a key for the user EMAIL. Its text is printed once and cannot be shown again."""
    new = NewApiKey(
        name=name,
        prefix=prefix,
        permissions=_permissions(scopes),
        expires_in_s=None if days is None else days * _DAY_S,
        remaining=uses,
        refill_amount=refill[0] if refill else None,
        refill_interval_ms=refill[1] if refill else None,
        rate_limit_max=limit[0],
        rate_limit_window_ms=limit[1],
    )
    async with command_services() as services:
        user_id = await services.api_keys.owner(email)
        key, text = await services.api_keys.create(user_id, new)
    tell(text, {**_record(key), "key": text}, as_json=as_json)


@api_keys.command("list", epilog="Example: freehold api-keys list ada@example.com --json")
@click.argument("email")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each key.")
@async_command
async def list_keys(email: str, *, as_json: bool) -> None:
    """List the keys of the user EMAIL, oldest first."""
    async with command_services() as services:
        user_id = await services.api_keys.owner(email)
        found, _ = await services.api_keys.list(user_id, ApiKeyPage())
    for key in found:
        if as_json:
            echo_json(_record(key))
        else:
            state = "on" if key.enabled else "off"
            click.echo(f"{key.key_id}  {key.start}…  {state:3}  {key.name or ''}")


@api_keys.command(epilog="Example: freehold api-keys delete ada@example.com 3v4tZ0HqWm8nVbJ5cKxR2sLdYfGpA1iE")
@click.argument("email")
@click.argument("key_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@async_command
async def delete(email: str, key_id: str, *, as_json: bool) -> None:
    """Delete the key KEY_ID of the user EMAIL: it is refused from now on, and so are database tokens issued for it.

    Exit code 1 if there is no such key.
    """
    async with command_services() as services:
        user_id = await services.api_keys.owner(email)
        await services.api_keys.delete(user_id, key_id)
    tell(f"key {key_id} is deleted", {"id": key_id, "deleted": True}, as_json=as_json)


def _permissions(scopes: Sequence[tuple[str, str]]) -> Permissions | None:
    found: Permissions = {}
    for resource, action in scopes:
        actions = found.setdefault(resource, [])
        if action not in actions:
            actions.append(action)
    return found or None


def _record(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.key_id,
        "name": key.name,
        "start": key.start,
        "enabled": key.enabled,
        "permissions": key.permissions,
        "expires_at": key.expires_at,
        "remaining": key.remaining,
        "last_request": key.last_request,
        "created_at": key.created_at,
    }
