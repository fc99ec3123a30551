"""One connection to one tenant's file, and what runs on it. For one worker thread at a time."""

import contextlib
import os
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
from msgspec import Struct

from freehold.errors import Forbidden, NotFound, ProviderUnavailable
from freehold.libsql.guard import RefusedSql, check_sql
from freehold.libsql.protocol import Col, StmtResult, Value
from freehold.providers.local.alarm import Alarm
from freehold.providers.local.failures import SqlFailure, failure_of, megabytes
from freehold.providers.local.rules import Authorizer, restrict
from freehold.providers.local.statements import Outline, is_blank, outline
from freehold.providers.local.values import Native, from_row

Bindings = Sequence[Native] | Mapping[str, Native]

# The binding's own marker for "prepare without values"; it uses it to describe queries.
_NO_BINDINGS: Any = apsw._null_bindings  # type: ignore[attr-defined]
_PAGE_BYTES = 4096
_CACHED_STATEMENTS = 32
_BUSY_LIMIT_S = 5.0
# The log may outgrow the database while a reader holds on to old pages; past this it is folded back in.
_LOG_TARGET_BYTES = 32_000_000
_BEGIN_WORDS = frozenset({"begin", "transaction", "deferred", "immediate", "exclusive", "readonly", ";"})


class Limits(Struct, frozen=True, kw_only=True):
    """What one tenant may use. Times in seconds, sizes in bytes."""

    statement_s: float = 5.0
    request_s: float = 30.0
    database_bytes: int = 512_000_000
    result_bytes: int = 10_000_000


class Budget:
    """How much may still go into one answer."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._left = limit_bytes

    def spend(self, size_bytes: int) -> None:
        """Count what goes into the answer.

        Raises:
            SqlFailure: it would be larger than the limit.
        """
        if size_bytes > self._left:
            raise SqlFailure(
                f"the answer would be larger than {megabytes(self._limit_bytes)}; ask for fewer rows at a time",
                "RESPONSE_TOO_LARGE",
            )
        self._left -= size_bytes


class Session:
    """An open connection under the rules. Between two users it is `reset`; if that fails it is closed."""

    def __init__(self, path: Path, limits: Limits, *, read_only: bool) -> None:
        """Open the database; it is never created.

        Raises:
            NotFound: no such file.
            ProviderUnavailable: the file cannot be opened.
        """
        self.path = path
        self.read_only = read_only
        self._limits = limits
        self._identity = _identity(path)
        self._authorizer = Authorizer(read_only=read_only)
        try:
            self._connection = self._open()
        except (apsw.Error, OSError) as error:
            _identity(path)
            raise ProviderUnavailable(f"cannot open a tenant's database: {error}") from error
        self._log_path = f"{path}-wal"
        self._in_read_transaction = False
        self.alarm = Alarm(self._connection.interrupt, limits.statement_s)

    def _open(self) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY if self.read_only else apsw.SQLITE_OPEN_READWRITE
        connection = apsw.Connection(str(self.path), flags=flags, statementcachesize=_CACHED_STATEMENTS)
        try:
            connection.set_busy_timeout(_busy_ms(self._limits))
            # Sorts and temporary results stay in memory, under the limit on all: no file but the tenant's own.
            connection.execute(
                "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1000; PRAGMA synchronous = FULL"
            )
            if not self.read_only:
                pages = max(self._limits.database_bytes // _PAGE_BYTES, 1)
                connection.execute(
                    f"PRAGMA max_page_count = {pages}; PRAGMA journal_size_limit = {_LOG_TARGET_BYTES}"
                )
            restrict(connection, self._authorizer)
        except BaseException:
            connection.close(True)
            raise
        return connection

    # What runs on it -------------------------------------------------------------------------------

    def execute(self, sql: str, bindings: Bindings, budget: Budget, *, want_rows: bool = True) -> StmtResult:
        """Run one statement.

        Raises:
            SqlFailure: it failed, in the words of SQLite or of our limits.
            Forbidden: it writes, and the token reads only.
            FreeholdError: the request was cancelled, or an argument cannot be used.
        """
        began = time.perf_counter()
        about = outline(sql)
        if about.verb == "begin":
            sql = self._begin(sql, about)
        run = _Run(self, sql, bindings, about)
        before = self._connection.total_changes()
        rows: list[list[Value]] = []
        try:
            with contextlib.closing(run.rows()) as found:
                for row in found:
                    if want_rows:
                        values, size = from_row(row)
                        budget.spend(size)
                        rows.append(values)
            run.succeed()
        except SqlFailure:
            run.fail()
            raise
        self._end_read_transaction()
        changed = about.is_change and self._connection.total_changes() != before
        return StmtResult(
            cols=run.columns,
            rows=rows,
            affected_row_count=self._connection.changes() if changed else 0,
            last_insert_rowid=str(self._connection.last_insert_rowid()) if about.is_insert else None,
            query_duration_ms=round((time.perf_counter() - began) * 1000, 3),
        )

    def run_all(self, sql: str) -> None:
        """Run statements separated by `;` up to the first error; what went before it stays.

        Raises:
            SqlFailure, Forbidden, FreeholdError: as `execute`.
        """
        run = _Run(self, sql, (), Outline(""), is_sequence=True)
        for _ in run.rows():
            pass
        self._end_read_transaction()

    def describe(self, sql: str) -> "Description":
        """Prepare one statement without running it.

        Raises:
            SqlFailure, FreeholdError: as `execute`.
        """
        run = _Run(self, sql, None, outline(sql), is_dry=True)
        for _ in run.rows():
            pass
        return Description(run.names, run.columns, run.is_explain, run.is_readonly)

    @property
    def is_autocommit(self) -> bool:
        """Whether no transaction is open."""
        return not self._connection.in_transaction

    def start_request(self, limits: Limits) -> None:
        """A request comes in; its limits count from now."""
        if limits is not self._limits:
            self._limits = limits
            self._connection.set_busy_timeout(_busy_ms(limits))
        self.alarm.start_request(limits.statement_s, limits.request_s)

    # Its life ----------------------------------------------------------------------------------------

    def check_file(self) -> bool:
        """Whether the file is still the one that was opened: another process may have deleted or replaced it.

        Raises:
            NotFound: the database is gone.
        """
        return _identity(self.path) == self._identity

    def reset(self) -> bool:
        """Make it as new for the next user; False means that it must be closed."""
        try:
            with self._authorizer.our_own():
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._end_read_transaction()
            if self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, -1) != 1:
                self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
            self._connection.set_last_insert_rowid(0)
            if not self.read_only and self.log_bytes() > _LOG_TARGET_BYTES:
                self._fold_log()
        except (apsw.Error, OSError):
            return False
        return not self._connection.in_transaction

    def close(self) -> None:
        """Close the connection. The last one on a database folds the log into the file."""
        self._connection.close(True)

    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        try:
            return os.stat(self._log_path).st_size  # noqa: PTH116 - hot path
        except OSError:
            return 0

    # Inside ------------------------------------------------------------------------------------------

    def _begin(self, sql: str, about: Outline) -> str:
        """libSQL's `BEGIN READONLY` in SQLite's words; and a reader's BEGIN never takes the write lock."""
        if not about.begin_words <= _BEGIN_WORDS:
            return sql
        if "readonly" in about.begin_words:
            if self.is_autocommit and not self.read_only:
                self._set_query_only(on=True)
                self._in_read_transaction = True
            return "BEGIN"
        return "BEGIN" if self.read_only else sql

    def _end_read_transaction(self) -> None:
        if self._in_read_transaction and self.is_autocommit:
            self._set_query_only(on=False)
            self._in_read_transaction = False

    def _set_query_only(self, *, on: bool) -> None:
        with self._authorizer.our_own():
            self._connection.execute(f"PRAGMA query_only = {int(on)}")

    def check_log(self) -> None:
        """Before a write: the log may not fill the disk, whatever transactions hold it.

        Raises:
            SqlFailure: it has reached its limit.
        """
        limit = self._limits.database_bytes + 2 * _LOG_TARGET_BYTES
        if self.log_bytes() <= limit:
            return
        if self.is_autocommit:
            self._fold_log()
            if self.log_bytes() <= limit:
                return
        raise SqlFailure(
            f"open transactions have written or hold more than {megabytes(limit)}; end them first",
            "SQLITE_FULL",
        )

    def _fold_log(self) -> None:
        """Write the log back into the file and empty it, unless someone still reads old pages."""
        self._connection.set_busy_timeout(0)
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            pass
        finally:
            self._connection.set_busy_timeout(_busy_ms(self._limits))

    def failure_of(self, error: Exception) -> Exception:
        """What to tell the client about an error of SQLite or of its binding."""
        if self._authorizer.write_was_refused or (self.read_only and isinstance(error, apsw.ReadOnlyError)):
            return Forbidden("the token allows reading only; ask for one with full access to write")
        if self._authorizer.refusal is not None:
            return SqlFailure(self._authorizer.refusal, "SQLITE_AUTH")
        if isinstance(error, apsw.InterruptError):
            return self.alarm.reason()
        if isinstance(error, apsw.FullError):
            return self._full()
        return failure_of(error)

    def _full(self) -> SqlFailure:
        disk = os.statvfs(self.path.parent)
        if disk.f_bavail * disk.f_frsize < 4 * _PAGE_BYTES:
            return SqlFailure("the server's disk is full; nothing was written", "SQLITE_FULL")
        limit = megabytes(self._limits.database_bytes)
        return SqlFailure(
            f"the database would grow over its limit of {limit}; delete data first", "SQLITE_FULL"
        )

    def start(self, sql: str) -> apsw.Cursor:
        """A cursor for the next statements, with all that is kept about the last ones forgotten."""
        try:
            check_sql(sql)
        except RefusedSql as error:
            raise SqlFailure(str(error), "SQLITE_AUTH") from error
        self._authorizer.forget()
        return self._connection.cursor()

    def run_ours(self, sql: str) -> None:
        """Run a statement of our own."""
        with self._authorizer.our_own():
            self._connection.execute(sql)


class Description(Struct, frozen=True):
    """What a statement is: parameter names without prefix, columns, kind."""

    names: tuple[str | None, ...]
    columns: tuple[Col, ...]
    is_explain: bool
    is_readonly: bool


_SAVE = "SAVEPOINT freehold_returning"
_KEEP = "RELEASE freehold_returning"
_UNDO = "ROLLBACK TO freehold_returning; RELEASE freehold_returning"


class _Run:
    """One statement (or a sequence) on its way through a cursor."""

    def __init__(
        self,
        session: Session,
        sql: str,
        bindings: Bindings | None,
        about: Outline,
        *,
        is_sequence: bool = False,
        is_dry: bool = False,
    ) -> None:
        self._session = session
        self._sql = sql
        self._bindings = bindings
        self._about = about
        self._is_sequence = is_sequence
        self._is_dry = is_dry
        self._is_first = True
        self._has_savepoint = False
        self.columns: tuple[Col, ...] = ()
        self.names: tuple[str | None, ...] = ()
        self.is_readonly = True
        self.is_explain = False

    def rows(self) -> Generator[Sequence[Native], None, None]:
        """Run it and give the rows; every error is one of ours."""
        cursor = self._session.start(self._sql)
        cursor.exec_trace = self._before_each
        alarm = self._session.alarm
        alarm.arm()
        try:
            bindings = _NO_BINDINGS if self._bindings is None else self._bindings or None
            cursor.execute(self._sql, bindings)
            yield from cursor
        except apsw.ExecTraceAbort:
            return
        except (apsw.Error, MemoryError, KeyError, UnicodeError) as error:
            raise self._session.failure_of(error) from error
        finally:
            alarm.disarm()
            cursor.close(True)

    def succeed(self) -> None:
        """Keep the changes of a statement with RETURNING."""
        if self._has_savepoint:
            try:
                self._session.run_ours(_KEEP)
            except apsw.Error as error:
                failure = self._session.failure_of(error)
                raise failure from error

    def fail(self) -> None:
        """Undo a statement with RETURNING whose rows could not be given: SQLite changes all before the first row."""
        if self._has_savepoint and not self._session.is_autocommit:
            self._session.run_ours(_UNDO)

    def _before_each(self, cursor: apsw.Cursor, text: str, _bindings: object) -> bool:
        """Called by the binding when a statement is prepared and bound, before its first step."""
        if self._is_sequence:
            if not self._is_first:
                self._session.alarm.disarm()
                self._session.alarm.arm()
            self._is_first = False
            if not cursor.is_readonly:
                self._session.check_log()
            return True
        if not self._is_first:
            return True  # a comment after the statement
        self._is_first = False
        self._look_at(cursor, text)
        if self._is_dry:
            return False
        if not self.is_readonly:
            self._session.check_log()
            if self.columns and self._about.is_change:
                self._session.run_ours(_SAVE)
                self._has_savepoint = True
        return True

    def _look_at(self, cursor: apsw.Cursor, text: str) -> None:
        if not cursor.has_vdbe:
            raise SqlFailure("the SQL holds no statement", "SQL_NO_STATEMENT")
        if len(text) < len(self._sql) and not is_blank(self._sql[len(text) :]):
            raise SqlFailure(
                "the SQL holds more than one statement; send them one by one", "SQL_MANY_STATEMENTS"
            )
        self.names = cursor.bindings_names
        if isinstance(self._bindings, Mapping) and not self._bindings.keys() <= set(self.names):
            unknown = sorted(self._bindings.keys() - set(self.names))
            raise SqlFailure(f"the statement has no parameter `{unknown[0]}`", "ARGS_INVALID")
        self.columns = tuple(Col(name, decltype) for name, decltype in cursor.get_description())
        self.is_readonly = cursor.is_readonly
        self.is_explain = cursor.is_explain != 0


def _busy_ms(limits: Limits) -> int:
    """How long to wait for a lock: less than a statement may take, so that the answer says what was wrong."""
    return int(min(limits.statement_s * 0.8, _BUSY_LIMIT_S) * 1000)


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - hot path
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"database `{path.stem}` does not exist") from error
    except OSError as error:
        raise ProviderUnavailable(f"cannot look for a tenant's database: {error.strerror}") from error
    return found.st_dev, found.st_ino
