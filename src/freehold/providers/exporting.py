"""A database of a server as a file, by way of a copy that nobody writes to."""

from pathlib import Path

from freehold.migrate.copying import Copied, copy_database
from freehold.providers.sqlite.file_target import FileTarget
from freehold.tenants.ports import DatabaseProvider


async def export_fork(
    provider: DatabaseProvider, database_name: str, path: Path, scratch_name: str
) -> Copied:
    """Write the database as it is at one moment into a SQLite file; see `DatabaseProvider.export`."""
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
