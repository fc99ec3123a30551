"""Refuses SQL that reaches outside the tenant's own database. Pure text: it fronts servers without an authorizer too.

What it stops was run against sqld 0.24: file functions, page access and extension loading are open to every token
there. It works on tokens, so quoting, comments and letter case do not hide a name, and a string that merely holds
such a word is data. The same text may define a view or a trigger; names inside those count alike.
"""

import functools
import re
from collections.abc import Iterable

from freehold.errors import Forbidden
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
    }
)
# Also fair names for a column, so refused only where they are called.
CALLS = frozenset({"edit", "eval"})
# Modules that read files; fair names elsewhere.
MODULES = frozenset({"csv", "vsv", "dbstat"})
STATEMENTS = frozenset({"attach", "detach", "vacuum"})

# No SQL without one of these words can break a rule, and most SQL has none: one scan in C settles it.
_SUSPECT = re.compile(
    "|".join(sorted(NAMES | CALLS | MODULES | STATEMENTS)) + "|\0", re.IGNORECASE | re.ASCII
)
# A call cannot follow these, a table's column list can.
_BEFORE_A_TABLE = frozenset({"table", "exists", "into", "references"})
_STARTS_TABLES = frozenset({"from", "join", "into", "update", "table", "using", "in"})
_ENDS_TABLES = frozenset(
    {"where", "group", "order", "having", "limit", "window", "set", "values", "select", "returning"}
)
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


def _fault(sql: str) -> str | None:
    return find_fault(tokens(sql)) if _SUSPECT.search(sql) else None


_cached_fault = functools.lru_cache(maxsize=2048)(_fault)


def find_fault(words: Iterable[Token]) -> str | None:
    """Why the tokens are refused, or None. One pass with one token of look-ahead."""
    tables = _TableNames()
    before = ""  # the token before, in lower case; "" where a statement starts
    current: Token | None = None
    for following in (*words, Token(Kind.OTHER, "")):
        if current is not None:
            fault = _fault_of(current, before, following, tables)
            if fault is not None:
                return fault
            tables.see(current, before)
            before = _key(current)
        current = following
    return None


def _key(token: Token) -> str:
    """What the next token needs to know of this one; a quoted word is never a keyword."""
    if token.kind is Kind.OTHER:
        return "" if token.text == ";" else token.text
    return token.text if token.kind is Kind.WORD else "name"


def _fault_of(token: Token, before: str, following: Token, tables: "_TableNames") -> str | None:
    if token.kind is Kind.OTHER or token.kind is Kind.VARIABLE:
        return "SQL text ends at a NUL character; remove it" if token.text == "\0" else None
    name = token.text.lower()
    is_call = following.text == "(" and following.kind is Kind.OTHER
    if token.kind is Kind.WORD and name in STATEMENTS and before in {"", "explain", "plan"}:
        return f"{name.upper()} is not allowed: a database is one file of its own, and it is kept for you"
    # SQLite takes a string for a name where only a table or a module can stand.
    is_name = token.kind is not Kind.STRING or is_call or before == "." or tables.expected(before)
    if is_name and (name in NAMES or (name in CALLS and is_call and before not in _BEFORE_A_TABLE)):
        return f"`{name}` is not allowed: it reaches outside the database; rename it if it is your own"
    if is_name and name in MODULES and before == "using":
        return f"the table module `{name}` is not allowed: it reaches outside the database"
    return None


class _TableNames:
    """Whether a table's name may come next, followed through parentheses."""

    def __init__(self) -> None:
        self._stack = [False]

    def expected(self, before: str) -> bool:
        return before in _STARTS_TABLES or (self._stack[-1] and before in {",", "("})

    def see(self, token: Token, before: str) -> None:
        if token.kind is Kind.WORD:
            if token.text in {"from", "join"}:
                self._stack[-1] = True
            elif token.text in _ENDS_TABLES:
                self._stack[-1] = False
        elif token.kind is Kind.OTHER:
            if token.text == "(":
                self._stack.append(before in {"from", "join"} or (self._stack[-1] and before in {",", "("}))
            elif token.text == ")" and len(self._stack) > 1:
                self._stack.pop()
            elif token.text == ";":
                self._stack[:] = [False]
