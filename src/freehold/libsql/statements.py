"""What kind of statement a text is, by its first words; SQLite's own rules of where words start."""

import functools
from collections.abc import Iterator
from enum import Enum, auto

from freehold.libsql.tokens import Kind, Token, tokens

_READS = frozenset({"select", "values", "explain"})
_WRITES = frozenset({"insert", "update", "delete", "replace"})


class Verb(Enum):
    """What a statement does to the transaction that it runs in."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()  # of the whole transaction, not to a savepoint
    SAVEPOINT = auto()
    PRAGMA = auto()  # and ATTACH, DETACH: acts on the connection
    OTHER = auto()


_VERBS = {
    "begin": Verb.BEGIN,
    "commit": Verb.COMMIT,
    "end": Verb.COMMIT,
    "savepoint": Verb.SAVEPOINT,
    "pragma": Verb.PRAGMA,
    "attach": Verb.PRAGMA,
    "detach": Verb.PRAGMA,
}


@functools.lru_cache(maxsize=1024)
def verb(sql: str) -> Verb:
    """The verb of one statement."""
    words = _words(sql)
    first = next(words, "")
    if first == "rollback":
        # ROLLBACK, ROLLBACK TRANSACTION; or ROLLBACK [TRANSACTION] TO name
        return Verb.OTHER if "to" in (next(words, ""), next(words, "")) else Verb.ROLLBACK
    return _VERBS.get(first, Verb.OTHER)


@functools.lru_cache(maxsize=1024)
def reads_only(sql: str) -> bool:
    """Whether one statement surely changes nothing. False when in doubt."""
    words = _words(sql)
    first = next(words, "")
    if first == "with":
        return not any(word in _WRITES for word in words)
    return first in _READS


def _words(sql: str) -> Iterator[str]:
    for token in tokens(sql):
        if token.kind is Kind.WORD:
            yield token.text
        elif not _is_empty_statement(token):
            yield ""


def _is_empty_statement(token: Token) -> bool:
    return token.kind is Kind.OTHER and token.text == ";"
