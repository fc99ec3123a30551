"""Opens a tenant's file, and maintains the file and its write-ahead log. Blocks."""

import contextlib
import os
from pathlib import Path

import apsw

from freehold.errors import ProviderUnavailable
from freehold.providers.names import missing
from freehold.providers.sqlite.limits import Limits
from freehold.providers.sqlite.rules import Authorizer, restrict

# The log may outgrow the database while a reader holds old pages; above this size it is checkpointed.
LOG_TARGET_BYTES = 32_000_000
PAGE_BYTES = 4096
# A file of this name beside the database holds the reason why it is suspended.
MARK = "-suspended"
_LARGE_LOG_BYTES = 1_000_000
_CACHED_STATEMENTS = 32
_BUSY_LIMIT_S = 5.0


def open_connection(path: Path, limits: Limits, authorizer: Authorizer, *, read_only: bool) -> apsw.Connection:
    """Open a connection under the rules. The file must exist.

    Raises:
        NotFound: no such file.
        ProviderUnavailable: it cannot be opened.
    """
    try:
        return _open(path, limits, authorizer, read_only=read_only)
    except (apsw.Error, OSError) as error:
        identity_of(path)
        raise ProviderUnavailable(f"cannot open a tenant's database: {error}") from error


def _open(path: Path, limits: Limits, authorizer: Authorizer, *, read_only: bool) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=_CACHED_STATEMENTS)
    try:
        connection.set_busy_timeout(busy_ms(limits))
        # Sorts and temporary results stay in memory, under the overall limit: no file but the tenant's own.
        connection.execute("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1000; PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cell_size_check = ON")  # a damaged file is found out before it is followed
        if not read_only:
            pages = max(limits.database_bytes // PAGE_BYTES, 1)
            # Each by itself: the binding stops at the first row, and these have one.
            connection.execute(f"PRAGMA max_page_count = {pages}")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_TARGET_BYTES}")
        restrict(connection, authorizer)
    except BaseException:
        connection.close(True)
        raise
    return connection


def log_bytes(path: Path) -> int:
    """Size of the database's write-ahead log."""
    try:
        return os.stat(f"{path}-wal").st_size  # noqa: PTH116 - hot path
    except OSError:
        return 0


def fold_log(connection: apsw.Connection, limits: Limits) -> None:
    """Write the log back into the file and empty it, unless a reader still uses old pages."""
    connection.set_busy_timeout(0)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        pass
    finally:
        connection.set_busy_timeout(busy_ms(limits))


def write_back(connection: apsw.Connection, path: Path, limits: Limits) -> None:
    """Write the log back into the file before `connection` is closed.

    Closing would do it, but the binding holds the interpreter lock meanwhile: all others would wait for the disk.
    """
    size = log_bytes(path)
    if not size:
        return
    with contextlib.suppress(apsw.Error):  # others use it; the last of them will do it
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if size > _LARGE_LOG_BYTES:  # removing it takes a while, too
            fold_log(connection, limits)
        else:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def busy_ms(limits: Limits) -> int:
    """How long to wait for a lock: less than a statement's limit, so that the error names the lock."""
    return int(min(limits.statement_s * 0.8, _BUSY_LIMIT_S) * 1000)


def identity_of(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - hot path
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(path.stem) from error
    except OSError as error:
        raise ProviderUnavailable(f"cannot look for a tenant's database: {error.strerror}") from error
    return found.st_dev, found.st_ino


def mark_of(path: Path) -> Path:
    """The file that exists while this database is suspended."""
    return path.with_name(path.name + MARK)


def _empty_database() -> bytes:
    """One page: the header of a database without tables, in write-ahead log mode, and an empty schema table.

    Source: https://www.sqlite.org/fileformat2.html, sections 1.3 and 1.6.
    """
    header = bytearray(b"SQLite format 3\0")
    header += PAGE_BYTES.to_bytes(2, "big")
    header += bytes([2, 2, 0, 64, 32, 32])  # write-ahead log for writing and reading; fixed payload fractions
    header += (1).to_bytes(4, "big") * 2  # change counter; size in pages
    header += bytes(8)  # no free pages
    header += bytes(4)  # schema cookie
    header += (4).to_bytes(4, "big")  # schema format
    header += bytes(8)  # default cache size; no automatic vacuum
    header += (1).to_bytes(4, "big")  # UTF-8
    header += bytes(92 - len(header))
    header += (1).to_bytes(4, "big")  # the change counter that the version below belongs to
    header += (3045001).to_bytes(4, "big")
    empty_leaf = bytes([13, 0, 0, 0, 0]) + PAGE_BYTES.to_bytes(2, "big") + bytes(1)
    page = bytes(header) + empty_leaf
    return page + bytes(PAGE_BYTES - len(page))


EMPTY_DATABASE = _empty_database()
