"""Limits on a process's connections: their number, the time that a request takes, unsent responses.

One check of all of them a second costs less than a timer for each, and nothing while there are none.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from freehold.log import get_logger

log = get_logger()

_LOOK_S = 1.0
# Longer than proxies and clients keep a connection idle: we must not be the first to close it.
_IDLE_S = 75.0
_LEFTOVER_S = 5.0  # for the rest of a body whose request has been answered
_HURRIED_S = 10.0
_HURRIED_BYTES = 100_000


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    connections: int = 4000
    connections_each: int = 1000
    head_s: float = 20.0
    body_s: float = 30.0
    # A client that moves as much as this comes to in `body_s` gets as long again.
    least_bytes_a_s: int = 1000
    unread_bytes: int = 256_000_000


class Peer(Protocol):
    """One connection, as seen here."""

    address: str

    @property
    def stage(self) -> tuple[int, str]:
        """The number of the request, and its stage: `idle`, `head`, `body`, `leftover` or `waiting`."""

    @property
    def body_bytes(self) -> int:
        """How much of the body has arrived."""

    @property
    def unread_bytes(self) -> int:
        """How much of finished responses the client has not read yet."""

    def refuse(self, status: int, detail: str) -> None:
        """Send an error if that is still possible, and close."""

    def drop(self) -> None:
        """Close at once, and discard what has not been sent."""


@dataclass(slots=True)
class _Window:
    """A period of time, and how much had been moved when it started."""

    since: float = 0.0
    bytes: float = 0.0

    def start(self, now: float, so_far: float) -> None:
        self.since, self.bytes = now, so_far

    def is_over(self, now: float, so_far: float, limit_s: float, least_bytes: float) -> bool:
        """Whether too little was moved for too long. Once enough is, the period starts again."""
        if so_far - self.bytes >= least_bytes:
            self.start(now, so_far)
        return now - self.since > limit_s


@dataclass(slots=True)
class _Seen:
    stage: tuple[int, str] | None = None
    since: float = 0.0
    body: _Window = field(default_factory=_Window)
    most_unread: int = 0
    answer: _Window = field(default_factory=_Window)


class Connections:
    """All connections of one process. For the event loop's thread."""

    def __init__(
        self,
        limits: ConnectionLimits,
        *,
        is_shared: Callable[[str], bool] = lambda _address: False,
        is_short: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_shared`: whether many clients have this address. `is_short`: whether memory for bodies is short."""
        self._limits = limits
        self._is_shared = is_shared
        self._is_short = is_short
        self._clock = clock
        self._all: dict[Peer, _Seen] = {}
        self._by_address: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, peer: Peer) -> str | None:
        """Count a connection. Returns the reason if there is no room for it."""
        limits, address = self._limits, peer.address
        reason = None
        if self._by_address[address] >= limits.connections_each and not self._is_shared(address):
            reason = "too many connections from this address; use those that are open"
        elif len(self._all) >= limits.connections and not self._make_room(address):
            reason = "too many connections; try again in a moment"
        self._all[peer] = _Seen()
        self._by_address[address] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._tick)
        return reason

    def remove(self, peer: Peer) -> None:
        """Stop counting a connection that is closed."""
        if self._all.pop(peer, None) is not None:
            self._by_address[peer.address] -= 1
            if not self._by_address[peer.address]:
                del self._by_address[peer.address]

    def look(self) -> None:
        """Close connections that have used up their time."""
        now, unread_bytes = self._clock(), 0
        for peer, seen in list(self._all.items()):
            self._look_at(peer, seen, now)
            unread_bytes += peer.unread_bytes
        if unread_bytes > self._limits.unread_bytes:
            self._drop_largest(unread_bytes)

    def _tick(self) -> None:
        self._timer = None
        try:
            self.look()
        finally:
            if self._all:
                self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._tick)

    def _look_at(self, peer: Peer, seen: _Seen, now: float) -> None:
        stage = peer.stage
        if stage != seen.stage:
            seen.stage, seen.since = stage, now
            seen.body.start(now, peer.body_bytes)
        age_s, limits = now - seen.since, self._limits
        match stage:
            case (0, "idle") if age_s > limits.head_s:
                peer.drop()
            case (_, "idle") if age_s > _IDLE_S and not peer.unread_bytes:
                peer.drop()
            case (_, "head") if age_s > limits.head_s:
                peer.refuse(408, f"the head of a request has to come within {limits.head_s:g} s")
            case (_, "body") if self._is_slow(peer, seen, now):
                peer.refuse(408, "the body came too slowly; send it on a better connection, or less at a time")
            case (_, "leftover") if age_s > _LEFTOVER_S:
                peer.drop()
        self._look_at_answer(peer, seen, now)

    def _is_slow(self, peer: Peer, seen: _Seen, now: float) -> bool:
        if self._is_short() and now - seen.body.since > _HURRIED_S:
            return seen.body.is_over(now, peer.body_bytes, _HURRIED_S, _HURRIED_BYTES)
        return seen.body.is_over(now, peer.body_bytes, self._limits.body_s, self._least_bytes)

    @property
    def _least_bytes(self) -> float:
        return self._limits.body_s * self._limits.least_bytes_a_s

    def _look_at_answer(self, peer: Peer, seen: _Seen, now: float) -> None:
        unread = peer.unread_bytes
        if unread > seen.most_unread:  # another response
            seen.most_unread = unread
            seen.answer.start(now, 0)
        elif not unread:
            seen.most_unread = 0
        elif seen.answer.is_over(now, seen.most_unread - unread, self._limits.body_s, self._least_bytes):
            log.info("connection.reader_stalled", unread_bytes=unread)
            peer.drop()

    def _drop_largest(self, unread_bytes: int) -> None:
        """Close the connections that hold the most unread bytes until the rest is within the limit."""
        for peer in sorted(self._all, key=lambda each: each.unread_bytes, reverse=True):
            if unread_bytes <= self._limits.unread_bytes:
                return
            unread_bytes -= peer.unread_bytes
            log.info("connection.reader_dropped", unread_bytes=peer.unread_bytes)
            peer.drop()

    def _make_room(self, address: str) -> bool:
        """Close an idle connection of the address with the most, unless `address` has about as many."""
        most, heaviest = max(
            ((count, each) for each, count in self._by_address.items() if not self._is_shared(each)), default=(0, "")
        )
        if most <= self._by_address[address] + 1:
            return False
        for peer in self._all:
            if peer.address == heaviest and peer.stage[1] in {"idle", "head"}:
                peer.drop()
                self.remove(peer)
                return True
        return False
