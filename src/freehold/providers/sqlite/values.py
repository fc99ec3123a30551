"""Converts Hrana's values to SQLite's and back."""

import binascii
import math
import re
from collections.abc import Sequence
from typing import Any

from freehold.errors import InvalidInput
from freehold.libsql.protocol import Blob, Float, Integer, NamedArg, Null, Text, Value

Native = int | float | str | bytes | None

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_NULL = Null()
_CELL_BYTES = 24  # of JSON around each value


def to_native(value: Value) -> Native:
    """The value to bind in SQLite.

    Raises:
        InvalidInput: an integer has more than 64 bits, or a blob is not base64.
    """
    match value:
        case Text(value=text):
            return text
        case Integer(value=digits):
            return _to_int(digits)
        case Float(value=number):
            return number
        case Blob(base64=text):
            return _to_bytes(text)
        case _:
            return None


def to_natives(values: Sequence[Value]) -> list[Native]:
    return [to_native(value) for value in values]


def to_native_map(arguments: Sequence[NamedArg]) -> dict[str, Native]:
    """Arguments by name, without the prefix."""
    return {
        argument.name[1:] if argument.name[:1] in {":", "@", "$", "?"} else argument.name: to_native(argument.value)
        for argument in arguments
    }


def from_row(row: Sequence[Any]) -> tuple[list[Value], int]:
    """A row as Hrana's values, and the approximate size of its JSON in bytes."""
    values: list[Value] = []
    size = _CELL_BYTES * len(row)
    for cell in row:
        kind = type(cell)  # SQLite itself has no other types
        if kind is str:
            values.append(Text(cell))
            size += len(cell)
        elif kind is int:
            values.append(Integer(str(cell)))
        elif cell is None:
            values.append(_NULL)
        elif kind is float:
            values.append(Float(cell if math.isfinite(cell) else None))
        else:
            text = binascii.b2a_base64(cell, newline=False).rstrip(b"=").decode()
            values.append(Blob(text))
            size += len(text)
    return values, size


def _to_int(digits: str) -> int:
    if _INTEGER.fullmatch(digits):
        number = int(digits)
        if -(2**63) <= number < 2**63:
            return number
    raise InvalidInput("an integer value must be a string of decimal digits that fits into 64 bits")


def _to_bytes(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), strict_mode=True)
    except ValueError as error:
        raise InvalidInput("a blob value must be standard base64") from error
