"""Bounds what nothing interrupts on sqld: functions over large values, patterns of REGEXP, vector searches.

On sqld a statement cannot be interrupted inside a function. Sizes in the text are judged here, and parameters where
their values are known; otherwise a call past its limit keeps its place, and the supervisor restarts sqld when such
calls hold all places.
"""

import re
from collections.abc import Iterator, Sequence

from freehold.errors import InvalidInput
from freehold.libsql.protocol import Blob, Stmt, Text, Value
from freehold.libsql.values import decode
from freehold.lru import cached_if_short
from freehold.sql.guard import RefusedSql, shapes
from freehold.sql.patterns import LARGE_PATTERN, MATCHES, is_large_pattern, pattern_fault
from freehold.sql.tokens import Kind, Token, tokens
from freehold.sql.vectors import MAX_NEIGHBOURS, VECTOR_SEARCH, is_too_many, is_zero, wanted_parameters

# Their time is proportional to the product of the two values' lengths.
_SLOW = frozenset({"instr", "replace", "unhex", "json_patch", "trim", "ltrim", "rtrim", "like", "glob", "regexp"})
_MAKERS = frozenset({"zeroblob", "randomblob", "printf", "format", "char"})
_SIZED = frozenset({"zeroblob", "randomblob"})
_MAX_BYTES = 100_000
_LARGE_VALUES = (
    f"a function such as `instr` or `replace` over values of more than {_MAX_BYTES} bytes that the statement "
    "itself makes is not allowed: nothing could stop it"
)


# A call of one that nothing interrupts over values of some size; a comment may stand before its parenthesis.
_UNSTOPPABLE = re.compile(
    r"(?:instr|replace|unhex|json_patch|jsonb_patch|printf|format|trim)[\"`\]']?\s*(?:\(|/\*|--)", re.IGNORECASE
)
# The product of the two lengths in bytes, which takes SQLite about a tenth of a second.
_MAX_PRODUCT = 10_000_000_000
_LARGE_ARGUMENTS = (
    "a function such as `instr` or `replace` over two values as long as these is not allowed: nothing could stop it; "
    f"one length times the other may be {_MAX_PRODUCT}"
)


def may_be_unstoppable(sql: str) -> bool:
    """Whether the text calls a function that nothing interrupts; the size of its values is not known here."""
    return _UNSTOPPABLE.search(sql) is not None


def check_values(sql: str, lengths: Sequence[int]) -> None:
    """Return unless a statement's arguments, or texts that are written out in it, are too long for such a function.

    Raises:
        RefusedSql: they are.
    """
    if len(sql) > _MAX_BYTES:
        lengths = [*lengths, *(len(word.text) for word in tokens(sql) if word.kind is Kind.STRING)]
    two = sorted(lengths)[-2:]
    if len(two) == 2 and two[0] * two[1] > _MAX_PRODUCT and may_be_unstoppable(sql):
        raise RefusedSql(_LARGE_ARGUMENTS)


def check_sizes(sql: str) -> None:
    """Return unless a text that has passed `check_sql` makes a large value and searches in one.

    Raises:
        RefusedSql: it does, or it has a pattern that is large or not visible in the text.
    """
    reason = _fault(sql)
    if reason is not None:
        raise RefusedSql(reason)


@cached_if_short(2048)
def _fault(sql: str) -> str | None:
    lowered = sql.lower()
    if MATCHES in lowered and (reason := pattern_fault(tokens(sql))) is not None:
        return reason
    return _LARGE_VALUES if _makes_large_values(sql, lowered) else None


def _makes_large_values(sql: str, lowered: str) -> bool:
    if not any(maker in lowered for maker in _MAKERS):
        return False
    called = frozenset[str]().union(*(shape.reads for shape in shapes(sql)))
    words = {text for kind, text in tokens(sql) if kind is Kind.WORD}
    if called.isdisjoint(_MAKERS) or (called.isdisjoint(_SLOW) and words.isdisjoint(_SLOW)):
        return False
    return any(map(_is_large, words)) or any(map(_is_unseen, _sizes_in(sql)))


def _is_large(word: str) -> bool:
    return word.isdigit() and (len(word) > 9 or int(word) > _MAX_BYTES)


def _sizes_in(sql: str) -> Iterator[list[Token]]:
    """The tokens between the parentheses of each call that makes a value of a given size."""
    words = list(tokens(sql))
    for at, word in enumerate(words[:-1]):
        if word.kind is Kind.OTHER or word.text.lower() not in _SIZED or words[at + 1].text != "(":
            continue
        depth = 0
        inside: list[Token] = []
        for each in words[at + 1 :]:
            depth += (each == (Kind.OTHER, "(")) - (each == (Kind.OTHER, ")"))
            inside.append(each)
            if depth == 0:
                break
        yield inside[1:-1]


def _is_unseen(size: Sequence[Token]) -> bool:
    """Whether the size is anything but a small number that is written out."""
    return len(size) != 1 or size[0].kind is not Kind.WORD or not re.fullmatch("[0-9]{1,6}", size[0].text)


# Vector searches and REGEXP patterns given by a parameter are checked where its value is known.


def check_search(stmt: Stmt) -> None:
    """Return if the statement, whose text is sent with it, searches for no more than libSQL can handle.

    Raises:
        RefusedSql: it searches for more.
    """
    if stmt.sql is not None and searches(stmt.sql):
        _check_values(stmt.sql, stmt)


def check_lengths(stmt: Stmt, stored: str) -> None:
    """Return if the statement passes no two long values to a function that nothing interrupts. `stored` is all SQL
    that the statement could be, if its text is not sent with it.

    Raises:
        RefusedSql: it does.
    """
    values = (*stmt.args, *(named.value for named in stmt.named_args))
    lengths = [len(value.value) for value in values if isinstance(value, Text)]
    lengths += [len(value.base64) * 3 // 4 for value in values if isinstance(value, Blob)]
    check_values(stored if stmt.sql is None else stmt.sql, lengths)


def _check_values(sql: str, statement: Stmt) -> None:
    lowered = sql.lower()
    given = [_python_value(value) for value in statement.args]
    named = {each.name.lstrip(":@$?"): _python_value(each.value) for each in statement.named_args}
    values = [*given, *named.values()]
    if VECTOR_SEARCH in lowered:
        wanted = [
            value
            for number, name in wanted_parameters(tokens(sql))
            for value in (*given[number - 1 : number], named.get(name))
        ]
        if any(map(is_too_many, values)) or any(map(is_zero, wanted)):
            raise RefusedSql(f"a statement with `{VECTOR_SEARCH}` takes numbers from 1 to {MAX_NEIGHBOURS}")
    if MATCHES in lowered and any(map(is_large_pattern, values)):
        raise RefusedSql(LARGE_PATTERN)


def _python_value(value: Value) -> object:
    try:
        return decode(value)
    except ValueError as error:
        raise InvalidInput("the value of an argument is not what its type says") from error


def check_stored_search(sql: str) -> None:
    """Return if all numbers in the text's searches are written out.

    Raises:
        RefusedSql: it has parameters, whose values are not known here.
    """
    if searches(sql) and any(token.kind is Kind.VARIABLE for token in tokens(sql)):
        raise RefusedSql(
            f"`{VECTOR_SEARCH}` or REGEXP in SQL that is stored or delegated takes no parameters; send it whole"
        )


def searches(sql: str) -> bool:
    """Whether the text may contain a vector search or REGEXP."""
    lowered = sql.lower()
    return VECTOR_SEARCH in lowered or MATCHES in lowered
