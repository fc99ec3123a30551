"""Limits the patterns of sqld's REGEXP, which expands a counted repetition before it compares anything.

Measured on sqld 0.24.32: `'a' REGEXP 'a{999999999}'` takes 650 MB and 12 s, and nothing interrupts it.
"""

import re
from collections.abc import Iterable

from freehold.sql.tokens import Kind, Token

MATCHERS = frozenset({"regexp", "regexpi"})
MATCHES = "regexp"  # no text without this calls one of them
MAX_STATES = 1_000

_REPEATED = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*))?")
LARGE_PATTERN = (
    f"a pattern of REGEXP is a text or a parameter, alone, and repeats nothing more than {MAX_STATES} times:"
    " the engine writes out what is repeated"
)
_JOINS = frozenset("|+-*/%<>&")
# After these a name is that of a column, or of the function.
_BEFORE_A_NAME = frozenset({
    "", "select", "distinct", "all", "where", "on", "and", "or", "not", "having", "by", "when", "then", "else",
    "case", "set", "returning", "limit", "offset", "between", "in", "as", "table", "index", "column", "into",
})  # fmt: skip


def is_large_pattern(value: object) -> bool:
    """Whether a text, as a pattern, would be too long once it is expanded."""
    if not isinstance(value, str | bytes):
        return False
    text = value if isinstance(value, str) else value.decode(errors="replace")
    states = 1
    for found in _REPEATED.finditer(text):
        digits = [each for each in found.groups() if each]
        states *= max(1, *(int(each) if len(each) < 9 else 10**9 for each in digits), 1) if digits else 1
        if states > MAX_STATES:
            return True
    return False


def pattern_fault(words: Iterable[Token]) -> str | None:
    """Why a text is refused, or None: one of its patterns is not visible in the text, or is too large."""
    before = Token(Kind.OTHER, "")
    stage, is_operator = "", False  # what is expected after REGEXP, and whether it stands between two operands
    for word in words:
        kind, text = word
        was, stage = stage, ""
        if was == "named" and kind is Kind.OTHER and text == "(":
            stage = "pattern"
        elif was == "pattern" or (was == "named" and is_operator):
            if kind is not Kind.VARIABLE and (kind is not Kind.STRING or is_large_pattern(text)):
                return LARGE_PATTERN
            stage = "over"
        elif was == "over" and kind is Kind.OTHER and text in _JOINS:
            return LARGE_PATTERN
        if kind in {Kind.WORD, Kind.QUOTED} and text.lower() in MATCHERS:
            stage, is_operator = "named", kind is Kind.WORD and _is_operand(before)
        before = word
    return None


def _is_operand(before: Token) -> bool:
    if before.kind is Kind.OTHER:
        return before.text == ")"
    return before.kind is not Kind.WORD or before.text not in _BEFORE_A_NAME - {"not"}
