"""What kind of statement a text is, by its first words; SQLite's own rules of where words start."""

import functools
from collections.abc import Iterator
from enum import Enum, auto

from freehold.sql.pragmas import CHECKS, OF_A_TABLE
from freehold.sql.tokens import Kind, tokens

_READS = frozenset({"select", "values", "explain"})
_WRITES = frozenset({"insert", "update", "delete", "replace"})


class Verb(Enum):
    """What a statement does to the transaction that it runs in."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()  # of the whole transaction, not to a savepoint
    SAVEPOINT = auto()
    PRAGMA = auto()  # one that tells something
    SETTING = auto()  # a PRAGMA that sets something, ATTACH, DETACH: acts on the connection from then on
    OTHER = auto()


_VERBS = {
    "begin": Verb.BEGIN,
    "commit": Verb.COMMIT,
    "end": Verb.COMMIT,
    "rollback": Verb.ROLLBACK,
    "savepoint": Verb.SAVEPOINT,
    "attach": Verb.SETTING,
    "detach": Verb.SETTING,
}
_WHOLE = frozenset({Verb.BEGIN, Verb.COMMIT, Verb.ROLLBACK})
_OF_TRANSACTIONS = frozenset(
    {"transaction", "deferred", "immediate", "exclusive", "concurrent", "readonly", "read", "write", ";"}
)
_CACHED_LENGTH = 4096
# PRAGMA name(argument) tells something for these; for others it is the same as PRAGMA name = argument.
_TELLING = OF_A_TABLE | CHECKS


def verb(sql: str) -> Verb:
    """The verb of one statement."""
    return _cached_verb(sql) if len(sql) <= _CACHED_LENGTH else _verb(sql)


def reads_only(sql: str) -> bool:
    """Whether one statement surely changes nothing. False when in doubt."""
    return _cached_reads_only(sql) if len(sql) <= _CACHED_LENGTH else _reads_only(sql)


def _verb(sql: str) -> Verb:
    words = _words(sql)
    first = next(words, "")
    kind = _VERBS.get(first, Verb.OTHER)
    if first == "pragma":
        return _pragma(list(words))
    if kind in _WHOLE and any(word not in _OF_TRANSACTIONS for word in words):
        return Verb.OTHER  # ROLLBACK TO, or more than one statement: the server's to judge
    return kind


def _reads_only(sql: str) -> bool:
    words = _words(sql)
    first = next(words, "")
    if first == "with":
        return not any(word in _WRITES for word in words)
    return first in _READS


_cached_verb = functools.lru_cache(maxsize=1024)(_verb)
_cached_reads_only = functools.lru_cache(maxsize=1024)(_reads_only)


def _pragma(words: list[str]) -> Verb:
    # [schema .] name [= value | ( value )]
    name, *rest = words[2:] if words[1:2] == ["."] else words or [""]
    if not rest or rest[0] not in {"=", "("} or (rest[0] == "(" and name in _TELLING):
        return Verb.PRAGMA
    return Verb.SETTING


def _words(sql: str) -> Iterator[str]:
    """Words and signs in order; leading `;` are empty statements. A quoted name counts as a name, never as a word."""
    has_begun = False
    for token in tokens(sql):
        if token.kind is Kind.OTHER and token.text == ";" and not has_begun:
            continue
        has_begun = True
        yield token.text if token.kind in {Kind.WORD, Kind.OTHER} else f"{token.kind.name}:{token.text}"
