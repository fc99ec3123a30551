"""What clients' SQL may do on a connection: an authorizer, limits and switches, each mostly sufficient on its own.

Nothing here trusts the text of the SQL: SQLite tells the authorizer what a statement would do, at every level of
views, triggers and table functions.
"""

import contextlib
from collections.abc import Iterator

import apsw

from freehold.profiles import Profile
from freehold.providers.failures import MAX_VALUE_BYTES
from freehold.sql.guard import MAX_LENGTH, MODULES, NAMES
from freehold.sql.pragmas import ABOUT, CHANGED, OF_ROWS, PRAGMAS, READ, is_harmless, not_allowed
from freehold.sql.profiles import OWN_PREFIX

_FUNCTIONS = NAMES | {"sqlite_log"}

_READS = frozenset(
    {*(apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE), *(apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT)}
)
_ROWS = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
_WRITES = _ROWS | frozenset(
    {
        *(apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_DROP_TABLE, apsw.SQLITE_ALTER_TABLE),
        *(apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_DROP_INDEX, apsw.SQLITE_REINDEX),
        *(apsw.SQLITE_CREATE_TRIGGER, apsw.SQLITE_DROP_TRIGGER),
        *(apsw.SQLITE_CREATE_VIEW, apsw.SQLITE_DROP_VIEW),
        *(apsw.SQLITE_CREATE_VTABLE, apsw.SQLITE_DROP_VTABLE),
    }
)
# ALTER TABLE ... RENAME also looks for temporary views and triggers. No client can name this table in an UPDATE of
# its own: the defensive switch refuses that.
_RENAMING = (apsw.SQLITE_UPDATE, "sqlite_temp_master")
_LIMITS = {
    apsw.SQLITE_LIMIT_ATTACHED: 0,
    apsw.SQLITE_LIMIT_LENGTH: MAX_VALUE_BYTES,
    apsw.SQLITE_LIMIT_SQL_LENGTH: MAX_LENGTH,
    apsw.SQLITE_LIMIT_COLUMN: 2000,
    apsw.SQLITE_LIMIT_EXPR_DEPTH: 1000,  # as sqld
    apsw.SQLITE_LIMIT_COMPOUND_SELECT: 500,
    apsw.SQLITE_LIMIT_VDBE_OP: 5_000_000,
    apsw.SQLITE_LIMIT_FUNCTION_ARG: 200,
    # LIKE cannot be interrupted, and its time is the product of the lengths of its text and its pattern.
    apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 250,
    apsw.SQLITE_LIMIT_PARSER_DEPTH: 2500,
    apsw.SQLITE_LIMIT_TRIGGER_DEPTH: 32,
    apsw.SQLITE_LIMIT_TRIGGER_STEPS: 10_000,
    apsw.SQLITE_LIMIT_VARIABLE_NUMBER: 32_766,
    apsw.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_SWITCHES = {
    apsw.SQLITE_DBCONFIG_ENABLE_FKEY: 1,  # as libSQL, unlike plain SQLite
    apsw.SQLITE_DBCONFIG_DEFENSIVE: 1,
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE: 0,
}


class Authorizer:
    """Answers SQLite's questions about one connection. `refusal` says why the last statement was refused.

    `profile` is that of the statements' token, None for Freehold's own. It is checked when a statement is prepared, so
    one prepared for someone else must not be reused.
    """

    def __init__(self, *, read_only: bool) -> None:
        self._read_only = read_only
        self._is_ours = False
        self.profile: Profile | None = "none"
        self.refusal: str | None = None
        self.write_was_refused = False
        self.defers = False  # foreign keys: it lasts until the next transaction ends, whoever's that is

    def forget(self) -> None:
        """Forget the last refusal, before each statement."""
        self.refusal = None
        self.write_was_refused = False

    @contextlib.contextmanager
    def our_own(self) -> Iterator[None]:
        """Allow the statements inside: they are ours, not a client's."""
        self._is_ours = True
        try:
            yield
        finally:
            self._is_ours = False

    def __call__(
        self, action: int, first: str | None, second: str | None, schema: str | None, _inside: str | None
    ) -> int:
        if self._is_ours or action in _READS:
            return apsw.SQLITE_OK
        reason = self._reason(action, first or "", second, schema)
        if reason is None:
            return apsw.SQLITE_OK
        self.refusal = reason
        return apsw.SQLITE_DENY

    def _reason(self, action: int, first: str, second: str | None, schema: str | None) -> str | None:
        if action == apsw.SQLITE_FUNCTION:
            name = (second or "").lower()
            return f"the function `{name}` is not allowed" if name in _FUNCTIONS else None
        if action == apsw.SQLITE_PRAGMA:
            return self._reason_of_pragma(first.lower(), second, schema)
        if action not in _WRITES:
            return f"{_words(action)} is not allowed"
        if schema == "temp" and (action, first) != _RENAMING:
            return "temporary tables are not allowed; use a common table expression or a table of your own"
        if action == apsw.SQLITE_CREATE_VTABLE and (second or "").lower() not in MODULES:
            return f"the table module `{second}` is not allowed; these are: {', '.join(MODULES)}"
        return self._refuse_write() if self._read_only else self._reason_of_profile(action, first, second)

    def _reason_of_profile(self, action: int, first: str, second: str | None) -> str | None:
        """Why the profile does not allow what the text could not show: triggers, and tables created beside others."""
        if self.profile is None:
            return None
        names = (first,) if action == apsw.SQLITE_UPDATE else (first, second or "")  # else the column's
        if any(name.lower().startswith(OWN_PREFIX) for name in names):
            return f"tables named `{OWN_PREFIX}…` are Freehold's own: nobody else writes there"
        if self.profile == "full" or (self.profile == "rows" and action in _ROWS):
            return None
        return f"{_words(action)} needs a token with another profile than `{self.profile}`"

    def _reason_of_pragma(  # noqa: PLR0911 - one for each kind
        self, name: str, argument: str | None, schema: str | None
    ) -> str | None:
        if name not in PRAGMAS or schema == "temp":
            return not_allowed(name)
        if argument is None or name in ABOUT:
            return None
        if is_harmless(name, argument):
            self.defers = self.defers or name == "defer_foreign_keys"
            return None
        if name in READ:
            return f"PRAGMA {name} can be read, not set"
        if name in OF_ROWS:
            return self._refuse_write() if self._read_only else None
        if name in CHANGED and self.profile not in {"full", None}:
            return f"PRAGMA {name} needs a token with the profile `full`"
        return None

    def _refuse_write(self) -> str:
        self.write_was_refused = True
        return "the token allows reading only"


def _words(action: int) -> str:
    """`SQLITE_CREATE_TEMP_TABLE` as `CREATE TEMP TABLE`."""
    name = str(apsw.mapping_authorizer_function.get(action, "this"))
    return name.removeprefix("SQLITE_").replace("_", " ")


def restrict(connection: apsw.Connection, authorizer: Authorizer) -> None:
    """Put a new connection under the rules, before any client's SQL."""
    for limit, value in _LIMITS.items():
        connection.limit(limit, value)
    for switch, on in _SWITCHES.items():
        connection.config(switch, on)
    connection.drop_modules(MODULES)  # all but these; the JSON functions are always there
    connection.authorizer = authorizer
