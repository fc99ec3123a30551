"""Refuses SQL that reaches outside the tenant's own database. It needs the text only, so it also protects servers
that have no authorizer.

Everything it stops was tried on sqld 0.24, where file functions, page access and extension loading are open to every
token. It works on tokens, so quoting, comments and letter case do not hide a name, and a string that merely contains
such a word is data. A text may also define a view or a trigger; names inside those count as well.
"""

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from freehold.errors import Forbidden
from freehold.lru import SHORT, cached_if_short
from freehold.sql.expansion import expansion_fault
from freehold.sql.facts import NO_FACTS, Facts, Unfit, facts_of, judge
from freehold.sql.inspection import in_our_words
from freehold.sql.looks import LooksAtView, may_look, without_views
from freehold.sql.pragmas import PRAGMAS, not_allowed, pragma_fault
from freehold.sql.search_commands import commands_in
from freehold.sql.shadow import SHADOW_ENDS, may_be_shadow
from freehold.sql.shape import Shape, shapes_of
from freehold.sql.tokens import EVERY, IN_WORD, MAX_TOKENS, Kind, Token, TooManyTokens, breathe, counted, tokens
from freehold.sql.vectors import (
    VECTOR_FUNCTION,
    VECTOR_SEARCH,
    vector_function_fault,
    vector_index_fault,
    vector_search_fault,
)

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
        # Runs the text that it is given: `sha3_query('SELECT writefile(...)')` would pass the check of the text.
        "sha3_query",
        # Shows what others run on the same connection.
        "sqlite_stmt",
        # Read every page, and any address in the server's memory.
        *("dbstat", "carray"),
        # The encryption extension that sqld is built with, and the server's log.
        *("sqlite3mc_config", "sqlite3mc_codec_data", "sqlite_crypt", "sqlite_log"),
    }
)
# Functions that sqld adds: the first four write past their buffer when a number is large, and nothing interrupts the
# last, whose time is the product of the lengths of its two texts.
OVERFLOWS = frozenset({"replicate", "padl", "padr", "padc", "strfilter"})
# These may also name a column, so they are refused only where they are called.
CALLS = frozenset({"edit", "eval", *OVERFLOWS})
# Modules allowed for virtual tables: none of these reads a file or looks into the process.
MODULES = ("fts5", "fts5vocab", "rtree", "rtree_i32", "geopoly")
STATEMENTS = frozenset({"attach", "detach", "vacuum"})

# `FROM pragma_x` is PRAGMA x, so both forms follow the same rules.
_PRAGMA_TABLE = "pragma_"

# SQL without any of these words breaks no rule, and most SQL has none: a few scans in C decide.
_WATCHED = NAMES | CALLS | STATEMENTS
_WORDS = tuple(sorted(_WATCHED | {"pragma", "virtual"}))
# A part of a word; a byte order mark cannot begin one.
_IN_WORD = re.compile(rf"(?!\ufeff){IN_WORD}")
_AFTER_WORD = re.compile(IN_WORD)
_BEGIN = re.compile(r"begin\b(?s:.)*?(?:immediate|exclusive)", re.IGNORECASE)
# A call cannot follow these, a table's column list can.
_BEFORE_A_TABLE = frozenset({"table", "exists", "into", "references"})
_STARTS_TABLES = frozenset({"from", "join", "into", "update", "table", "using", "in"})
_ENDS_TABLES = frozenset(
    {"where", "group", "order", "having", "limit", "window", "set", "values", "select", "returning"}
)
_TURNS_TABLES = _ENDS_TABLES | {"from", "join"}
_BEFORE_A_VERB = frozenset({"", "explain", "plan"})
_CHANGES, _SHADOWS = 1, 2
_UNKNOWN = "not judged yet"
_verdicts: dict[str, str | None] = {}
# In characters, of one text; values sent as arguments do not count.
MAX_LENGTH = 4_000_000
_DEEP = 100
# A query of few characters cannot grow large by itself.
_GROWS_FROM = 1000


class RefusedSql(Forbidden):
    """The SQL reaches outside its database. At `/db/` it fails the one statement, as `SQLITE_AUTH`."""

    code = "refused_sql"
    remedy = "Leave it out; the message says what is allowed."


def check_sql(sql: str) -> None:
    """Return if the text (one or more statements) stays inside its own database and does not grow too large.

    The text to pass to an engine is then `in_our_words(sql)`.

    Raises:
        RefusedSql: the message says which word is refused and why.
    """
    reason = _verdicts.get(sql, _UNKNOWN) if _verdicts else _UNKNOWN
    if reason is _UNKNOWN:
        reason = verdict(sql)
    if reason is not None:
        raise RefusedSql(reason)


@contextlib.contextmanager
def looked_at(verdicts: Mapping[str, str | None]) -> Iterator[None]:
    """Inside this context `check_sql` knows the verdicts on these texts, in all threads."""
    _verdicts.update(verdicts)
    try:
        yield
    finally:
        for sql in verdicts:
            _verdicts.pop(sql, None)  # another request with the same text judges it again


@cached_if_short(2048)
def shapes(sql: str) -> tuple[Shape, ...]:
    """What each statement refers to in a text that has passed `check_sql`."""
    return shapes_of(sql)


def judged(sql: str, facts: Facts) -> Facts:
    """The facts of a schema after a text that `check_sql` accepts has run there. Raises `RefusedSql` if it may not."""
    if not (facts.matters or may_change_schema(sql)):
        return facts
    return _judged_first(sql) if facts is NO_FACTS else _judged(sql, facts)


@cached_if_short(2048)
def _judged_first(sql: str) -> Facts:
    """As `judged`, on a schema of plain tables; one that stays so is the same object, since a fleet's are alike."""
    after = _judged(sql, NO_FACTS)
    return NO_FACTS if after == NO_FACTS else after


def _judged(sql: str, facts: Facts) -> Facts:
    try:
        facts = judge(shapes(sql), facts)
    except Unfit as error:
        raise RefusedSql(str(error)) from error
    for command in commands_in(sql) if facts.virtual else ():
        if command.fault is not None and facts.virtual.get(command.table) in {"fts5", ""}:
            raise RefusedSql(command.fault)
    return facts


def answerable(sql: str, facts: Facts) -> str:
    """The text, or one with the same answer that expands no view too large for the engine. Raises `RefusedSql`."""
    if (facts.may_list and not facts.too_large) or not may_look(sql):
        return sql
    try:
        return without_views(sql, facts.too_large)
    except LooksAtView as error:
        raise RefusedSql(str(error)) from error


def read_facts(rows: Sequence[Sequence[object]]) -> Facts:
    """The facts in the rows of `FACTS_SQL`. May take up to a second, like `verdict`."""
    if not rows:
        return NO_FACTS
    return facts_of(rows, lambda sql: next(iter(shapes(sql)), None) if verdict(sql) is None else None)


def may_change_schema(sql: str) -> bool:
    """Whether a statement in a text that has passed `check_sql` could create, alter or drop something."""
    return bool(_hints(sql) & _CHANGES)


def writes_shadow(sql: str) -> bool:
    """Whether the text may write a table that belongs to an index or a virtual table, in some schema."""
    return bool(_hints(sql) & _SHADOWS)


@cached_if_short(2048)
def _hints(sql: str) -> int:
    # A few scans in C, which may find too much. For a long text that is enough.
    lowered = sql.lower()
    changes = any(word in lowered and _has_word(lowered, word) for word in ("create", "alter", "drop"))
    found = changes * _CHANGES | any(end in lowered for end in SHADOW_ENDS) * _SHADOWS
    if not found or len(sql) > SHORT:
        return found
    each = shapes(sql)
    changes = any(shape.verb in {"create", "alter", "drop"} for shape in each)
    return changes * _CHANGES | any(may_be_shadow(shape.writes) for shape in each) * _SHADOWS


def is_inside(sql: str) -> bool:
    """Whether `check_sql` returns."""
    try:
        check_sql(sql)
    except RefusedSql:
        return False
    return True


def check_reading_sql(sql: str) -> None:
    """Raise `RefusedSql` if a `BEGIN` in the text asks for the write lock: sqld grants it even to a read-only token."""
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


@cached_if_short(2048)
def verdict(sql: str) -> str | None:
    """Why `check_sql` refuses the text, or None. A long text takes up to a second."""
    if len(sql) > MAX_LENGTH:
        return f"the SQL is longer than {MAX_LENGTH} characters; send values as arguments"
    if "\0" in sql:
        return "SQL text ends at a NUL character; remove it"
    sql = in_our_words(sql)
    lowered = sql.lower()
    try:
        if reason := _name_fault(sql, lowered) or _growth_fault(sql, lowered):
            return reason
        return vector_search_fault(counted(tokens(sql))) if VECTOR_SEARCH in lowered else None
    except TooManyTokens:
        return f"the SQL has more than {MAX_TOKENS} words and signs; send values as arguments, or in several calls"


def _name_fault(sql: str, lowered: str) -> str | None:
    is_suspect = _PRAGMA_TABLE in lowered or any(word in lowered and _has_word(lowered, word) for word in _WORDS)
    return find_fault(counted(tokens(sql))) if is_suspect else None


def _growth_fault(sql: str, lowered: str) -> str | None:
    if not _may_grow(lowered):
        return None
    for found in shapes(sql):
        if reason := expansion_fault(found, {}) or vector_index_fault(found):
            return reason
    return vector_function_fault(counted(tokens(sql))) if VECTOR_FUNCTION in lowered else None


def _may_grow(lowered: str) -> bool:
    if VECTOR_FUNCTION in lowered or lowered.count("(") > _DEEP:
        return True
    queries = lowered.count("select")
    return queries > 1 or (queries == 1 and len(lowered) > _GROWS_FROM)


def _has_word(lowered: str, word: str) -> bool:
    """Whether the text contains it as a whole word, so that `credit` is not `edit`."""
    at, number = lowered.find(word), 0
    while at >= 0:
        end = at + len(word)
        if not (at and _IN_WORD.match(lowered, at - 1)) and not _AFTER_WORD.match(lowered, end):
            return True
        at = lowered.find(word, end)
        number += 1
        if number % EVERY == 0:
            breathe()
    return False


class _Suspect(NamedTuple):
    """A watched name and what precedes it; what follows is not known yet."""

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
            if fault := _judge(suspect, is_call=kind is Kind.OTHER and text == "("):
                return fault
            suspect = None
        if statement == "pragma":
            if kind is not Kind.OTHER or text not in {";", ""}:
                pragma.append(Token(kind, text))
                continue
            if fault := pragma_fault(pragma):
                return fault
            pragma, statement = [], ""
        if kind is Kind.OTHER:
            _follow(text, before, in_tables)
            before = "" if text == ";" else text
            continue
        if statement == "virtual" and before == "using" and text.lower() not in MODULES:
            return f"the table module `{text}` is not allowed; these are: {', '.join(MODULES)}"
        name = text if kind is Kind.WORD else text.lower()
        if (name in _WATCHED or name.startswith(_PRAGMA_TABLE)) and kind is not Kind.VARIABLE:
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
    if name.startswith(_PRAGMA_TABLE):
        pragma = name.removeprefix(_PRAGMA_TABLE)
        return None if pragma in PRAGMAS else not_allowed(pragma)
    if name in NAMES or (name in CALLS and is_call and before not in _BEFORE_A_TABLE):
        return f"`{name}` is not allowed: it reaches outside the database; rename it if it is your own"
    return None
