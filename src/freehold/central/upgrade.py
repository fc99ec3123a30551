"""Upgrades the central database to the newest schema; several processes may do this at the same time."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from freehold.central.engine import Central

if TYPE_CHECKING:
    from alembic.config import Config

_PACKAGED = Path(__file__).parent / "migrations"
_CHECKOUT = Path(__file__).parents[3] / "migrations"


async def upgrade_central(central: Central) -> None:
    """Apply missing migrations in one transaction; a second process waits for the first and finds it done.

    Raises:
        CentralUnavailable: no answer, or the write lock was not free in time.
    """
    async with central.read() as db:
        if await db.run_sync(_is_newest):
            return
    async with central.write() as db:
        await db.run_sync(_upgrade)


def migration_config(connection: Connection) -> "Config":
    """Alembic's configuration on an open connection, wherever the package was installed from."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_folder()))
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str:
    """The number of the last migration, which is the prefix of its file's name."""
    return max(path.name for path in (_folder() / "versions").glob("[0-9]*_*.py")).split("_")[0]


def _folder() -> Path:
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def _is_newest(connection: Connection) -> bool:
    """Checked first and without Alembic, which is slow to load: most starts have nothing to upgrade."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return found == [newest_revision()]


def _upgrade(connection: Connection) -> None:
    from alembic import command

    command.upgrade(migration_config(connection), "head")
