"""A tenant's file as it is at one moment, in another file. Blocking; writers go on meanwhile."""

from pathlib import Path

import apsw

from freehold.errors import ProviderUnavailable
from freehold.providers.local.files import unavailable
from freehold.providers.sqlite.connection import identity_of


def copy_file(source: Path, destination: Path, *, for_reading: bool = False) -> None:
    """Copy the database at `source`, its log included. What is at `destination` is replaced.

    `for_reading`: the copy is one file that needs no other beside it, as people expect.

    Raises:
        NotFound: there is no database at `source`.
        ProviderUnavailable: the disk refuses, or the source is damaged.
    """
    identity_of(source)
    try:
        _copy(source, destination, for_reading=for_reading)
    except apsw.Error as error:
        identity_of(source)
        raise ProviderUnavailable(f"cannot copy a tenant's database: {error}") from error
    except OSError as error:
        raise unavailable("copy a tenant's database", error) from error


def _copy(source: Path, destination: Path, *, for_reading: bool) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        destination.with_name(destination.name + suffix).unlink(missing_ok=True)
    # The same library that the engine has the source open with: a second one would break its locks.
    original = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        copy = apsw.Connection(str(destination))
        try:
            with copy.backup("main", original, "main") as backup:
                while not backup.done:
                    backup.step(-1)  # all of it under one read lock, which stops no writer
            if for_reading:
                copy.execute("PRAGMA journal_mode = DELETE")
        finally:
            copy.close(True)
    finally:
        original.close(True)
