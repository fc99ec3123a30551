"""What every verb shares: settings, services, and one place that turns errors into exit codes."""

import asyncio
import functools
import getpass
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click
import msgspec
from dotenv import dotenv_values

from freehold.audit.origin import Origin, work_begins
from freehold.errors import FreeholdError, Unavailable
from freehold.keys import BadKeyFile
from freehold.settings import BadSettings, Settings, load_settings

if TYPE_CHECKING:
    from freehold.bootstrap import Services

EXIT_DONE, EXIT_NO, EXIT_USAGE, EXIT_SETTINGS, EXIT_UNREACHABLE = 0, 1, 2, 3, 4

P = ParamSpec("P")


def async_command(verb: Callable[P, Awaitable[int | None]]) -> Callable[P, None]:
    """Run a coroutine as a verb. What it returns is the exit code; our errors become a line and a code."""

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> int:
            return await verb(*args, **kwargs) or EXIT_DONE

        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                code = runner.run(main())
        except FreeholdError as error:
            code = fail(error)
        except KeyboardInterrupt:
            code = 130
        sys.exit(code)

    return run


def new_loop() -> asyncio.AbstractEventLoop:
    """The event loop that commands run on, the quickest there is."""
    try:
        import uvloop
    except ImportError:  # no wheel on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def fail(error: FreeholdError) -> int:
    """Say on stderr what went wrong, a line for each fault; gives the exit code."""
    faults: list[str] = getattr(error, "faults", None) or [str(error)]
    for fault in faults:
        click.echo(fault, err=True)
    if isinstance(error, BadSettings | BadKeyFile):
        return EXIT_SETTINGS
    return EXIT_UNREACHABLE if isinstance(error, Unavailable) else EXIT_NO


def command_settings(**variables: str) -> Settings:
    """Settings from the environment, and from `.env` in the working folder for what is not set there.

    `variables` win over both.
    """
    dotenv = {name: value for name, value in dotenv_values(Path(".env")).items() if value}
    return load_settings({**dotenv, **os.environ, **variables})


@asynccontextmanager
async def command_services() -> AsyncIterator["Services"]:
    """The same services that `serve` has, without its background work; logs only warnings."""
    settings = command_settings()
    from freehold.bootstrap import open_services
    from freehold.log import configure_logging

    work_begins(Origin(f"operator:{_login()}"))

    level = settings.log_level if settings.log_level != "info" else "warning"
    configure_logging(level, settings.log_format)
    async with open_services(settings) as services:
        yield services


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def echo_json(record: object) -> None:
    """One object on one line of stdout, for `--json`."""
    click.echo(msgspec.json.encode(record))
