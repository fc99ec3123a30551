"""Memory for large bodies, of all connections together: from their first byte until their request is answered.

Small ones take none of it, so that whoever signs in or asks for little does not notice when it is used up. One client
address gets a part of it only.
"""

from collections import Counter
from dataclasses import dataclass, field

from freehold.errors import Unavailable

SMALL_BYTES = 65_536


class NoRoom(Unavailable):
    """More bytes at once than there is memory for; the same request may work in a moment."""

    code = "too_many_bytes"


@dataclass(slots=True)
class BodyRoom:
    """`total_bytes` for everybody, `each_bytes` for one address."""

    total_bytes: int
    each_bytes: int
    used_bytes: int = 0
    by_address: Counter[str] = field(default_factory=Counter)

    @property
    def is_short(self) -> bool:
        """Whether more than half of it is used."""
        return 2 * self.used_bytes > self.total_bytes

    def enter(self, address: str, announced_bytes: int) -> "Place":
        """A place for one body. Nothing is taken yet, but it is asked whether what was announced could come in.

        Raises:
            NoRoom: it could not.
        """
        self._check(address, announced_bytes)
        return Place(self, address)

    def take(self, address: str, size: int) -> None:
        """So much more of a body has come. Raises `NoRoom`, and nothing is taken then."""
        self._check(address, size)
        self.used_bytes += size
        self.by_address[address] += size

    def give_back(self, address: str, size: int) -> None:
        """A body is no longer needed."""
        self.used_bytes -= size
        self.by_address[address] -= size
        if not self.by_address[address]:
            del self.by_address[address]

    def _check(self, address: str, size: int) -> None:
        if self.by_address[address] + size > self.each_bytes:
            raise NoRoom("too much is being sent from this address at once; try again in a moment")
        if self.used_bytes + size > self.total_bytes:
            raise NoRoom("too much is being sent at once; try again in a moment")


class Place:
    """What one body holds of the room."""

    __slots__ = ("_address", "_room", "_size")

    def __init__(self, room: BodyRoom, address: str) -> None:
        self._room = room
        self._address = address
        self._size = 0

    def grow(self, size: int) -> None:
        """So much more has come. Raises `NoRoom`."""
        self._room.take(self._address, size)
        self._size += size

    def leave(self) -> None:
        """Give back all of it."""
        if self._size:
            self._room.give_back(self._address, self._size)
            self._size = 0
