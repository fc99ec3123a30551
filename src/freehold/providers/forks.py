"""What providers share about copies of a database: exporting one, and refusing one of an earlier time."""

from pathlib import Path
from typing import NoReturn

from freehold.migrate.copying import Copied, copy_database
from freehold.providers.names import missing, taken
from freehold.providers.sqlite.file_target import FileTarget
from freehold.tenants.errors import NoPointInTime
from freehold.tenants.ports import DatabaseProvider


async def export_fork(provider: DatabaseProvider, database_name: str, path: Path, scratch_name: str) -> Copied:
    """Write the database as it is at one point in time into a SQLite file; see `DatabaseProvider.export`."""
    await provider.delete(scratch_name)
    await provider.fork(database_name, scratch_name)
    file = await FileTarget.create(path)
    try:
        copied = await copy_database(await provider.open(scratch_name), file)
    except BaseException:
        await file.close()
        raise
    await file.finish()
    return copied


async def refuse_fork_at(provider: DatabaseProvider, source_name: str, target_name: str) -> NoReturn:
    """The answer of providers that keep only the current state of a database.

    Raises:
        NotFound, Conflict, NoPointInTime: as for `DatabaseProvider.fork_at`.
    """
    if await provider.find(source_name) is None:
        raise missing(source_name)
    if await provider.find(target_name) is not None:
        raise taken(target_name)
    raise NoPointInTime(f"the provider `{provider.name}` keeps databases only as they are now; restore from an export")
