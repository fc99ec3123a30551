"""Brings the central database to the newest schema, safely with other processes starting at the same moment."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from freehold.central.engine import Central

_PACKAGED = Path(__file__).parent / "migrations"
_CHECKOUT = Path(__file__).parents[3] / "migrations"


async def upgrade_central(central: Central) -> None:
    """Apply what is missing, all in one transaction; a second process waits for the first and finds it done.

    Raises:
        CentralUnavailable: no answer, or the write lock was not free in time.
    """
    async with central.write() as db:
        await db.run_sync(_upgrade)


def migration_config(connection: Connection) -> Config:
    """Alembic's configuration on an open connection, wherever the package was installed from."""
    config = Config()
    config.set_main_option("script_location", str(_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(migration_config(connection), "head")
