"""Protobuf as far as a replica's messages need it, read strictly: anything unknown is refused.

A repeated field that may occur only once would be merged by sqld and read differently by others, so it is refused as
well. Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

from freehold.errors import InvalidInput

VARINT, BYTES = 0, 2
FRAME_HEAD_BYTES = 5
_MAX_VARINT_BYTES = 10


def fields_of(message: bytes, kinds: dict[int, int]) -> dict[int, bytes]:
    """Each field at most once, of these numbers and kinds only; a number's value is left out."""
    found: dict[int, bytes] = {}
    for number, kind, value in parsed(message):
        require(kinds.get(number) == kind and number not in found, "field")
        found[number] = value
    return found


def each(message: bytes, what: str) -> Iterator[bytes]:
    """The values of a message that consists of its field 1, any number of times."""
    for number, kind, value in parsed(message):
        require(kind == BYTES and number == 1, what)
        yield value


def parsed(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The number, kind and value of each field in order; the value of a number is left out."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            _, at = varint(message, at)
            yield tag >> 3, kind, b""
        else:
            require(kind == BYTES, "kind of field")
            size, at = varint(message, at)
            require(at + size <= len(message), "length")
            yield tag >> 3, kind, message[at : at + size]
            at += size


def varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that starts at `at`, and the position after it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        require(at + index < len(message), "number")
        byte = message[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise InvalidInput("a number in the message is too long")


def encoded(number: int, value: bytes) -> bytes:
    """A field that holds bytes."""
    size, head = len(value), bytearray([number << 3 | BYTES])
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + value


def field(fields: dict[int, bytes], number: int) -> bytes:
    """The field. Raises `InvalidInput` if it is missing."""
    require(number in fields, "message")
    return fields[number]


def require(is_so: bool, what: str) -> None:
    """Raise `InvalidInput` unless `is_so`."""
    if not is_so:
        raise InvalidInput(f"unexpected {what} in a delegated write; write through the database's URL instead")


def disconnect_message(connection_id: str) -> bytes:
    """A framed `DisconnectMessage` for a connection whose id was made here."""
    return framed(encoded(1, connection_id.encode()))


def framed(message: bytes) -> bytes:
    """A gRPC-web body of one message."""
    return b"\0" + len(message).to_bytes(4, "big") + message
