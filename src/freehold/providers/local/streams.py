"""Streams that continue after a request: an open connection, found again by its baton."""

import hmac
import math
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from freehold.lru import Lru
from freehold.providers.connection_budget import ConnectionBudget, Idle
from freehold.providers.failures import BadBaton, StreamExpired
from freehold.providers.grants import Grant
from freehold.providers.sqlite.session import Session

_REMEMBERED = 1000
_CLOSED = "the stream has expired: it was idle for too long, or its database closed it"
_TRANSACTION_TOO_LONG = "the transaction lasted longer than one may; it is rolled back, begin again"


@dataclass(slots=True)
class Stream:
    """One stream. `secret` is what the next baton must contain; None while a request runs on it."""

    stream_id: str
    grant: Grant
    stored_sql: dict[int, str] = field(default_factory=dict)
    session: Session | None = None
    secret: str | None = None
    next_secret: str = ""
    expires_at: float = 0.0
    in_transaction: bool = False
    transaction_ends_at: float = math.inf

    @property
    def next_baton(self) -> str:
        """The baton that continues the stream after the current request."""
        return f"{self.stream_id}.{self.next_secret}"


class Streams:
    """All open streams, within a `ConnectionBudget`. For the event loop's thread."""

    def __init__(self, idle_limit_s: float, limit: int, limit_each: int) -> None:
        self._idle_limit_s = idle_limit_s
        self._budget = ConnectionBudget(
            limit,
            limit_each,
            spent_each=f"this database has {limit_each} open streams; close them, or wait until they expire",
            spent="too many streams are open on this server; try again in a moment",
            spares_transactions=True,
        )
        self._streams: dict[str, Stream] = {}
        self._expired: Lru[str, str] = Lru(_REMEMBERED)  # each with its error message

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def database_names(self) -> set[str]:
        """The databases that have one."""
        return {stream.grant.database_name for stream in self._streams.values()}

    def make_room(self, grant: Grant) -> list[Stream]:
        """If a limit is reached, close an idle stream and return it. Many clients forget to close theirs.

        Raises:
            Overloaded: too many are open, on this database or in total, and none of them may be closed.
        """
        gives_way = self._budget.gives_way(grant.database_name, self._idle())
        return [] if gives_way is None else self._expire([gives_way.stream])

    def open(self, grant: Grant) -> Stream:
        """A new stream, for which `make_room` has made room; it counts until it is closed."""
        stream = Stream(secrets.token_urlsafe(12), grant, next_secret=secrets.token_urlsafe(18))
        self._streams[stream.stream_id] = stream
        self._budget.add(grant.database_name)
        return stream

    def take(self, baton: str, grant: Grant) -> Stream:
        """The stream that the baton continues; the baton is used up.

        Raises:
            StreamExpired: it was idle for too long.
            BadBaton: unknown, already used, or of another database or token; which one is not revealed.
        """
        stream_id, _, secret = baton.partition(".")
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id in self._expired:
                raise StreamExpired(self._expired[stream_id])
            raise BadBaton
        is_right = stream.secret is not None and hmac.compare_digest(
            stream.secret.encode(), secret.encode(errors="replace")
        )
        if not is_right or stream.grant != grant:
            raise BadBaton("the baton is not valid, or was used already")
        stream.secret = None
        stream.next_secret = secrets.token_urlsafe(18)
        return stream

    def put_back(self, stream: Stream) -> None:
        """Keep the stream for its next request."""
        stream.secret = stream.next_secret
        stream.expires_at = time.monotonic() + self._idle_limit_s

    def close(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        if self._streams.pop(stream.stream_id, None) is not None:
            self._budget.remove(stream.grant.database_name)

    def expired(self, now: float) -> list[Stream]:
        """Close and return the streams that were idle, or in one transaction, for too long."""
        idle = [s for s in self._streams.values() if s.secret is not None]
        return [
            *self._expire([s for s in idle if s.transaction_ends_at <= now], _TRANSACTION_TOO_LONG),
            *self._expire([s for s in idle if s.expires_at <= now < s.transaction_ends_at]),
        ]

    def overdue(self, baton: str) -> list[Stream]:
        """Close and return the stream of this baton if it was in one transaction for too long."""
        stream = self._streams.get(baton.partition(".")[0])
        if stream is None or stream.secret is None or stream.transaction_ends_at > time.monotonic():
            return []
        return self._expire([stream], _TRANSACTION_TOO_LONG)

    def idle_of(self, database_name: str | None) -> list[Stream]:
        """Close and return all idle streams of a database, or of all if it is None."""
        return self._expire([one.stream for one in self._idle() if database_name in {None, one.database_name}])

    def _idle(self) -> Iterator[Idle[Stream]]:
        for stream in self._streams.values():
            if stream.secret is not None:
                yield Idle(stream.grant.database_name, stream.in_transaction, stream.expires_at, stream)

    def _expire(self, streams: list[Stream], reason: str = _CLOSED) -> list[Stream]:
        for stream in streams:
            self.close(stream)
            self._expired[stream.stream_id] = reason
        return streams
