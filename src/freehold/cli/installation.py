"""Whether there is an installation where the settings look, for commands that only work on one that is there."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from freehold.errors import CentralUnavailable, Forbidden, NotFound, Unauthenticated, Unavailable
from freehold.libsql.errors import LibsqlError
from freehold.settings.fields import BadSettings, Settings

_DEV_SQLD = Path("sqld", "central.db")
_WHERE = "run this in the folder that the service runs in"


async def missing_central(settings: Settings) -> str | None:
    """Why there is no central database: which place was looked at, and which setting to set.

    None if it is there. Makes nothing.

    Raises:
        BadSettings: the place cannot be used at all.
        CentralUnavailable: nobody can say whether there is one.
    """
    from freehold.wiring.central import has_old_central

    path = settings.central_file
    if path is None:
        return await _missing_on_server(settings)
    if await asyncio.to_thread(_holds_central, path):
        return None
    if settings.tenant_provider == "sqld" and await has_old_central(settings, path):
        return None  # the first to open it moves it into the file
    return await asyncio.to_thread(_no_file, settings, path)


def other_installation(settings: Settings) -> Path | None:
    """The central database of a `freehold dev sqld` with the same DATA_DIR, where these settings lead to another."""
    path = dev_sqld_file(settings)
    return path if not settings.database_url and _holds_central(path, otherwise=False) else None


def dev_sqld_file(settings: Settings) -> Path:
    """Where `freehold dev sqld` has its central database."""
    return settings.data_dir.resolve() / _DEV_SQLD


async def _missing_on_server(settings: Settings) -> str | None:
    from freehold.central.moving.copy import has_central
    from freehold.wiring.central import existing_central_place

    place = await existing_central_place(settings)
    try:
        if place is not None:
            async with place.opened() as target:
                if await has_central(target):
                    return None
    except LibsqlError as error:
        raise BadSettings([f"DATABASE_URL: {error.explanation}"]) from error
    except (Unauthenticated, Forbidden) as error:
        raise BadSettings([f"DATABASE_AUTH_TOKEN: the server at DATABASE_URL does not take it ({error})"]) from error
    except NotFound as error:
        raise BadSettings([f"DATABASE_URL: {error}; make it there, or give another"]) from error
    except CentralUnavailable:
        raise
    except Unavailable as error:
        raise CentralUnavailable(f"the central database does not answer: {error}") from error
    return (
        "DATABASE_URL: no service has kept its central database there yet; give the URL that the service has,"
        " or start it with `freehold serve` first"
    )


def _no_file(settings: Settings, path: Path) -> str:
    if settings.database_url:
        return (
            f"DATABASE_URL: there is no central database in `{path.absolute()}`;"
            " give the file that the service has, or start it with `freehold serve` first"
        )
    folder = settings.data_dir.resolve()
    if _holds_central(dev_sqld_file(settings), otherwise=False):
        return (
            f"DATABASE_URL: `{folder}` is an installation of `freehold dev sqld`, which has its central database in"
            f' `{_DEV_SQLD}`; while it runs, say: eval "$(freehold dev sqld --print)"'
        )
    return (
        f"DATA_DIR: there is no installation in `{folder}`; {_WHERE}, or set DATA_DIR to the service's"
        " (`freehold serve` makes a new one)"
    )


def require_secret(settings: Settings) -> None:
    """Return if the service's secret is at hand: another one would be made for it. Blocks. Raises `BadSettings`."""
    keys = settings.data_dir.resolve() / "keys"
    try:
        is_there = bool(settings.better_auth_secret) or (keys / "auth-secret").exists()
    except OSError:
        return  # whoever opens the folder says why it cannot be looked at
    if not is_there:
        raise BadSettings(
            [f"BETTER_AUTH_SECRET: not set, and not in `{keys}`; set it, or DATA_DIR, as the service has them"]
        )


def _holds_central(path: Path, *, otherwise: bool = True) -> bool:
    """Whether the file is a central database, or `otherwise` if nobody can tell. Blocks, and never makes it."""
    try:
        if not path.is_file():
            return False
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'")
            return found.fetchone() is not None
    except (OSError, sqlite3.OperationalError):
        return otherwise  # locked, or not to be looked at: whoever opens it will say so
    except sqlite3.DatabaseError:
        return False
