"""`freehold tenants`: manage tenants' databases."""

import sys
from collections.abc import AsyncIterator, Sequence

import click
import msgspec

from freehold.cli.context import async_command, command_listing
from freehold.cli.lazy import LazyGroup
from freehold.cli.output import JSON, echo_json, examples, one_line
from freehold.tenants.types import Tenant, TenantState

# Wide enough for the values that Freehold generates; longer ones push the rest of their line to the right.
_WIDTHS = {"tenant_id": 32, "state": 12, "version": 7, "database": 28, "user_id": 32, "email": 24}
# People look for the address; with both there is no room for the error.
_NOT_IN_TABLE = "user_id"
_SHOWN_AT_ONCE = 100


_ELSEWHERE = {
    **dict.fromkeys(
        ("show", "migrate", "suspend", "resume", "fork", "export", "restore", "delete", "rotate"),
        "freehold.cli.tenant_lifecycle",
    ),
    **dict.fromkeys(("create", "provision"), "freehold.cli.provision"),
    "check": "freehold.cli.drift",
    "reconcile": "freehold.cli.reconcile",
    "repair": "freehold.cli.repair",
    "sql": "freehold.cli.tenant_sql",
}


class _Group(LazyGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(super().list_commands(ctx))


@click.group(
    cls=_Group,
    elsewhere=_ELSEWHERE,
    epilog=examples("freehold tenants list --state failed", "freehold tenants provision"),
)
def tenants() -> None:
    """Manage tenants' databases."""


@tenants.command(
    "list",
    epilog=examples(
        "freehold tenants list",
        "freehold tenants list --state failed --json | jq -r .error",
        "freehold tenants list --limit 100 --after k3J9x2mPq7",
    ),
)
@click.option("--state", type=click.Choice([state.value for state in TenantState]), help="Only tenants in this state.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many; all by default.")
@click.option("--after", default="", metavar="TENANT_ID", help="Continue after this tenant.")
@JSON
@async_command
async def list_(state: str | None, limit: int | None, after: str, as_json: bool) -> None:
    """List tenants by id, with the reason if the last attempt to create the database failed or if they are suspended.
    Forks belong to no user and have no e-mail address.

    Tenants are read and printed page by page, however many there are. Exit code 0 even when there are none.
    """
    async with command_listing() as listing:
        found = listing.each_with_email(after=after, limit=limit, state=None if state is None else TenantState(state))
        if as_json:
            async for tenant, email in found:
                echo_json({**msgspec.to_builtins(tenant), "email": email})
            return
        await (_print_table(found) if sys.stdout.isatty() else _print_lines(found))
        counts = await listing.counts()
    summary = ", ".join(f"{counts[each]} {each.value}" for each in TenantState if each in counts)
    click.echo(f"in all: {summary or 'no tenants yet'}", err=True)


Listed = tuple[Tenant, str | None]


async def _print_lines(found: AsyncIterator[Listed]) -> None:
    click.echo("  ".join([*(f"{name:<{width}}" for name, width in _WIDTHS.items()), "error"]))
    async for tenant, email in found:
        cells = zip(_cells(tenant, email), [*_WIDTHS.values(), 0], strict=True)
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip())


async def _print_table(found: AsyncIterator[Listed]) -> None:
    """Print a table in parts with fixed column widths, so that the whole list is never in memory."""
    part: list[Listed] = []
    is_first = True
    async for listed in found:
        part.append(listed)
        if len(part) == _SHOWN_AT_ONCE:
            _print_part(part, show_header=is_first)
            part, is_first = [], False
    if part or is_first:
        _print_part(part, show_header=is_first)


def _print_part(part: Sequence[Listed], *, show_header: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=show_header, pad_edge=False)
    for name, width in _WIDTHS.items():
        if name == _NOT_IN_TABLE:
            continue
        table.add_column(name, min_width=width, no_wrap=True, overflow="fold")
    table.add_column("error", overflow="fold")
    for tenant, email in part:
        is_failed = tenant.state is TenantState.FAILED
        cells = [cell for name, cell in zip([*_WIDTHS, "error"], _cells(tenant, email), strict=True)
                 if name != _NOT_IN_TABLE]  # fmt: skip
        table.add_row(*map(Text, cells), style="red" if is_failed else None)
    Console().print(table)


def _cells(tenant: Tenant, email: str | None) -> list[str]:
    error = one_line(tenant.error or "")
    if tenant.attempts:
        error = f"{error} (failed {tenant.attempts} times)".strip()
    version = str(tenant.schema_version)
    named = [tenant.tenant_id, tenant.state.value, version, tenant.database_name, tenant.user_id]
    return [*named, one_line(email or "-"), error]
