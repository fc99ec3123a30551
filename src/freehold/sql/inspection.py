"""Replaces what tools query and set when they connect with SQL that has the same answer and changes nothing.

There are no temporary tables, so every question about `temp` has an empty answer. The list of attached databases is
always `main`, without the path of its file. Performance settings belong to the server: a client that sets one gets
the value in force, as SQLite itself answers `PRAGMA journal_mode = DELETE` where that is impossible. Settings that
would change the meaning of statements are not handled here: the guard allows or refuses them.
"""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from freehold.lru import cached_if_short
from freehold.sql.pragmas import CHECKS, OF_A_TABLE
from freehold.sql.tokens import Kind, Token, placed, statement_spans, tokens

_NOTHING = "SELECT 0 WHERE 0"
# The values in force of those that SQLite answers even when they are set.
_IN_FORCE = {
    "journal_mode": "SELECT 'wal' AS journal_mode",
    "locking_mode": "SELECT 'normal' AS locking_mode",
    "busy_timeout": "SELECT * FROM pragma_busy_timeout",
    "mmap_size": "SELECT 0 AS mmap_size",
    "wal_autocheckpoint": "SELECT 0 AS wal_autocheckpoint",
}
# Those that it does not answer when they are set.
_SILENT = frozenset({"automatic_index", "cache_size", "cache_spill", "read_uncommitted", "synchronous", "temp_store"})
# Maintenance of the file, which the server does by itself. A checkpoint answers as in SQLite without a log.
_CARE = {
    "optimize": _NOTHING,
    "shrink_memory": _NOTHING,
    "wal_checkpoint": "SELECT 0 AS busy, -1 AS log, -1 AS checkpointed",
}
_LIST = "pragma_database_list"
_DATABASES = "SELECT 0 AS seq, 'main' AS name, '' AS file"
# SQLite has nothing of this name, and no table is likely to have it.
_STAND_IN = "databases_of_this_connection"
_START = re.compile(r"\s*(?:(with(?:\s+recursive)?)|select)\b", re.ASCII | re.IGNORECASE)
_LONGEST = 65_536
_MOST_WORDS = 12


class _Pragma(NamedTuple):
    """A PRAGMA in its parts. `form` is `=`, `(` or empty; `is_quoted` says whether its name is quoted."""

    schema: str
    name: str
    form: str
    value: str
    is_quoted: bool


def in_our_words(sql: str) -> str:
    """The text, or another with the same answer; a text of more than 64 KB is returned as it is."""
    return sql if len(sql) > _LONGEST else _in_our_words(sql)


@cached_if_short(2048)
def _in_our_words(sql: str) -> str:
    if "pragma" not in sql.lower():
        return sql
    pieces: list[str] = []
    at = 0
    for start, end in statement_spans(sql):
        other = _instead_of(sql[start:end])
        if other is not None:
            pieces += [sql[at:start], other]
            at = end
    return "".join([*pieces, sql[at:]]) if pieces else sql


def _instead_of(statement: str) -> str | None:
    words = list(itertools.islice(tokens(statement), _MOST_WORDS))
    if words and words[0] == (Kind.WORD, "pragma"):
        asked = _pragma_in(words[1:])
        return None if asked is None else _stand_in(asked)
    return _without_list(statement) if _LIST in statement.lower() else None


def _pragma_in(words: Sequence[Token]) -> _Pragma | None:
    """`[schema .] name`, and `= value` or `( value )`."""
    schema = ""
    if len(words) > 2 and words[1].text == ".":
        schema, words = words[0].text.lower(), words[2:]
    if not words or words[0].kind not in {Kind.WORD, Kind.QUOTED}:
        return None
    name, is_quoted, rest = words[0].text.lower(), words[0].kind is Kind.QUOTED, words[1:]
    if not rest:
        return _Pragma(schema, name, "", "", is_quoted)
    if rest[0].text == "(" and rest[-1].text == ")":
        rest, form = rest[1:-1], "("
    elif rest[0].text == "=":
        rest, form = rest[1:], "="
    else:
        return None
    is_signed = len(rest) == 2 and rest[0].text in {"+", "-"}
    if len(rest) != 1 + is_signed or rest[-1].kind not in {Kind.WORD, Kind.QUOTED, Kind.STRING}:
        return None
    return _Pragma(schema, name, form, "".join(word.text for word in rest), is_quoted)


def _stand_in(asked: _Pragma) -> str | None:
    schema, name, form, value, is_quoted = asked
    if schema not in {"", "main", "temp"}:
        return None
    found = _CARE.get(name) or (_DATABASES if name == "database_list" and not form else None)
    if found is None and form:
        found = _IN_FORCE.get(name) or (_NOTHING if name in _SILENT else None)
    if found is None and schema == "temp" and name in OF_A_TABLE:
        found = f"SELECT * FROM pragma_{name}('') WHERE 0"
    if found is None and schema == "temp" and name in CHECKS:
        found = _NOTHING
    if found is None and is_quoted and form and schema != "temp" and name in OF_A_TABLE:
        quoted = value.replace('"', '""')
        found = f'PRAGMA {name}("{quoted}")'  # sqld does not know quoted PRAGMA names
    return found


def _without_list(statement: str) -> str | None:
    """A query of the list of databases with that list replaced, or None if it is used in another way."""
    start = _START.match(statement)
    if start is None:
        return None
    pieces: list[str] = []
    at = 0
    words = list(placed(statement))
    for number, (word, begins, ends) in enumerate(words):
        if word.text.lower() != _LIST or word.kind not in {Kind.WORD, Kind.QUOTED}:
            continue
        after = [each.text for each, _, _ in words[number + 1 : number + 3]]
        is_called = after[:1] == ["("]
        if (is_called and after != ["(", ")"]) or (number and words[number - 1][0].text == "."):
            return None
        pieces += [statement[at:begins], _STAND_IN]
        at = words[number + 2][2] if is_called else ends
    if not pieces:
        return None
    text = "".join([*pieces, statement[at:]])
    named = f"{_STAND_IN}(seq, name, file) AS ({_DATABASES})"
    if start[1] is None:
        return f"WITH {named} {text.lstrip()}"
    return f"{text[: start.end(1)]} {named},{text[start.end(1) :]}"
