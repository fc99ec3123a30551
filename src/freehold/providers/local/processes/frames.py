"""The protocol between a process that serves HTTP and an engine process.

A frame is a length of 4 bytes (of what follows it), a call's number of 4 bytes, a kind of 1 byte, and a body. Numbers
are big-endian. Bodies are MessagePack, except that of a reply: an HTTP status of 2 bytes, then JSON.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import TypeVar

import msgspec
from msgspec import Struct

from freehold.errors import FreeholdError, ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.providers.serving import Call, Reply
from freehold.providers.sqlite.limits import Limits

_LENGTH, _HEAD = 4, 9
# The largest bodies are answers, which have their own limits, and our own batches.
_MOST_BYTES = 512 * 1024 * 1024

Decoded = TypeVar("Decoded")


class Kind(IntEnum):
    """The kind of a frame. An answer has the number of its question."""

    # To an engine.
    CALL = 1
    LOST = 2  # the client of that call has gone
    BATCHES = 3
    CLOSE = 4  # the database, until `OPEN` with the same number
    OPEN = 5
    CHECK = 6
    IS_OF_REGISTRY = 7  # the answer to `ASK`
    BYE = 8  # the answer to `GOAWAY`
    # From an engine.
    HELLO = 11
    REPLY = 12
    RESULTS = 13
    DONE = 14
    FAILURE = 15
    ASK = 16  # whether a batch is the registry's
    GOAWAY = 17  # another engine replaces this one


class Batches(Struct, frozen=True):
    """Batches of our own code, for one connection to one database."""

    database_name: str
    batches: tuple[Batch, ...]
    limits: Limits


class Failure(Struct, frozen=True):
    """A `FreeholdError` in transit."""

    kind: str
    message: str


class Penalties(Struct, frozen=True):
    """Databases whose statements could not be stopped; for how many more seconds the penalty engine serves each."""

    seconds: Mapping[str, float] = {}


class GoAway(Struct, frozen=True):
    """A replacement serves; only calls for the databases `kept` still go to the old engine. May be sent repeatedly."""

    kept: Sequence[str]
    penalties: Penalties


class BrokenFrame(Exception):
    """The other side does not speak this protocol."""


class Frames:
    """Reassembles frames from the received pieces."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield the frames that are now complete: number, kind and body.

        Raises:
            BrokenFrame: the length of one is out of bounds.
        """
        if self._parts:
            self._parts.append(data)
            self._size += len(data)
            if self._size < self._needed:
                return
            data = b"".join(self._parts)
            self._parts = []
        at, end = 0, len(data)
        needed = _LENGTH
        while end - at >= _LENGTH:
            length = int.from_bytes(data[at : at + _LENGTH], "big")
            if not _HEAD - _LENGTH <= length <= _MOST_BYTES:
                raise BrokenFrame(f"a frame of {length} bytes")
            stop = at + _LENGTH + length
            if stop > end:
                needed = stop - at
                break
            yield int.from_bytes(data[at + 4 : at + 8], "big"), data[at + 8], data[at + _HEAD : stop]
            at = stop
        if at < end:
            self._parts = [data[at:]]
            self._size, self._needed = end - at, needed


encode = msgspec.msgpack.Encoder().encode
decode_call = msgspec.msgpack.Decoder(Call).decode
decode_batch = msgspec.msgpack.Decoder(Batch).decode
decode_batches = msgspec.msgpack.Decoder(Batches).decode
decode_results = msgspec.msgpack.Decoder(list[BatchResult]).decode
decode_penalties = msgspec.msgpack.Decoder(Penalties).decode
decode_goaway = msgspec.msgpack.Decoder(GoAway).decode
decode_name = msgspec.msgpack.Decoder(str).decode
decode_flag = msgspec.msgpack.Decoder(bool).decode
_decode_failure = msgspec.msgpack.Decoder(Failure).decode


def frame(number: int, kind: Kind, body: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return b"%b%b%c%b" % ((len(body) + 5).to_bytes(4, "big"), number.to_bytes(4, "big"), kind, body)


def reply_body(reply: Reply) -> bytes:
    return reply.status.to_bytes(2, "big") + reply.body


def reply_in(body: bytes) -> Reply:
    return Reply(body[2:], int.from_bytes(body[:2], "big"))


def failure_body(error: FreeholdError) -> bytes:
    return encode(Failure(type(error).__name__, str(error)))


def failure_in(body: bytes) -> FreeholdError:
    """The error as it was raised: of the same class, with the same message."""
    failure = _decode_failure(body)
    kind = _KINDS.get(failure.kind) or _look_again().get(failure.kind, ProviderUnavailable)
    error = kind.__new__(kind)
    FreeholdError.__init__(error, failure.message)
    return error


_KINDS: dict[str, type[FreeholdError]] = {}


def _look_again() -> Mapping[str, type[FreeholdError]]:
    """All error classes by name; importing further modules adds some."""
    found = [FreeholdError]
    for kind in found:
        found.extend(kind.__subclasses__())
    _KINDS.update({kind.__name__: kind for kind in found})
    return _KINDS
