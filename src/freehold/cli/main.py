"""The `freehold` command. Verbs are imported when they are called for, so that `--help` is quick."""

from typing import Any

import click

from freehold import __version__
from freehold.cli.lazy import LazyGroup

_VERBS = {
    "serve": ("freehold.cli.serve", "Run the service: auth, registry, databases."),
    "users": ("freehold.cli.users", "People who sign in."),
    "api-keys": ("freehold.cli.api_keys", "API keys, with scopes and limits that users cannot set."),
    "keys": ("freehold.cli.keys", "The keys that sign JWTs."),
    "registry": ("freehold.cli.registry", "Ordered migrations of the tenant databases."),
    "audit": ("freehold.cli.audit", "Who did what, and whether that record is whole."),
    "rollout": ("freehold.cli.rollout", "Bring the whole fleet to a version, in waves."),
    "central": ("freehold.cli.central", "The central database, moved to another place."),
    "tenants": ("freehold.cli.tenants", "Manage tenants' databases."),
    "sqld": ("freehold.cli.sqld", "The tenants' sqld, under supervision."),
    "dev": ("freehold.cli.dev", "Servers to develop against, with no account."),
}


class _Group(LazyGroup):
    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _VERBS.items()])


@click.command(
    cls=_Group,
    elsewhere={name: module for name, (module, _) in _VERBS.items()},
    epilog="Example: freehold serve; then open the address that it prints.",
)
@click.version_option(__version__, prog_name="freehold")
def cli() -> None:
    """A libSQL database of their own for every user of an app, each at the right schema version.

    Settings come from the environment and from `.env` in the working folder; see `.env.example`.
    Exit codes: 0 done, 1 the answer is no or some failed, 2 wrong use, 3 bad settings, 4 unreachable.
    """


def main(*args: Any) -> None:
    """Entry point of the console script."""
    cli(*args)
