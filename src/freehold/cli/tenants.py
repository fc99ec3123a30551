"""`freehold tenants`: manage tenants' databases."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

import click
import msgspec

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_tenants, echo_json
from freehold.cli.lazy import LazyGroup
from freehold.cli.progress import one_line, progress
from freehold.tenants.provision import describe
from freehold.tenants.types import UNPROVISIONED, Tenant, TenantState
from freehold.tenants.worker_pool import Outcome

# Wide enough for what Freehold makes itself; longer ones push the rest of their line to the right.
_WIDTHS = {"tenant_id": 32, "state": 12, "version": 7, "database": 28, "user_id": 32, "email": 24}
# A person looks for the address; both leave no room for the error.
_NOT_IN_TABLE = "user_id"
_SHOWN_AT_ONCE = 100


_ELSEWHERE = {
    **dict.fromkeys(
        ("show", "migrate", "suspend", "resume", "fork", "export", "restore", "delete"),
        "freehold.cli.tenant_lifecycle",
    ),
    "check": "freehold.cli.drift",
    "reconcile": "freehold.cli.reconcile",
    "repair": "freehold.cli.repair",
    "rotate": "freehold.cli.rotate",
    "sql": "freehold.cli.tenant_sql",
}


class _Group(LazyGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(super().list_commands(ctx))


@click.group(
    cls=_Group,
    elsewhere=_ELSEWHERE,
    epilog="""\b
Examples:
  freehold tenants list --state failed
  freehold tenants create --pending
""",
)
def tenants() -> None:
    """Manage tenants' databases."""


@tenants.command(
    "list",
    epilog="""\b
Examples:
  freehold tenants list
  freehold tenants list --state failed --json | jq -r .error
  freehold tenants list --limit 100 --after k3J9x2mPq7
""",
)
@click.option("--state", type=click.Choice([state.value for state in TenantState]), help="Only these.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; all when left out.")
@click.option("--after", default="", metavar="TENANT_ID", help="Go on after this tenant.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@async_command
async def list_(state: str | None, limit: int | None, after: str, as_json: bool) -> int:
    """List tenants in order of their id, with the reason where the last try to make the database failed, or why they
    are suspended. Forks belong to no user and have no e-mail address.

    Any number of tenants is fine: they are read and printed page by page. Exit code 0 also when there are none.
    """
    async with command_tenants() as services:
        found = services.tenants.each_with_email(
            after=after, limit=limit, state=None if state is None else TenantState(state)
        )
        if as_json:
            async for tenant, email in found:
                echo_json({**msgspec.to_builtins(tenant), "email": email})
            return EXIT_DONE
        await (_print_table(found) if sys.stdout.isatty() else _print_lines(found))
        counts = await services.tenants.counts()
    summary = ", ".join(f"{counts[each]} {each.value}" for each in TenantState if each in counts)
    click.echo(f"in all: {summary or 'no tenants yet'}", err=True)
    return EXIT_DONE


@tenants.command(
    epilog="""\b
Examples:
  freehold tenants create ada@example.com
  freehold tenants create --pending --dry-run
  freehold tenants create --pending
  freehold tenants create --pending --json | jq 'select(.state == "failed")'
"""
)
@click.argument("users", metavar="[USER]...", nargs=-1)
@click.option("--pending", is_flag=True, help="For every user whose database is not there yet.")
@click.option("--dry-run", is_flag=True, help="Say how many that are, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@async_command
async def create(users: tuple[str, ...], *, pending: bool, dry_run: bool, as_json: bool) -> int:
    """Make databases, without waiting for the service to do it.

    For a USER, by id or address, whose database was deleted, or who never had one: a new, empty one, at the newest
    version. `freehold tenants restore` fills it from an export, and makes one for itself where there is none. Tokens
    and address of the deleted one stay invalid. A user who has a database keeps it.

    With --pending, all that are due; users that another tool brought in get their tenant first. Each database is
    tried once; exit code 1 when one of them failed, and the service goes on trying. Safe to run twice, and beside a
    running service.
    """
    if pending == bool(users):
        raise click.UsageError("say which: USER, or --pending")
    if users:
        from freehold.cli.tenant_lifecycle import create_for

        return await create_for(users, dry_run=dry_run, as_json=as_json)
    async with command_tenants() as services:
        if dry_run:
            due, missing = await services.provisioner.count_due(), await services.tenants.count_missing()
            if as_json:
                echo_json({"due": due, "users_without_tenant": missing})
            else:
                click.echo(f"would make {due + missing} databases, {missing} for users without a tenant")
            return EXIT_DONE
        await services.tenants.add_missing()
        with _progress(await services.provisioner.count_due(), as_json=as_json) as on_end:
            outcomes = _Tally(on_end)
            failed = await services.provisioner.drain(outcomes)
        counts = await services.tenants.counts()
    waiting = sum(counts.get(state, 0) for state in UNPROVISIONED) - len(failed)
    click.echo(f"made {outcomes.made} databases, {len(failed)} failed", err=True)
    if waiting > 0:
        click.echo(f"{waiting} more wait for their next try, or another process has them in work", err=True)
    return EXIT_NO if failed else EXIT_DONE


class _Tally:
    """Counts the databases made, and passes each outcome on."""

    def __init__(self, on_end: Callable[[Outcome], None]) -> None:
        self.made = 0
        self._on_end = on_end

    def __call__(self, outcome: Outcome) -> None:
        self.made += outcome.error is None
        self._on_end(outcome)


@contextmanager
def _progress(total: int, *, as_json: bool) -> Iterator[Callable[[Outcome], None]]:
    """What to do with each outcome: JSON lines, a bar on a terminal, or else a line for each failure."""
    if as_json:
        yield _print_json
        return
    with progress("making databases", total) as bar:
        done = 0

        def advance(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            bar.reach(done)
            if outcome.error is not None:
                bar.say(_failure_line(outcome))

        yield advance


def _print_json(outcome: Outcome) -> None:
    tenant, error = outcome.tenant, outcome.error
    echo_json(
        {
            "tenant_id": tenant.tenant_id,
            "database_name": tenant.database_name,
            "state": (TenantState.FAILED if error else TenantState.READY).value,
            "schema_version": outcome.schema_version,
            "error": describe(error) if error else None,
        }
    )


def _failure_line(outcome: Outcome) -> str:
    return one_line(f"{outcome.tenant.tenant_id}: {describe(outcome.error)}") if outcome.error else ""


Listed = tuple[Tenant, str | None]


async def _print_lines(found: AsyncIterator[Listed]) -> None:
    click.echo("  ".join([*(f"{name:<{width}}" for name, width in _WIDTHS.items()), "error"]))
    async for tenant, email in found:
        cells = zip(_cells(tenant, email), [*_WIDTHS.values(), 0], strict=True)
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip())


async def _print_table(found: AsyncIterator[Listed]) -> None:
    """A table in parts: the columns' widths are fixed, so that the whole is never in memory."""
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
