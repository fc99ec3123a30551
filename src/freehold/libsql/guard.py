"""Refuses SQL that reaches outside the tenant's own database. Pure text: it fronts servers without an authorizer too.

What it stops was run against sqld 0.24: file functions, page access and extension loading are open to every token
there. It works on tokens, so quoting, comments and letter case do not hide a name, and a string that merely holds
such a word is data. The same text may define a view or a trigger; names inside those count alike.
"""

import functools
import itertools
import re
from collections.abc import Iterable
from typing import NamedTuple

from freehold.errors import Forbidden
from freehold.libsql.pragmas import pragma_fault
from freehold.libsql.tokens import Kind, Token, tokens

# Refused wherever they stand as an identifier. A table function needs no parentheses: `SELECT * FROM fsdir`.
NAMES = frozenset(
    {
        *("readfile", "writefile", "lsmode", "fsdir"),
        *("load_extension", "fts3_tokenizer"),
        *("sqlite_dbpage", "sqlite_dbdata", "sqlite_dbptr"),
        *("zipfile", "zipfile_cds"),
        *("fileio_ls", "fileio_read", "fileio_scan", "fileio_write", "fileio_append", "fileio_mkdir"),
        *("fileio_symlink", "fileio_mode"),
        *("csv_read", "unionvtab", "swarmvtab"),
        # Runs the text that it is given: `sha3_query('SELECT writefile(...)')` would pass a look at the text.
        "sha3_query",
        # Tells paths on the server's disk.
        "pragma_database_list",
        # Tells what others run on the same connection.
        "sqlite_stmt",
        # The encryption extension that sqld is built with, and the server's log.
        *("sqlite3mc_config", "sqlite3mc_codec_data", "sqlite_crypt", "sqlite_log"),
    }
)
# Also fair names for a column, so refused only where they are called.
CALLS = frozenset({"edit", "eval"})
# Modules for tables of one's own: none of these reads a file or looks into the process.
MODULES = ("fts5", "fts5vocab", "rtree", "rtree_i32", "geopoly")
STATEMENTS = frozenset({"attach", "detach", "vacuum"})

# No SQL without one of these words can break a rule, and most SQL has none: a few scans in C settle it.
_WATCHED = NAMES | CALLS | STATEMENTS
_WORDS = tuple(sorted(_WATCHED | {"pragma", "virtual"}))
# As a whole word, so that `credit` is not `edit`. A byte order mark is no part of a word that follows it.
_SUSPECT = re.compile(
    rf"(?<![A-Za-z0-9_$\x80-\ufefe\uff00-\U0010ffff])(?:{'|'.join(_WORDS)})(?![A-Za-z0-9_$\x80-\U0010ffff])"
)
_BEGIN = re.compile(r"begin\b(?s:.)*?(?:immediate|exclusive)", re.IGNORECASE)
# A call cannot follow these, a table's column list can.
_BEFORE_A_TABLE = frozenset({"table", "exists", "into", "references"})
_STARTS_TABLES = frozenset({"from", "join", "into", "update", "table", "using", "in"})
_ENDS_TABLES = frozenset(
    {"where", "group", "order", "having", "limit", "window", "set", "values", "select", "returning"}
)
_TURNS_TABLES = _ENDS_TABLES | {"from", "join"}
_BEFORE_A_VERB = frozenset({"", "explain", "plan"})
_CACHED_LENGTH = 4096


class RefusedSql(Forbidden):
    """SQL that no tenant may run, whatever the token allows."""

    code = "refused_sql"


def check_sql(sql: str) -> None:
    """Return if the text (one or more statements) stays inside its own database.

    Raises:
        RefusedSql: it says which word is refused and why.
    """
    reason = _cached_fault(sql) if len(sql) <= _CACHED_LENGTH else _fault(sql)
    if reason is not None:
        raise RefusedSql(reason)


def check_reading_sql(sql: str) -> None:
    """Return if no `BEGIN` in the text asks for the write lock at once: sqld grants it to a token for reading.

    Raises:
        RefusedSql: one does.
    """
    if _BEGIN.search(sql) is not None and _takes_write_lock(sql):
        raise RefusedSql("the token allows reading only; begin with BEGIN alone")


def _takes_write_lock(sql: str) -> bool:
    before = ""
    for kind, text in tokens(sql):
        if kind is Kind.WORD and before == "begin" and text in {"immediate", "exclusive"}:
            return True
        is_begin = kind is Kind.WORD and text == "begin" and before in _BEFORE_A_VERB
        before = "begin" if is_begin else "" if text == ";" else "other"
    return False


def _fault(sql: str) -> str | None:
    if "\0" in sql:
        return "SQL text ends at a NUL character; remove it"
    lowered = sql.lower()
    if any(word in lowered for word in _WORDS) and _SUSPECT.search(lowered):
        return find_fault(tokens(sql))
    return None


_cached_fault = functools.lru_cache(maxsize=2048)(_fault)


class _Suspect(NamedTuple):
    """A watched name, and what stood before it; what follows is not known yet."""

    kind: Kind
    name: str
    before: str
    is_table: bool
    statement: str


def find_fault(words: Iterable[Token]) -> str | None:
    """Why the tokens are refused, or None. One pass; a name is judged when the token after it is seen."""
    in_tables = [False]  # for each open parenthesis: whether a comma here leads to another table
    before = ""  # the token before, in lower case; "" where a statement starts
    statement = ""  # its first word, and `virtual` for a virtual table
    suspect: _Suspect | None = None
    pragma: list[Token] = []
    for kind, text in itertools.chain(words, [Token(Kind.OTHER, "")]):
        if suspect is not None:
            fault = _judge(suspect, is_call=kind is Kind.OTHER and text == "(")
            if fault is not None:
                return fault
            suspect = None
        if statement == "pragma":
            if kind is not Kind.OTHER or text not in {";", ""}:
                pragma.append(Token(kind, text))
                continue
            fault = pragma_fault(pragma)
            if fault is not None:
                return fault
            pragma, statement = [], ""
        if kind is Kind.OTHER:
            _follow(text, before, in_tables)
            before = "" if text == ";" else text
            continue
        if statement == "virtual" and before == "using" and text.lower() not in MODULES:
            return f"the table module `{text}` is not allowed; these are: {', '.join(MODULES)}"
        name = text if kind is Kind.WORD else text.lower()
        if name in _WATCHED and kind is not Kind.VARIABLE:
            is_table = before in _STARTS_TABLES or (in_tables[-1] and before in {",", "("})
            suspect = _Suspect(kind, name, before, is_table or before == ".", statement)
        elif kind is Kind.WORD and name in _TURNS_TABLES:
            in_tables[-1] = name in {"from", "join"}
        if kind is Kind.WORD and (before in _BEFORE_A_VERB or (name == "virtual" and before == "create")):
            statement = name
        before = name if kind is Kind.WORD else "name"  # a quoted word is never a keyword
    return None


def _follow(text: str, before: str, in_tables: list[bool]) -> None:
    if text == "(":
        in_tables.append(before in {"from", "join"} or (in_tables[-1] and before in {",", "("}))
    elif text == ")" and len(in_tables) > 1:
        in_tables.pop()
    elif text == ";":
        in_tables[:] = [False]


def _judge(suspect: _Suspect, *, is_call: bool) -> str | None:
    kind, name, before, is_table, statement = suspect
    if kind is Kind.WORD and name in STATEMENTS and before in _BEFORE_A_VERB:
        return f"{name.upper()} is not allowed: a database is one file of its own, and it is kept for you"
    # SQLite takes a string for a name where only a table or a module can stand, and full-text tables take one for
    # the table whose content they show.
    if kind is Kind.STRING and not (is_call or is_table or statement == "virtual"):
        return None
    if name in NAMES or (name in CALLS and is_call and before not in _BEFORE_A_TABLE):
        return f"`{name}` is not allowed: it reaches outside the database; rename it if it is your own"
    return None
