"""The holders of sqld's connections: calls under way, and streams that wait for their next call.

sqld has 128 connections for all namespaces together, and holds one for each open stream: from a pipeline without
`close`, and from each cursor, until it is closed or has been idle for ten seconds. A client that leaves 128 open blocks
everyone. So each database may hold some, and all together fewer than sqld has.

Each process counts on its own. A stream that continues in another process is counted there, and here until it would
have expired.
"""

import math
import time
from collections.abc import Callable, Iterator

from freehold.lru import Lru
from freehold.providers.connection_budget import ConnectionBudget, Idle
from freehold.providers.failures import StreamExpired

# How long sqld 0.24.32 keeps unused ones, as measured: a stream up to 10.8 s, a replica's connection a minute.
STREAM_S = 11.0
REPLICA_S = 62.0
_LIMIT = 112  # of sqld's 128: the others are for migrations, checks and the central database
_LIMIT_EACH = 32
_REMEMBERED = 1000


class Place:
    """One of sqld's connections, from `Places.take` to `leave`, and for as long after it as something stays open.

    `instead_of` is the database and the baton of a stream that must be closed first: the place was its.
    """

    __slots__ = (
        "has_written",
        "holder",
        "instead_of",
        "is_left",
        "is_plain",
        "key",
        "lasts_s",
        "places",
        "sent_at",
        "since",
        "until",
        "waits_as_stream",
    )

    def __init__(self, places: "Places", holder: "Holder", instead_of: tuple[str, str] | None) -> None:
        self.places = places
        self.holder = holder
        self.instead_of = instead_of
        self.is_left = False
        self.key: object | None = None
        self.lasts_s = 0.0
        self.waits_as_stream = False
        self.until = 0.0
        self.since = 0.0  # when the stream was last in no transaction, in seconds of `time.time`
        self.is_plain = False  # nothing in the stream can have begun a transaction
        self.has_written = False  # something in it may have written, if it was not refused
        self.sent_at = places.now()

    def sent(self) -> None:
        """Note that the call is about to be sent: what it leaves open is open on the sqld that runs from now on."""
        self.sent_at = self.places.now()

    def keep(self, baton: str | None) -> None:
        """After the call a stream waits for this baton; with None nothing stays open."""
        self.key, self.lasts_s, self.waits_as_stream = baton, STREAM_S, True

    def keep_unseen(self, lasts_s: float = STREAM_S, key: object | None = None) -> None:
        """After the call something may stay open that no baton closes; a call with this `key` continues it."""
        self.key, self.lasts_s, self.waits_as_stream = key or self, lasts_s, False

    def leave(self) -> None:
        """Note that the call is done, successfully or not. Only the first time counts."""
        if not self.is_left:
            self.is_left = True
            self.places.settle(self)


class Holder:
    """What the calls of one database have left open."""

    __slots__ = ("name", "others", "streams")

    def __init__(self, name: str) -> None:
        self.name = name
        self.streams: dict[object, Place] = {}  # by their batons
        self.others: dict[object, Place] = {}


class Places:
    """The places of all databases, within a `ConnectionBudget`. For the event loop's thread.

    Running calls cannot be closed, so one database may have no more of them than are left for the others.
    """

    def __init__(
        self, limit: int = _LIMIT, limit_each: int = _LIMIT_EACH, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._budget = ConnectionBudget(
            limit,
            limit_each,
            spent_each=f"this database has {limit_each} calls and open streams at once; "
            "close streams, or wait until they expire",
            spent="too many requests at once; try again in a moment",
        )
        self.now = now
        self._gone_before = -math.inf
        self._holders: dict[str, Holder] = {}
        self._streams = 0  # of all databases
        self._closed: Lru[object, None] = Lru(_REMEMBERED)

    def __len__(self) -> int:
        return len(self._budget)

    def take(self, database_name: str, key: object | None = None) -> Place:
        """A place for a call; with a `key`, that of the stream or connection which the call continues.

        Raises:
            Overloaded: this database holds too many, or all together do.
            StreamExpired: the stream was closed to make room.
        """
        holder = self._holders.get(database_name) or Holder(database_name)
        if key is not None:
            found = self._taken_up(holder, key)
            if found is not None:
                return found
        if self._budget.is_tight(database_name) or self._leaves_too_few(holder):
            self._forget_expired()
        gives_way = self._budget.gives_way(database_name, self._idle())
        if self._leaves_too_few(holder):
            raise self._budget.overloaded()
        instead_of = None if gives_way is None else self._given_up(gives_way.stream)
        self._holders[database_name] = holder
        return self._begun(holder, instead_of)

    def has_open(self, database_name: str, key: object) -> bool:
        """Whether something waits under this key."""
        holder = self._holders.get(database_name)
        return holder is not None and (key in holder.streams or key in holder.others)

    def may_hold_lock(self, database_name: str, key: object) -> bool:
        """Whether the stream that waits under this key may be in a transaction that writes."""
        holder = self._holders.get(database_name)
        place = None if holder is None else holder.streams.get(key)
        return place is not None and place.has_written and not place.is_plain

    def settle(self, place: Place) -> None:
        """Count what the finished call of this place has left open."""
        holder = place.holder
        if place.key is not None:
            self._forget(holder, place.key, ends=False)
        if place.key is not None and place.sent_at >= self._gone_before:
            place.until = self.now() + place.lasts_s
            if place.waits_as_stream:
                holder.streams[place.key] = place
                self._streams += 1
            else:
                holder.others[place.key] = place
        else:
            self._budget.remove(holder.name)
            self._end(holder)

    def waiting_of(self, database_name: str) -> tuple[list[str], list[str]]:
        """The batons of a database's waiting streams, and the keys of what else is open there."""
        holder = self._holders.get(database_name)
        if holder is None:
            return [], []
        return ([str(key) for key in holder.streams], [key for key in holder.others if isinstance(key, str)])

    def closed(self, database_name: str, baton: str) -> None:
        """Note that we closed this stream; continuing it raises `StreamExpired`."""
        holder = self._holders.get(database_name)
        if holder is not None and baton in holder.streams:
            self._forget(holder, baton)
            self._closed[baton] = None

    def forget_before(self, moment: float) -> None:
        """Forget what was sent before this time, at which sqld was down; its calls leave nothing open."""
        self._gone_before = max(self._gone_before, moment)
        for holder in list(self._holders.values()):
            for waiting in (holder.streams, holder.others):
                for key in [key for key, place in waiting.items() if place.sent_at < moment]:
                    self._forget(holder, key)

    def _taken_up(self, holder: Holder, key: object) -> Place | None:
        """A new place for what waits under the key; it has one already, so it is never refused."""
        if key in self._closed:
            raise StreamExpired("the stream was closed to make room for others; its transaction is rolled back")
        before = holder.streams.get(key) or holder.others.get(key)
        if before is None:
            return None
        self._forget(holder, key, ends=False)
        place = self._begun(holder, None)
        place.is_plain, place.has_written = before.is_plain, before.has_written
        return place

    def _begun(self, holder: Holder, instead_of: tuple[str, str] | None) -> Place:
        self._budget.add(holder.name)
        return Place(self, holder, instead_of)

    def _idle(self) -> Iterator[Idle[Place]]:
        """The waiting streams of all databases."""
        for holder in self._holders.values():
            for place in holder.streams.values():
                yield Idle(holder.name, not place.is_plain, place.until, place)

    def _leaves_too_few(self, holder: Holder) -> bool:
        """Whether the database has as many places that closing a stream cannot free as are left for others."""
        firm = self._budget.held(holder.name) - len(holder.streams)
        return firm >= self._budget.limit - (len(self._budget) - self._streams)

    def _given_up(self, place: Place) -> tuple[str, str]:
        self._forget(place.holder, place.key)
        self._closed[place.key] = None
        return place.holder.name, str(place.key)

    def _forget_expired(self) -> None:
        now = self.now()
        for holder in list(self._holders.values()):
            for waiting in (holder.streams, holder.others):
                for key in [key for key, place in waiting.items() if place.until <= now]:
                    self._forget(holder, key)

    def _forget(self, holder: Holder, key: object, *, ends: bool = True) -> None:
        """Stop counting what waits under the key, if anything does."""
        if holder.streams.pop(key, None) is not None:
            self._streams -= 1
            self._budget.remove(holder.name)
        elif holder.others.pop(key, None) is not None:
            self._budget.remove(holder.name)
        if ends:
            self._end(holder)

    def _end(self, holder: Holder) -> None:
        """Forget the database once it holds nothing."""
        if not self._budget.held(holder.name):
            self._holders.pop(holder.name, None)
