"""Python arguments as Hrana values."""

import enum
import math
from datetime import UTC, datetime

import pytest

from freehold.libsql.arguments import to_stmt, to_value
from freehold.libsql.interface import InValue, Statement
from freehold.libsql.protocol import Blob, Float, Integer, NamedArg, Null, Stmt, Text, Value


class Size(enum.IntEnum):
    LARGE = 3


class Word(enum.StrEnum):
    HELLO = "hello"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, Null()),
        (True, Integer("1")),
        (False, Integer("0")),
        (2**63 - 1, Integer("9223372036854775807")),
        (-(2**63), Integer("-9223372036854775808")),
        (Size.LARGE, Integer("3")),
        (1.5, Float(1.5)),
        (math.nan, Null()),
        ("a\0b", Text("a\0b")),
        (Word.HELLO, Text("hello")),
        (b"\0\xff", Blob("AP8")),
        (b"", Blob("")),
        (bytearray(b"a"), Blob("YQ")),
        (memoryview(b"ab"), Blob("YWI")),
        (datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC), Integer("1500")),
    ],
)
def test_each_python_type_has_its_value(given: InValue, expected: Value) -> None:
    assert to_value(given) == expected


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_an_integer_over_64_bits_is_refused(number: int) -> None:
    with pytest.raises(OverflowError, match="64 bits"):
        to_value(number)


@pytest.mark.parametrize("thing", [object(), 1j, [1], {1}])
def test_a_type_that_sql_lacks_is_refused_by_name(thing: InValue) -> None:
    with pytest.raises(TypeError, match=type(thing).__name__):
        to_value(thing)


def test_arguments_that_are_one_text_are_taken_for_a_mistake() -> None:
    with pytest.raises(TypeError, match=r"\[value\]"):
        to_stmt("SELECT ?", "x")


@pytest.mark.parametrize(
    ("stmt", "args"),
    [("SELECT ?", [1]), (("SELECT ?",), [1]), (("SELECT ?", [1]), None), (Statement("SELECT ?", (1,)), None)],
)
def test_every_form_of_a_statement_means_the_same(stmt: object, args: list[InValue] | None) -> None:
    assert to_stmt(stmt, args) == Stmt(sql="SELECT ?", args=(Integer("1"),))  # type: ignore[arg-type]


def test_two_sets_of_arguments_are_one_too_many() -> None:
    with pytest.raises(TypeError):
        to_stmt(("SELECT ?", [1]), [1])
    with pytest.raises(TypeError):
        to_stmt(Statement("SELECT ?"), [1])
    with pytest.raises(TypeError):
        to_stmt(("SELECT ?", [1], 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sql", "args", "expected"),
    [
        ("SELECT ?, ?", [1, math.inf], "SELECT ?, coalesce(?, 9e999)"),
        ("SELECT '?', ?", [-math.inf], "SELECT '?', coalesce(?, -9e999)"),
        ("SELECT ?2, ?1, ?2", [1, math.inf], "SELECT coalesce(?2, 9e999), ?1, coalesce(?2, 9e999)"),
        ("SELECT ?5, ?", [0, 0, 0, 0, 0, math.inf], "SELECT ?5, coalesce(?, 9e999)"),
        ("SELECT :a, ?", [0, math.inf], "SELECT :a, coalesce(?, 9e999)"),
    ],
)
def test_an_infinity_is_written_into_the_sql_where_its_variable_stands(
    sql: str, args: list[InValue], expected: str
) -> None:
    stmt = to_stmt(sql, args)
    assert stmt.sql == expected
    assert [isinstance(value, Null) for value in stmt.args] == [
        isinstance(value, float) and math.isinf(value) for value in args
    ]


def test_an_infinity_by_name_is_written_at_each_use() -> None:
    stmt = to_stmt("SELECT :a, @b, :a, '@b'", {":a": math.inf, "b": 1})
    assert stmt.sql == "SELECT coalesce(:a, 9e999), @b, coalesce(:a, 9e999), '@b'"
    assert stmt.named_args == (NamedArg("a", Null()), NamedArg("b", Integer("1")))
