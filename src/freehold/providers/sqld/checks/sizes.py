"""Calls of functions that nothing interrupts, over values whose size stands in the text, and patterns of REGEXP.

On sqld a statement ends with its functions only. What a text says of its sizes is judged here; for the rest a call
past its limit keeps its place, and the supervisor ends sqld when such calls hold all of them.
"""

import re
from collections.abc import Iterator, Sequence

from freehold.lru import cached_if_short
from freehold.sql.guard import RefusedSql, shapes
from freehold.sql.patterns import MATCHES, pattern_fault
from freehold.sql.tokens import Kind, Token, tokens

# They take as long as one value times the other.
_SLOW = frozenset(
    {"instr", "replace", "unhex", "json_patch", "trim", "ltrim", "rtrim", "like", "glob", "regexp"}
)
_MAKERS = frozenset({"zeroblob", "randomblob", "printf", "format", "char"})
_SIZED = frozenset({"zeroblob", "randomblob"})
_MAX_BYTES = 100_000
_LARGE_VALUES = (
    f"a function such as `instr` or `replace` over values of more than {_MAX_BYTES} bytes that the statement "
    "itself makes is not allowed: nothing could stop it"
)


# A call of one that nothing interrupts over values of some size; a comment may stand before its parenthesis.
_UNSTOPPABLE = re.compile(
    r"(?:instr|replace|unhex|json_patch|jsonb_patch|printf|format|trim)[\"`\]']?\s*(?:\(|/\*|--)",
    re.IGNORECASE,
)
# One value times the other, in bytes: SQLite does this in about a tenth of a second.
_MAX_PRODUCT = 10_000_000_000
_LARGE_ARGUMENTS = (
    "a function such as `instr` or `replace` over two values as long as these is not allowed: nothing could stop it; "
    f"one length times the other may be {_MAX_PRODUCT}"
)


def may_be_unstoppable(sql: str) -> bool:
    """Whether the text calls a function that nothing interrupts; how large its values are is not known here."""
    return _UNSTOPPABLE.search(sql) is not None


def check_values(sql: str, lengths: Sequence[int]) -> None:
    """Return unless a statement's arguments, or texts that are written out in it, are too long for such a function.

    Raises:
        RefusedSql: they have.
    """
    if len(sql) > _MAX_BYTES:
        lengths = [*lengths, *(len(word.text) for word in tokens(sql) if word.kind is Kind.STRING)]
    two = sorted(lengths)[-2:]
    if len(two) == 2 and two[0] * two[1] > _MAX_PRODUCT and may_be_unstoppable(sql):
        raise RefusedSql(_LARGE_ARGUMENTS)


def check_sizes(sql: str) -> None:
    """Return unless the text makes a large value and looks for something in one. It has passed `check_sql`.

    Raises:
        RefusedSql: it does, or has a pattern that is large, or that cannot be seen.
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
    """What stands between the parentheses of each call that makes a value of some size."""
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
    """Whether it is another size than a small number that is written out."""
    return len(size) != 1 or size[0].kind is not Kind.WORD or not re.fullmatch("[0-9]{1,6}", size[0].text)
