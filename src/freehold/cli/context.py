"""What all commands share: settings, services, and one place that turns errors into exit codes.

What takes long to import is imported where it is used: `freehold --help` and the service's parent do without.
"""

import contextlib
import functools
import getpass
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, ParamSpec

import click
import msgspec
from dotenv import dotenv_values

from freehold.audit.origin import Origin, work_begins
from freehold.cli.output import one_line
from freehold.errors import CentralUnavailable, FreeholdError, Unavailable
from freehold.keys import BadKeyFile
from freehold.settings.fields import BadSettings, Settings
from freehold.settings.load import load_settings
from freehold.settings.load import variables as settings_variables

if TYPE_CHECKING:
    import asyncio

    from freehold.tenants.listing import TenantListing
    from freehold.wiring.services import Services
    from freehold.wiring.tenants import TenantServices

EXIT_DONE, EXIT_NO, EXIT_USAGE, EXIT_SETTINGS, EXIT_UNREACHABLE = 0, 1, 2, 3, 4

P = ParamSpec("P")


def async_command(verb: Callable[P, Awaitable[int | None]]) -> Callable[P, None]:
    """Run a coroutine as a command. It returns the exit code; a `FreeholdError` is printed and sets the code."""

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        import asyncio

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


def new_loop() -> "asyncio.AbstractEventLoop":
    """The event loop that commands run on: uvloop if it is installed."""
    try:
        import uvloop
    except ImportError:  # no wheel on Windows
        import asyncio

        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def fail(error: FreeholdError) -> int:
    """Print what went wrong on stderr, one line per fault, and return the exit code."""
    faults: list[str] = getattr(error, "faults", None) or [str(error)]
    for fault in faults:
        click.echo(f"{fault}{_central_reason(error)}", err=True)
    if isinstance(error, BadSettings | BadKeyFile):
        return EXIT_SETTINGS
    return EXIT_UNREACHABLE if isinstance(error, Unavailable) else EXIT_NO


def _central_reason(error: FreeholdError) -> str:
    """SQLite's message, e.g. that the disk is full: only operators can act on it."""
    if not isinstance(error, CentralUnavailable):
        return ""
    import sqlite3

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = cause.__cause__
    return f" ({one_line(str(cause))})" if cause is not None else ""


def command_settings(**variables: str) -> Settings:
    """Settings from `variables`, else from the environment, else from `.env` in the working directory."""
    dotenv = _dotenv(Path(".env"))
    _warn_of_misspelt(dotenv)
    return load_settings({**dotenv, **os.environ, **variables})


def _dotenv(path: Path) -> dict[str, str]:
    try:
        return {name: value for name, value in dotenv_values(path, encoding="utf-8-sig").items() if value}
    except UnicodeDecodeError as error:  # e.g. saved by a Windows editor, or by its `echo`
        raise BadSettings([f"`{path.absolute()}` is not UTF-8 text; save it as UTF-8"]) from error
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise BadSettings([f"`{path.absolute()}` cannot be read ({reason})"]) from error


_warned: set[str] = set()


def _warn_of_misspelt(dotenv: Mapping[str, str]) -> None:
    """Warn once of each misspelt setting, by name only: its value may be a secret."""
    from freehold.settings.names import misspelt

    known = settings_variables()
    found = [
        *((f".env: {name}", nearest) for name, nearest in misspelt(dotenv, known, is_own_file=True)),
        *misspelt([name for name in os.environ if name not in dotenv], known),
    ]
    for name, nearest in found:
        if name not in _warned:
            _warned.add(name)
            click.echo(one_line(f"warning: {name} is not a setting and changes nothing; {nearest} is"), err=True)


def registry_folder(given: Path | None) -> Path:
    """The folder of migrations that a command works on: `given`, else SCHEMA_REGISTRY. Blocking.

    Raises:
        BadSettings: SCHEMA_REGISTRY does not exist.
    """
    return given or require_registry(command_settings())


def require_registry(settings: Settings) -> Path:
    """The folder SCHEMA_REGISTRY. Blocking. Raises `BadSettings` if it does not exist."""
    if not settings.schema_registry.is_dir():
        raise BadSettings(
            [
                f"SCHEMA_REGISTRY: there is no folder `{settings.schema_registry.absolute()}`;"
                " set it to the folder of your migrations, or run this where that folder is"
            ]
        )
    return settings.schema_registry


Installation = Literal["there", "new", "aside"]


@asynccontextmanager
async def command_services(installation: Installation = "there") -> AsyncIterator["Services"]:
    """The services of `serve` without its background work; only warnings are logged.

    If there is no installation, the default, `there`, refuses: run in the wrong folder, a command would create an empty
    one and find nothing in it. `new` creates one and prints where. `aside`, for dry runs, prints that there is none and
    uses an empty temporary one.

    Raises:
        BadSettings: there is no installation; names the settings that say where it is.
    """
    async with _installation(installation) as found:
        from freehold.wiring.services import open_services

        async with open_services(found.settings, creates=found.is_missing or installation == "new") as services:
            if found.is_missing and found.is_new_folder:
                place = found.settings.data_dir.resolve()
                click.echo(f"a new installation was made in {place} (DATA_DIR)", err=True)
            yield services


@asynccontextmanager
async def command_tenants() -> AsyncIterator["TenantServices"]:
    """The tenants' services of an existing installation, for commands that need no others."""
    async with _installation("there") as found:
        from freehold.wiring.tenants import open_only_tenants

        async with open_only_tenants(found.settings, creates=False) as services:
            yield services


@asynccontextmanager
async def command_listing() -> AsyncIterator["TenantListing"]:
    """The list of tenants of an existing installation, for commands that need nothing else."""
    async with _installation("there") as found:
        from freehold.wiring.listing import open_listing

        async with open_listing(found.settings) as listing:
            yield listing


class _Found(NamedTuple):
    settings: Settings
    is_missing: bool
    is_new_folder: bool


@asynccontextmanager
async def _installation(wanted: Installation) -> AsyncIterator[_Found]:
    """Find the installation (see `command_services`), and set the operator as the actor of what follows."""
    settings = command_settings()
    import asyncio

    from freehold.cli.installation import missing_central, other_installation, require_secret
    from freehold.log import configure_logging

    work_begins(Origin(f"operator:{_login()}"))

    level = settings.log_level if settings.log_level != "info" else "warning"
    configure_logging(level, settings.log_format)
    missing = await missing_central(settings)
    if missing and wanted == "there":
        raise BadSettings([missing])
    if not missing and (wanted != "new" or settings.database_url):
        await asyncio.to_thread(require_secret, settings)
    if other := await asyncio.to_thread(other_installation, settings):
        click.echo(f"this is not `freehold dev sqld`, whose central database is {other}; see its --print", err=True)
    with contextlib.ExitStack() as stack:
        if missing and wanted == "aside":
            click.echo(missing, err=True)
            aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="freehold-")))
            settings = msgspec.structs.replace(settings, data_dir=aside, database_url="", tenant_provider="local")
        # Unlike Path.exists, this is False for an invalid name, which is reported when the folder is created.
        is_new_folder = not await asyncio.to_thread(os.path.exists, settings.data_dir)
        yield _Found(settings, missing is not None, is_new_folder)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user in a container may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone, unless --yes was given.

    Raises:
        UsageError: stdin is not a terminal.
        Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; use --yes")
    click.confirm(question, abort=True, err=True)
