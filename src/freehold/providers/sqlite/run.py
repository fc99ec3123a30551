"""Runs one statement, or a sequence of them, in SQLite."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

import apsw
from msgspec import Struct

from freehold.libsql.protocol import Col
from freehold.providers.failures import SqlFailure
from freehold.providers.sqlite.statement_timeout import StatementTimeout
from freehold.providers.sqlite.values import Native
from freehold.sql.statements import Outline, is_blank

Bindings = Sequence[Native] | Mapping[str, Native]

# The binding's own marker for "prepare without values"; it uses it to describe queries.
_NO_BINDINGS: Any = apsw._null_bindings  # type: ignore[attr-defined]
_SAVE = "SAVEPOINT freehold_returning"
_KEEP = "RELEASE freehold_returning"
_UNDO = "ROLLBACK TO freehold_returning; RELEASE freehold_returning"


class Description(Struct, frozen=True):
    """What a statement is: parameter names without prefix, columns, kind."""

    names: tuple[str | None, ...]
    columns: tuple[Col, ...]
    is_explain: bool
    is_readonly: bool


class Runner(Protocol):
    """What a run needs from its session."""

    @property
    def alarm(self) -> StatementTimeout: ...
    @property
    def is_autocommit(self) -> bool: ...
    def start(self, sql: str) -> tuple[apsw.Cursor, str]: ...
    def may_keep(self, sql: str) -> bool: ...
    def failure_of(self, error: Exception) -> Exception: ...
    def run_ours(self, sql: str) -> None: ...
    def check_log(self) -> None: ...


class Run:
    """One statement (or a sequence) that runs on a cursor."""

    def __init__(
        self,
        session: Runner,
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
        """Run it and yield the rows; every error is one of ours."""
        cursor, self._sql = self._session.start(self._sql)
        cursor.exec_trace = self._before_each
        alarm = self._session.alarm
        alarm.arm()
        try:
            bindings = _NO_BINDINGS if self._bindings is None else self._bindings or None
            # A PRAGMA may act while it is prepared, so a prepared one must not be reused.
            is_alone = not self._is_sequence and self._about.verb != "pragma"
            can_cache = is_alone and self._session.may_keep(self._sql)
            cursor.execute(self._sql, bindings, can_cache=can_cache)
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
        """Undo a statement with RETURNING whose rows could not be returned: SQLite changes all before the first row."""
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
            raise SqlFailure("the SQL holds more than one statement; send them one by one", "SQL_MANY_STATEMENTS")
        self.names = cursor.bindings_names
        if isinstance(self._bindings, Mapping) and not self._bindings.keys() <= set(self.names):
            unknown = sorted(self._bindings.keys() - set(self.names))
            raise SqlFailure(f"the statement has no parameter `{unknown[0]}`", "ARGS_INVALID")
        self.columns = tuple(Col(name, decltype) for name, decltype in cursor.get_description())
        self.is_readonly = cursor.is_readonly
        self.is_explain = cursor.is_explain != 0
