"""The `freehold` command. Its subcommands are imported when they are called, so that `--help` is fast."""

from typing import Any

import click

from freehold import __version__
from freehold.cli.lazy import LazyGroup

_VERBS = {
    "serve": ("freehold.cli.serve", "Run the service: auth, registry, databases."),
    "users": ("freehold.cli.users", "Manage the people who sign in."),
    "api-keys": ("freehold.cli.api_keys", "Manage API keys, with scopes and limits that users cannot set."),
    "keys": ("freehold.cli.keys", "Show and rotate the keys that sign JWTs."),
    "registry": ("freehold.cli.registry", "Write, check, sign and publish migrations."),
    "audit": ("freehold.cli.audit", "Show who did what, and check that the record is intact."),
    "rollout": ("freehold.cli.rollout", "Migrate all tenants to a version, in waves."),
    "central": ("freehold.cli.central", "Move the central database to another place."),
    "tenants": ("freehold.cli.tenants", "Manage tenants' databases."),
    "sqld": ("freehold.cli.sqld", "Run the tenants' sqld, and restart it when it ends."),
    "dev": ("freehold.cli.dev", "Start servers to develop against, with no account."),
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
    """Give every user of an app their own libSQL database, at the right schema version.

    Settings come from the environment and from `.env` in the working directory; see `.env.example`. Exit codes: 0
    success, 1 negative result or some failed, 2 wrong usage, 3 invalid settings, 4 unreachable.
    """


def main(*args: Any) -> None:
    """Entry point of the console script."""
    cli(*args)
