"""One connection to one tenant's file, and the statements that run on it. For one worker thread at a time."""

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import apsw

from freehold.libsql.protocol import StmtResult, Value
from freehold.profiles import Profile
from freehold.providers.failures import SqlFailure, code_of, failure_of, megabytes
from freehold.providers.sqlite.budget import Budget
from freehold.providers.sqlite.connection import (
    LOG_TARGET_BYTES,
    MARK,
    PAGE_BYTES,
    busy_ms,
    fold_log,
    identity_of,
    log_bytes,
    open_connection,
    write_back,
)
from freehold.providers.sqlite.limits import Limits
from freehold.providers.sqlite.rules import Authorizer
from freehold.providers.sqlite.run import Bindings, Description, Run
from freehold.providers.sqlite.schema import KnownSchema
from freehold.providers.sqlite.statement_timeout import LOOK_EVERY_STEPS, StatementTimeout
from freehold.providers.sqlite.values import from_row
from freehold.sql.guard import MAX_LENGTH, RefusedSql, check_sql, may_change_schema
from freehold.sql.inspection import in_our_words
from freehold.sql.profiles import is_beyond_rows, reading_only, refusal
from freehold.sql.statements import Outline, outline

_BEGIN_WORDS = frozenset({"begin", "transaction", "deferred", "immediate", "exclusive", "readonly", ";"})


class Session:
    """An open connection under the rules. It is `reset` between two users; if that fails it is closed."""

    def __init__(self, path: Path, limits: Limits, *, read_only: bool, is_shared: bool = False) -> None:
        """Open the database; it is never created. With `is_shared` clients use it too, one after another.

        Raises:
            NotFound: no such file.
            ProviderUnavailable: the file cannot be opened.
        """
        self.path = path
        self.name = path.stem  # of the database
        self.read_only = read_only
        self._is_shared = is_shared
        self._limits = limits
        self._identity = identity_of(path)
        self._mark = f"{path}{MARK}"
        self._authorizer = Authorizer(read_only=read_only)
        self._connection = open_connection(path, limits, self._authorizer, read_only=read_only)
        self._in_read_transaction = False
        self._began_at: float | None = None
        self._schema = KnownSchema(self._identity, self._connection)
        self.is_ours = False  # our own code runs now: it reads tables, and of the schema only their columns
        self.alarm = StatementTimeout(self._connection.interrupt, limits.statement_s)
        self._connection.set_progress_handler(self.alarm.take_turn, LOOK_EVERY_STEPS)

    @property
    def profile(self) -> Profile | None:
        """The profile of the current token; None for Freehold's own work, initially `none`."""
        return self._authorizer.profile

    @profile.setter
    def profile(self, profile: Profile | None) -> None:
        self._authorizer.profile = profile

    @contextlib.contextmanager
    def of_the_registry(self) -> Iterator[None]:
        """Allow the statements inside whatever the profile: they are exactly the registry's migrations."""
        profile, self.profile = self.profile, None
        try:
            yield
        finally:
            self.profile = profile

    def may_keep(self, sql: str) -> bool:
        """Whether the statement, as prepared now, may be reused by anyone who sends the same text."""
        return not (self._is_shared and self.profile is None) and not is_beyond_rows(sql)

    # What runs on it -------------------------------------------------------------------------------

    def execute(self, sql: str, bindings: Bindings, budget: Budget, *, want_rows: bool = True) -> StmtResult:
        """Run one statement.

        Raises:
            SqlFailure: it failed; the message is SQLite's or that of our limits.
            FreeholdError: the request was cancelled, or an argument is not usable.
        """
        began = time.perf_counter()
        about = outline(sql)
        if about.verb == "begin":
            sql = self._begin(sql, about)
        run = Run(self, sql, bindings, about)
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
            if about.verb == "begin":
                self._began_at = time.monotonic()
        except SqlFailure:
            run.fail()
            raise
        finally:
            self._settle()
        changed = about.is_change and self._connection.total_changes() != before
        return StmtResult(
            cols=run.columns,
            rows=rows,
            affected_row_count=self._connection.changes() if changed else 0,
            last_insert_rowid=str(self._connection.last_insert_rowid()) if about.is_insert else None,
            query_duration_ms=round((time.perf_counter() - began) * 1000, 3),
        )

    def perform(self, sql: str, bindings: Bindings) -> None:
        """Run a statement of our own code without returning rows: the same rules, but nothing is learned about it.

        It must be one statement with all its values.

        Raises:
            SqlFailure, FreeholdError: as `execute`.
        """
        _guard(sql)
        if may_change_schema(sql):
            self._judge(sql)
        if self.is_autocommit:  # otherwise that was checked when the transaction began
            self._check_open()
            self.check_log()
        self._authorizer.forget()
        self.alarm.arm()
        try:
            for _row in self._connection.execute(sql, bindings or None, can_cache=self.may_keep(sql)):
                pass
        except (apsw.Error, MemoryError, UnicodeError) as error:
            raise self.failure_of(error) from error
        finally:
            self.alarm.disarm()
            self._settle()

    def run_all(self, sql: str) -> None:
        """Run statements separated by `;` up to the first error; those before it keep their effect.

        Raises:
            SqlFailure, FreeholdError: as `execute`.
        """
        run = Run(self, sql, (), Outline(""), is_sequence=True)
        try:
            for _ in run.rows():
                pass
        finally:
            self._settle()

    def describe(self, sql: str) -> Description:
        """Prepare one statement without running it.

        Raises:
            SqlFailure, FreeholdError: as `execute`.
        """
        run = Run(self, sql, None, outline(sql), is_dry=True)
        for _ in run.rows():
            pass
        return Description(run.names, run.columns, run.is_explain, run.is_readonly)

    @property
    def is_autocommit(self) -> bool:
        """Whether no transaction is open."""
        return not self._connection.in_transaction

    @property
    def transaction_since(self) -> float:
        """When the open transaction began, as far as is known; never (infinity) without one."""
        if self.is_autocommit:
            self._began_at = None
            return math.inf
        if self._began_at is None:
            self._began_at = time.monotonic()
        return self._began_at

    def start_request(self, limits: Limits) -> None:
        """Start the limits of a new request."""
        if limits is not self._limits:
            self._limits = limits
            self._connection.set_busy_timeout(busy_ms(limits))
        self.alarm.start_request(limits.statement_s, limits.request_s, takes_turns=limits.takes_turns)

    # Lifecycle ---------------------------------------------------------------------------------------

    def check_file(self) -> bool:
        """Whether the file is still the one that was opened: another process may have deleted or replaced it.

        Raises:
            NotFound: the database is gone.
        """
        return identity_of(self.path) == self._identity

    def reset(self) -> bool:
        """Return it to its initial state for the next user; False means that it must be closed."""
        try:
            if self._connection.in_transaction:
                self.run_ours("ROLLBACK")
            self._settle()
            if self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, -1) != 1:
                self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
            if self._authorizer.defers:
                self.run_ours("PRAGMA defer_foreign_keys = OFF")
                self._authorizer.defers = False
            self._began_at = None
            self._connection.set_last_insert_rowid(0)
            if not self.read_only and log_bytes(self.path) > LOG_TARGET_BYTES:
                fold_log(self._connection, self._limits)
        except (apsw.Error, OSError):
            return False
        return not self._connection.in_transaction

    def close(self) -> None:
        """Close the connection. The last one to a database writes the log back into the file."""
        if not self.read_only:
            write_back(self._connection, self.path, self._limits)
        self._connection.close(True)
        self._schema.end_change()

    # Inside ------------------------------------------------------------------------------------------

    def _begin(self, sql: str, about: Outline) -> str:
        """BEGIN for SQLite, which does not know libSQL's `BEGIN READONLY`; a reader's never takes the write lock."""
        if not about.begin_words <= _BEGIN_WORDS:
            return sql
        if "readonly" in about.begin_words:
            if self.is_autocommit and not self.read_only:
                self._set_query_only(on=True)
                self._in_read_transaction = True
            return "BEGIN"
        return "BEGIN" if self.read_only else sql

    def _settle(self) -> None:
        """Clean up after a statement if it has ended a transaction."""
        if (self._in_read_transaction or self._schema.is_changing) and self.is_autocommit:
            self._schema.end_change()
            if self._in_read_transaction:
                self._set_query_only(on=False)
                self._in_read_transaction = False

    def _set_query_only(self, *, on: bool) -> None:
        with self._authorizer.our_own():
            self._connection.execute(f"PRAGMA query_only = {int(on)}")

    def check_log(self) -> None:
        """Check before a write that the log does not fill the disk, whatever transactions hold it.

        Raises:
            SqlFailure: the log has reached its limit.
        """
        limit = self._limits.database_bytes + 2 * LOG_TARGET_BYTES
        if log_bytes(self.path) <= limit:
            return
        if self.is_autocommit:
            fold_log(self._connection, self._limits)
            if log_bytes(self.path) <= limit:
                return
        raise SqlFailure(
            f"open transactions have written or hold more than {megabytes(limit)}; end them first", "SQLITE_FULL"
        )

    def failure_of(self, error: Exception) -> Exception:
        """The client's error for an error of SQLite or of its binding."""
        if self._authorizer.write_was_refused or (self.read_only and isinstance(error, apsw.ReadOnlyError)):
            refused = reading_only()
            return SqlFailure(str(refused), code_of(refused))
        if self._authorizer.refusal is not None:
            return SqlFailure(self._authorizer.refusal, "SQLITE_AUTH")
        if isinstance(error, apsw.InterruptError):
            return self.alarm.reason()
        if isinstance(error, apsw.FullError):
            return self._full()
        return failure_of(error)

    def _full(self) -> SqlFailure:
        disk = os.statvfs(self.path.parent)
        if disk.f_bavail * disk.f_frsize < 4 * PAGE_BYTES:
            return SqlFailure("the server's disk is full; nothing was written", "SQLITE_FULL")
        limit = megabytes(self._limits.database_bytes)
        return SqlFailure(f"the database would grow over its limit of {limit}; delete data first", "SQLITE_FULL")

    def start(self, sql: str) -> tuple[apsw.Cursor, str]:
        """A cursor for the next statements, after forgetting the last ones, and the SQL to run on it: the text, or one
        with the same answer that expands no view that is too large."""
        _guard(sql)
        self._require_profile(sql)
        self._check_open()
        sql = sql if self.is_ours else in_our_words(sql)
        self._judge(sql)
        instead = sql if self.is_ours else self._answerable(sql)
        self._authorizer.forget()
        return self._connection.cursor(), instead

    def _answerable(self, sql: str) -> str:
        try:
            return self._schema.answerable(sql)
        except RefusedSql as error:
            raise SqlFailure(str(error), "SQLITE_AUTH") from error

    def _require_profile(self, sql: str) -> None:
        """Raise if the token's profile is too narrow."""
        error = None if self.profile is None else refusal(sql, self.profile)
        if error is not None:
            raise SqlFailure(str(error), code_of(error))

    def _judge(self, sql: str) -> None:
        """Raise if the schema makes the statement too large to be prepared by SQLite."""
        try:
            self._schema.judge(sql, is_autocommit=self.is_autocommit, is_ours=self.is_ours, asking=self._asking)
        except RefusedSql as error:
            raise SqlFailure(str(error), "SQLITE_AUTH") from error

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        self.alarm.arm()
        try:
            with self._authorizer.our_own():
                yield
        except (apsw.Error, MemoryError) as error:
            raise self.failure_of(error) from error
        finally:
            self.alarm.disarm()

    def _check_open(self) -> None:
        """Raise if the database is suspended. Any process may do that at any time, so each statement checks: 2 µs."""
        if os.path.exists(self._mark):  # noqa: PTH110 - hot path
            with contextlib.suppress(OSError):
                reason = Path(self._mark).read_text()
                raise SqlFailure(f"the database is suspended{reason and ': '}{reason}", "BLOCKED")

    def run_ours(self, sql: str) -> None:
        """Run a statement of our own."""
        with self._authorizer.our_own():
            self._connection.execute(sql)


def _guard(sql: str) -> None:
    try:
        check_sql(sql)
    except RefusedSql as error:
        code = "SQLITE_TOOBIG" if len(sql) > MAX_LENGTH else "SQLITE_AUTH"
        raise SqlFailure(str(error), code) from error
