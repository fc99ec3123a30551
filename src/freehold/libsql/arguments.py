"""Converts Python statements and arguments to Hrana's."""

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import NoneType

from freehold.libsql.interface import InArgs, InStatement, InValue, Statement
from freehold.libsql.protocol import Blob, Float, Integer, NamedArg, Null, Stmt, Text, Value
from freehold.sql.tokens import variables

_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1
_NULL = Null()
_ZERO, _ONE = Integer("0"), Integer("1")
_PREFIXES = ":@$"


class _Infinite(Exception):
    """JSON cannot carry the value, so it must be written into the statement."""


def to_stmt(stmt: InStatement, args: InArgs = None) -> Stmt:
    """The Hrana statement for one in any form that the client accepts.

    Raises:
        TypeError: an argument has a type that SQL does not have.
        OverflowError: an integer has more than 64 bits.
    """
    if not isinstance(stmt, str):
        given = Statement.convert(stmt, args)
        stmt, args = given.sql, given.args
    if not args:
        return Stmt(sql=stmt)
    if isinstance(args, str | bytes | bytearray | memoryview):
        raise TypeError("arguments are a list, a tuple or a mapping; for one value write [value]")
    try:
        return _bound(stmt, args)
    except _Infinite:
        return _with_infinities(stmt, args)


def to_value(value: InValue) -> Value:
    """The Hrana value for a Python one; NaN becomes NULL, as in SQLite."""
    make = _BY_TYPE.get(type(value))
    return make(value) if make is not None else _unusual(value)


def _bound(sql: str, args: Iterable[InValue] | Mapping[str, InValue]) -> Stmt:
    if isinstance(args, Mapping):
        return Stmt(sql=sql, named_args=tuple([NamedArg(name, to_value(value)) for name, value in args.items()]))
    return Stmt(sql=sql, args=tuple([to_value(value) for value in args]))


def _integer(value: int) -> Value:
    if not _MIN_INTEGER <= value <= _MAX_INTEGER:
        raise OverflowError("an integer argument is larger than 64 bits")
    return Integer(str(value))


def _float(value: float) -> Value:
    if math.isfinite(value):
        return Float(value)
    if math.isinf(value):
        raise _Infinite
    return _NULL


def _blob(value: bytes | bytearray | memoryview) -> Value:
    return Blob(base64.b64encode(value).rstrip(b"=").decode())


def _unusual(value: object) -> Value:
    match value:
        case datetime():
            return Integer(str(int(value.timestamp() * 1000)))
        case int():
            return _integer(int(value))
        case float():
            return _float(float(value))
        case str():
            return Text(str.__str__(value))
    try:
        return _blob(memoryview(value))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"an argument of type {type(value).__name__} has no place in SQL") from None


_BY_TYPE: dict[type, Callable[..., Value]] = {
    NoneType: lambda _: _NULL,
    bool: lambda value: _ONE if value else _ZERO,
    int: _integer,
    float: _float,
    str: Text,
    bytes: _blob,
}


def _with_infinities(sql: str, args: Iterable[InValue] | Mapping[str, InValue]) -> Stmt:
    """The statement with its infinities in the SQL, as `coalesce(?, 9e999)` with NULL for the argument."""
    if isinstance(args, Mapping):
        named = {name.lstrip(_PREFIXES): value for name, value in args.items()}
        literals = {name: _literal(value) for name, value in named.items() if _is_infinite(value)}
        finite = {name: None if name in literals else value for name, value in named.items()}
        return _bound(_inlined(sql, literals), finite)
    values = list(args)
    literals = {str(n): _literal(value) for n, value in enumerate(values, 1) if _is_infinite(value)}
    return _bound(_inlined(sql, literals), [None if _is_infinite(value) else value for value in values])


def _inlined(sql: str, literals: Mapping[str, str]) -> str:
    """`sql` in which each variable in `literals`, by number or by name, takes that value when it is NULL."""
    parts: list[str] = []
    numbers: dict[str, int] = {}
    done = largest = 0
    for start, end in variables(sql):
        text = sql[start:end]
        # Numbered as in SQLite: `?` is one more than the largest so far, a name keeps its first number.
        if numbered := re.fullmatch(r"\?(\d*)", text):
            number = int(numbered[1] or largest + 1)
        else:
            number = numbers.setdefault(text, largest + 1)
        largest = max(largest, number)
        if literal := literals.get(text.lstrip(_PREFIXES)) or literals.get(str(number)):
            parts += [sql[done:start], f"coalesce({text}, {literal})"]
            done = end
    return "".join([*parts, sql[done:]])


def _is_infinite(value: InValue) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _literal(value: InValue) -> str:
    return "9e999" if value == math.inf else "-9e999"
