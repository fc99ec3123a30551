"""Check whether the settings point to an existing installation, for commands that must not create one."""

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
    """None if the central database exists, else where it was expected and which setting to set. Creates nothing.

    Raises:
        BadSettings: the place cannot be used at all.
        CentralUnavailable: there is no telling whether it exists.
    """
    from freehold.wiring.central import has_old_central

    path = settings.central_file
    if path is None:
        return await _missing_on_server(settings)
    if await asyncio.to_thread(_holds_central, path):
        return None
    if settings.tenant_provider == "sqld" and await has_old_central(settings, path):
        return None  # the first process to open it moves it into the file
    return await asyncio.to_thread(_no_file, settings, path)


def other_installation(settings: Settings) -> Path | None:
    """The central database of a `freehold dev sqld` in the same DATA_DIR, if these settings do not point to it."""
    path = dev_sqld_file(settings)
    return path if not settings.database_url and _holds_central(path, otherwise=False) else None


def dev_sqld_file(settings: Settings) -> Path:
    """The path of the central database of `freehold dev sqld`."""
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
        raise BadSettings([f"DATABASE_AUTH_TOKEN: the server at DATABASE_URL does not accept it ({error})"]) from error
    except NotFound as error:
        raise BadSettings([f"DATABASE_URL: {error}; create it there, or set another URL"]) from error
    except CentralUnavailable:
        raise
    except Unavailable as error:
        raise CentralUnavailable(f"the central database does not answer: {error}") from error
    return (
        "DATABASE_URL: there is no central database there yet; set the URL that the service uses,"
        " or start it with `freehold serve` first"
    )


def _no_file(settings: Settings, path: Path) -> str:
    if settings.database_url:
        return (
            f"DATABASE_URL: there is no central database in `{path.absolute()}`;"
            " set the file that the service uses, or start it with `freehold serve` first"
        )
    folder = settings.data_dir.resolve()
    if _holds_central(dev_sqld_file(settings), otherwise=False):
        return (
            f"DATABASE_URL: `{folder}` is an installation of `freehold dev sqld`, which has its central database in"
            f' `{_DEV_SQLD}`; while it is running, run: eval "$(freehold dev sqld --print)"'
        )
    return (
        f"DATA_DIR: there is no installation in `{folder}`; {_WHERE}, or set DATA_DIR to the service's"
        " (`freehold serve` makes a new one)"
    )


def require_secret(settings: Settings) -> None:
    """Raise `BadSettings` if the service's secret is missing: opening the services would create another. Blocking."""
    keys = settings.data_dir.resolve() / "keys"
    try:
        is_there = bool(settings.better_auth_secret) or (keys / "auth-secret").exists()
    except OSError:
        return  # reported with its reason when the folder is opened
    if not is_there:
        raise BadSettings([f"BETTER_AUTH_SECRET: not set, and not in `{keys}`; set it or DATA_DIR to the service's"])


def _holds_central(path: Path, *, otherwise: bool = True) -> bool:
    """Whether the file is a central database, or `otherwise` if it cannot be read. Blocking; never creates it."""
    try:
        if not path.is_file():
            return False
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'")
            return found.fetchone() is not None
    except (OSError, sqlite3.OperationalError):
        return otherwise  # locked or unreadable: reported when it is opened
    except sqlite3.DatabaseError:
        return False
