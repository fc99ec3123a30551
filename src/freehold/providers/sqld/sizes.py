"""Calls of functions that nothing interrupts, over values whose size stands in the text, and patterns of REGEXP.

On sqld a statement ends with its functions only. What a text says of its sizes is judged here; for the rest a call
past its limit keeps its place, and the supervisor ends sqld when such calls hold all of them.
"""

import functools

from freehold.libsql.guard import RefusedSql, shapes
from freehold.libsql.patterns import pattern_fault
from freehold.libsql.tokens import Kind, tokens

# They take as long as one value times the other.
_SLOW = frozenset(
    {"instr", "replace", "unhex", "json_patch", "trim", "ltrim", "rtrim", "like", "glob", "regexp"}
)
_MAKERS = frozenset({"zeroblob", "randomblob", "printf", "format", "char"})
_MAX_BYTES = 100_000
_LONG = 4096
_LARGE_VALUES = (
    f"a function such as `instr` or `replace` over values of more than {_MAX_BYTES} bytes that the statement "
    "itself makes is not allowed: nothing could stop it"
)


def check_sizes(sql: str) -> None:
    """Return unless the text makes a large value and looks for something in one. It has passed `check_sql`.

    Raises:
        RefusedSql: it does, or has a pattern that is large, or that cannot be seen.
    """
    reason = (_cached_fault if len(sql) <= _LONG else _fault)(sql)
    if reason is not None:
        raise RefusedSql(reason)


def _fault(sql: str) -> str | None:
    lowered = sql.lower()
    if "regexp" in lowered and (reason := pattern_fault(tokens(sql))) is not None:
        return reason
    return _LARGE_VALUES if _makes_large_values(sql, lowered) else None


def _makes_large_values(sql: str, lowered: str) -> bool:
    if not any(maker in lowered for maker in _MAKERS):
        return False
    called = frozenset[str]().union(*(shape.reads for shape in shapes(sql)))
    words = {text for kind, text in tokens(sql) if kind is Kind.WORD}
    if called.isdisjoint(_MAKERS) or (called.isdisjoint(_SLOW) and words.isdisjoint(_SLOW)):
        return False
    return any(
        text.isdigit() and (len(text) > 9 or int(text) > _MAX_BYTES) for text in words if text[0].isdigit()
    )


_cached_fault = functools.lru_cache(maxsize=2048)(_fault)
