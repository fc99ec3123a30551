"""Tenant databases on disk, created and deleted as a whole. Everything here blocks: call it in a thread."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from freehold.errors import ProviderUnavailable
from freehold.providers.names import check_name, is_name
from freehold.providers.sqlite.connection import EMPTY_DATABASE, MARK, identity_of, mark_of


@functools.lru_cache(maxsize=4096)
def _path(root: Path, database_name: str) -> Path:
    digest = hashlib.sha256(check_name(database_name).encode()).hexdigest()
    return Path(f"{root}/{digest[:2]}/{digest[2:4]}/{database_name}.db")


@dataclass(frozen=True, slots=True)
class TenantFiles:
    """The database files below `root`, in two levels of folders so that no folder gets too many entries.

    A database exists if and only if its file does. Creating and deleting hold one lock across all processes, so that
    a new database never picks up the write-ahead log of a deleted one.
    """

    root: Path

    def path_of(self, database_name: str) -> Path:
        """Where the database is or would be."""
        return _path(self.root, database_name)

    def exists(self, database_name: str) -> bool:
        """Whether there is such a database.

        Raises:
            ProviderUnavailable: the disk cannot be read.
        """
        try:
            return self.path_of(database_name).is_file()
        except OSError as error:
            raise unavailable("look for a database", error) from error

    def create(self, database_name: str, content: bytes | None = None) -> None:
        """Create a database, empty or with this content, unless it exists. It is synced to disk when this returns.

        Raises:
            ProviderUnavailable: the folder cannot be written or the disk is full.
        """
        path = self.path_of(database_name)
        try:
            if path.is_file():
                return
            self._make_folder(path.parent)
            with self._draft(content or EMPTY_DATABASE) as draft, self._lock():
                if path.is_file():
                    return
                _remove_traces(path)  # of a deletion that was killed halfway
                os.link(draft, path)
            _sync_folder(path.parent)
        except OSError as error:
            raise unavailable("create a database", error) from error

    def adopt(self, database_name: str, path: Path) -> bool:
        """Turn a complete file in `draft_folder` into a database; False if there is one of that name.

        Raises:
            ProviderUnavailable: the disk refuses.
        """
        target = self.path_of(database_name)
        try:
            self._make_folder(target.parent)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            with self._lock():
                if target.is_file():
                    return False
                _remove_traces(target)
                os.link(path, target)
            path.unlink()
            _sync_folder(target.parent)
        except OSError as error:
            raise unavailable("create a database", error) from error
        return True

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """A path for a file to be adopted; a file that is still there at the end is removed.

        Raises:
            ProviderUnavailable: the disk refuses.
        """
        try:
            with self._draft(b"") as draft:
                yield draft
        except OSError as error:
            raise unavailable("create a database", error) from error

    def suspend(self, database_name: str, reason: str) -> bool:
        """Set the mark that all processes check before each statement; False if there is no such database.

        Raises:
            ProviderUnavailable: the disk refuses.
        """
        path = self.path_of(database_name)
        mark = mark_of(path)
        try:
            if not path.is_file():
                return False
            with self._lock():
                if not path.is_file():
                    return False
                with mark.open("w") as file:
                    file.write(reason)
                    file.flush()
                    os.fsync(file.fileno())
            _sync_folder(path.parent)
        except OSError as error:
            raise unavailable("suspend a database", error) from error
        return True

    def resume(self, database_name: str) -> bool:
        """Remove the mark; False if there is no such database.

        Raises:
            ProviderUnavailable: the disk refuses.
        """
        path = self.path_of(database_name)
        try:
            if not path.is_file():
                return False
            mark_of(path).unlink(missing_ok=True)
            _sync_folder(path.parent)
        except OSError as error:
            raise unavailable("resume a database", error) from error
        return True

    def is_suspended(self, database_name: str) -> bool:
        """Whether the mark is set."""
        return mark_of(self.path_of(database_name)).exists()

    def delete(self, database_name: str) -> None:
        """Remove the database, its logs and its mark, if it exists. This process may have no connection to it open.

        Raises:
            ProviderUnavailable: the disk refuses.
        """
        path = self.path_of(database_name)
        try:
            if not path.parent.is_dir():
                return
            with self._lock():
                path.unlink(missing_ok=True)
                _remove_traces(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise unavailable("delete a database", error) from error

    def pages(self) -> Iterator[list[str]]:
        """The names of all databases, one folder at a time.

        Raises:
            ProviderUnavailable: the disk fails.
        """
        try:
            if not self.root.is_dir():
                return
            for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
                yield [path.stem for path in folder.glob("*/*.db") if self._is_database(path)]
        except OSError as error:
            raise unavailable("list the databases", error) from error

    def _is_database(self, path: Path) -> bool:
        return is_name(path.stem) and path == self.path_of(path.stem)

    def identity(self) -> tuple[int, int] | None:
        """What identifies the root folder, or None if it does not exist."""
        try:
            found = self.root.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def check(self) -> None:
        """Return if a database could be created now; also removes what a crash left behind.

        Raises:
            ProviderUnavailable: the message says why not.
        """
        try:
            self._make_folder(self.root)
            with self._draft(EMPTY_DATABASE):
                self._sweep_drafts()
        except OSError as error:
            raise unavailable("write tenant databases", error) from error

    @contextlib.contextmanager
    def _draft(self, content: bytes) -> Iterator[Path]:
        """A database file under a temporary name, written and synced; removed at the end."""
        folder = self.root / ".drafts"
        self._make_folder(folder)
        draft = folder / secrets.token_hex(16)
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # held while the file is in use; the lock of a killed process is free
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                yield draft
        finally:
            draft.unlink(missing_ok=True)

    def _sweep_drafts(self) -> None:
        """Remove unlocked drafts. A process that loses one before it locks it fails with an error that is retried."""
        for draft in (self.root / ".drafts").iterdir():
            with contextlib.suppress(FileNotFoundError, BlockingIOError), draft.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make_folder(self, folder: Path) -> None:
        """Create the folder and its parents, each synced to disk before its content."""
        if folder.is_dir():
            return
        if folder.parent != folder:
            self._make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the place of the folder", str(folder))
        _sync_folder(folder.parent)


def unavailable(doing: str, error: OSError) -> ProviderUnavailable:
    """The error for a failure of the disk; operators read in it what failed, where and why."""
    where = f" ({error.filename})" if error.filename else ""
    return ProviderUnavailable(f"cannot {doing}: {error.strerror or error}{where}")


def _remove_traces(path: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal", MARK):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: Path, destination: Path, *, for_reading: bool = False) -> None:
    """Copy the database at `source` as it is now, its log included; writers go on. `destination` is replaced.

    With `for_reading` the copy is a single file that needs no other beside it, as people expect.

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
    # With the same library that the engine has opened the source with: a second one would break its locks.
    original = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        copy = apsw.Connection(str(destination))
        try:
            with copy.backup("main", original, "main") as backup:
                while not backup.done:
                    backup.step(-1)  # all pages under one read lock, which blocks no writer
            if for_reading:
                copy.execute("PRAGMA journal_mode = DELETE")
        finally:
            copy.close(True)
    finally:
        original.close(True)
