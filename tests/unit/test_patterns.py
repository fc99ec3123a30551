"""Patterns of REGEXP are seen before the engine writes them out."""

import pytest

from freehold.sql.patterns import is_large_pattern, pattern_fault
from freehold.sql.tokens import tokens


@pytest.mark.parametrize(
    "sql",
    [
        "select a regexp 'b+' from t",
        "select a not regexp 'b{2,90}' from t where a regexp ? and b regexp :name or c",
        "select regexp('a{1000}', a), regexpi(?2, a || b) from t",
        "select * from t where (a || b) regexp ('x')",
        "select regexp, t.regexp from t where regexp = 'a' and (regexp) is not null order by regexp",
        "create table t (regexp text, regexpi)",
        "select a as regexp from t",
        "select 'a regexp b'",
    ],
)
def test_what_can_be_seen_passes(sql: str) -> None:
    assert pattern_fault(tokens(sql)) is None


@pytest.mark.parametrize(
    "sql",
    [
        "select 'a' regexp 'a{999999999}'",
        "select 'a' regexp 'a{0,1001}'",
        "select 'a' regexp '((a{100}){100}){100}'",
        "select 'a' regexp 'a{9999' || '99999}'",
        "select 'a' regexp b from t",
        'select a regexp "b" from t',
        "select a not regexp b from t",
        "select ? regexp lower(?)",
        "select regexp('a{999' || '999}', a)",
        'select "regexp"(b, a), 1 from t',
        "select regexpi /**/ ( printf('a{%d}', 999999), a)",
        "select a regexp (select b from t)",
        "select a from t where t.a regexp (b)",
        "select a + 1 regexp -b",
        "select a regexp 'a' -> 'b'",
        "select case a regexp b when 1 then 2 end from t",
    ],
)
def test_what_is_large_or_cannot_be_seen_is_refused(sql: str) -> None:
    assert "pattern of REGEXP" in (pattern_fault(tokens(sql)) or "")


def test_a_parameter_is_looked_at_as_a_text() -> None:
    assert is_large_pattern("a{1001}")
    assert is_large_pattern(b"a{99999999999999999999}")
    assert is_large_pattern("a{2,40}b{30}")
    assert not any(map(is_large_pattern, ("a{1000}", "{}", '{"a": 1}', "a{,5}", 999999, None, "a{x}", "b" * 5000)))
