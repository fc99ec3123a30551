"""Converts Python's SQL values to Hrana's and back."""

import base64
import math

from freehold.libsql.protocol import Blob, Float, Integer, Null, Text, Value

SqlValue = None | int | float | str | bytes


def encode(value: SqlValue) -> Value:
    """The Hrana value for a Python one. An infinite float becomes `Float(None)`: JSON has none."""
    match value:
        case None:
            return Null()
        case int():
            return Integer(str(int(value)))
        case float():
            return Float(value if math.isfinite(value) else None)
        case str():
            return Text(value)
        case bytes():
            return Blob(base64.b64encode(value).decode().rstrip("="))


def decode(value: Value) -> SqlValue:
    """The Python value for a Hrana one."""
    match value:
        case Null():
            return None
        case Integer(value=digits):
            return int(digits)
        case Float(value=number):
            return number
        case Text(value=text):
            return text
        case Blob(base64=text):
            return base64.b64decode(text + "=" * (-len(text) % 4))
