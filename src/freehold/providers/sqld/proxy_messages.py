"""The messages by which an embedded replica hands its writes on, read strictly: what is not known is refused.

Source: proxy.proto of libSQL. Only what carries SQL, or names a connection, is looked into; arguments and conditions
pass as they are. A field that may come once and comes twice would be merged by sqld and read otherwise by others,
so it is refused as well.
"""

import hmac
import uuid
from collections.abc import Iterator
from hashlib import sha256

from freehold.errors import InvalidInput
from freehold.libsql.guard import check_reading_sql, check_sql
from freehold.providers.tokens import Grant

_VARINT, _BYTES = 0, 2
_MAX_VARINT_BYTES = 10
_FRAME_HEAD_BYTES = 5


class ProxyMessages:
    """Checks and rewrites. sqld finds a replica's connection by the id that the replica chose, whoever asks; here
    the id becomes one that only this token and database lead to."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def execute(self, message: bytes, grant: Grant) -> bytes:
        """`ProgramReq`: a connection's id and a program, each step of which has a query."""
        fields = _fields(message, {1: _BYTES, 2: _BYTES})
        for number, step in _each(_field(fields, 2)):
            _require(number == 1, "Program")
            query = _field(_fields(step, {1: _BYTES, 2: _BYTES}), 2)
            parts = _fields(query, {1: _BYTES, 2: _BYTES, 3: _BYTES, 4: _VARINT})
            sql = _text(parts.get(1, b""))
            check_sql(sql)
            if grant.access_level == "read_only":
                check_reading_sql(sql)
        return _encoded(1, self._own_id(fields, grant)) + _encoded(2, _field(fields, 2))

    def describe(self, message: bytes, grant: Grant) -> bytes:
        """`DescribeRequest`: a connection's id and a statement."""
        fields = _fields(message, {1: _BYTES, 2: _BYTES})
        sql = fields.get(2, b"")
        check_sql(_text(sql))
        return _encoded(1, self._own_id(fields, grant)) + _encoded(2, sql)

    def disconnect(self, message: bytes, grant: Grant) -> bytes:
        """`DisconnectMessage`: a connection's id."""
        return _encoded(1, self._own_id(_fields(message, {1: _BYTES}), grant))

    def _own_id(self, fields: dict[int, bytes], grant: Grant) -> bytes:
        """Always a UUID: sqld's worker dies of anything else."""
        bound_to = b"\0".join(
            (grant.token_digest, grant.access_level.encode(), grant.database_name.encode(), _field(fields, 1))
        )
        return str(uuid.UUID(bytes=hmac.digest(self._secret, bound_to, sha256)[:16], version=4)).encode()


def connection_of(message: bytes) -> str:
    """The id of the connection that a message made here is for."""
    return next(value for number, _, value in _parsed(message) if number == 1).decode()


def steps_of(message: bytes) -> int:
    """How many statements a `ProgramReq` that was made here has."""
    program = next(value for number, _, value in _parsed(message) if number == 2)
    return sum(number == 1 for number, _, _ in _parsed(program))


def unframed(body: bytes) -> bytes:
    """The one message in a gRPC-web body."""
    size = int.from_bytes(body[1:_FRAME_HEAD_BYTES], "big")
    if len(body) != _FRAME_HEAD_BYTES + size or body[0] != 0:
        raise InvalidInput("expected one gRPC-web frame, not compressed")
    return body[_FRAME_HEAD_BYTES:]


def framed(message: bytes) -> bytes:
    """A gRPC-web body of one message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _fields(message: bytes, kinds: dict[int, int]) -> dict[int, bytes]:
    """Each field at most once, of these numbers and kinds only; a number's value is left out."""
    found: dict[int, bytes] = {}
    for number, kind, value in _parsed(message):
        _require(kinds.get(number) == kind and number not in found, "field")
        found[number] = value
    return found


def _each(message: bytes) -> Iterator[tuple[int, bytes]]:
    for number, kind, value in _parsed(message):
        _require(kind == _BYTES, "field")
        yield number, value


def _parsed(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            yield tag >> 3, kind, b""
        else:
            _require(kind == _BYTES, "kind of field")
            size, at = _varint(message, at)
            _require(at + size <= len(message), "length")
            yield tag >> 3, kind, message[at : at + size]
            at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        _require(at + index < len(message), "number")
        byte = message[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise InvalidInput("a number in the message is too long")


def _encoded(number: int, value: bytes) -> bytes:
    size, head = len(value), bytearray([number << 3 | _BYTES])
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + value


def _field(fields: dict[int, bytes], number: int) -> bytes:
    _require(number in fields, "message")
    return fields[number]


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("SQL text must be UTF-8") from error


def _require(is_so: bool, what: str) -> None:
    if not is_so:
        raise InvalidInput(
            f"unexpected {what} in a delegated write; write through the database's URL instead"
        )
