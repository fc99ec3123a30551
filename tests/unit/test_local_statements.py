"""What is read off a statement's text, and values on their way in and out."""

import math

import pytest

from freehold.errors import InvalidInput
from freehold.libsql.protocol import Blob, Float, Integer, NamedArg, Null, Text, Value
from freehold.providers.sqlite.values import from_row, to_native, to_native_map
from freehold.sql.statements import is_blank, outline
from freehold.sql.tokens import variables


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("select 1", "select"),
        (" ;; /* x */ -- y\n INSERT into t values(1)", "insert"),
        ("with a as (select 1), b(x) as (delete) insert into t select * from a", "insert"),
        ("WITH RECURSIVE r(x) AS (values(1)) SELECT * FROM r", "select"),
        ("with a as (select 1) replace into t select 1", "replace"),
        ("with", "with"),
        ("", ""),
    ],
)
def test_the_verb_of_a_statement(sql: str, verb: str) -> None:
    assert outline(sql).verb == verb


def test_comments_and_semicolons_are_blank() -> None:
    assert is_blank("")
    assert is_blank(" ;\n-- x\n/* y */; -- z")
    assert is_blank(" /* never closed")
    assert not is_blank("; select 1")
    assert not is_blank("/**/select 1")
    assert is_blank("-" * 2 + "x" * 1_000_000)


def test_variables_keep_their_prefix() -> None:
    sql = "select :a, '@b', $c, ?, ?7 -- :d"
    assert [sql[start:end] for start, end in variables(sql)] == [":a", "$c", "?", "?7"]


def test_values_reach_sqlite_whole() -> None:
    values: list[tuple[Value, object]] = [
        (Null(), None),
        (Integer("-9223372036854775808"), -(2**63)),
        (Float(1.5), 1.5),
        (Text("a\0b"), "a\0b"),
        (Blob("AQI="), b"\x01\x02"),
        (Blob("AQI"), b"\x01\x02"),
        (Blob(""), b""),
    ]
    for value, native in values:
        assert to_native(value) == native
    assert to_native_map((NamedArg(":a", Integer("1")), NamedArg("b", Null()))) == {"a": 1, "b": None}


@pytest.mark.parametrize(
    "value",
    [
        *(Integer(text) for text in ("", "1.5", "1_0", "０", " 1", "9223372036854775808", "1" * 5000, "0x1")),
        *(Blob(text) for text in ("A", "AQ I", "!!!!", "AQ=I", "é")),
    ],
)
def test_values_that_are_none_are_refused(value: Value) -> None:
    with pytest.raises(InvalidInput):
        to_native(value)


def test_rows_leave_in_the_form_of_the_protocol() -> None:
    row, size = from_row((None, 2**63 - 1, 0.1, math.inf, math.nan, "é", b"\xff\x00"))
    assert row == [Null(), Integer("9223372036854775807"), Float(0.1), Float(None), Float(None), Text("é"), Blob("/wA")]
    assert size > 7 * 20
