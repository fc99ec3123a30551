"""A bounded number of open connections of all tenants. For the event loop's thread; blocking work runs in workers."""

import time
from collections import Counter, OrderedDict, defaultdict

from freehold.providers.failures import Overloaded
from freehold.providers.local.workers import Workers
from freehold.providers.sqlite.session import Session

_Key = tuple[str, bool]  # database, read-only


class Pool:
    """Counts open connections and keeps idle ones for the next user; those unused for longest are closed first."""

    def __init__(self, workers: Workers, limit: int, idle_limit_s: float) -> None:
        self._workers = workers
        self._limit = limit
        self._idle_limit_s = idle_limit_s
        self._idle: OrderedDict[Session, float] = OrderedDict()  # since when
        self._idle_of: defaultdict[_Key, list[Session]] = defaultdict(list)
        self._open_of: Counter[str] = Counter()

    @property
    def open_count(self) -> int:
        """The number of connections in use, idle, or about to be opened."""
        return self._open_of.total()

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    def open_of(self, database_name: str) -> int:
        """The number of open connections to one database."""
        return self._open_of[database_name]

    def take(self, database_name: str, *, read_only: bool) -> Session | None:
        """An idle connection, or None, in which case the caller may open one.

        Raises:
            Overloaded: all are in use.
        """
        idle = self._idle_of.get((database_name, read_only))
        if idle:
            session = idle[-1]  # the one used last has the warmest cache
            self._remove(session)
            return session
        if self._open_of.total() >= self._limit:
            if not self._idle:
                raise Overloaded("too many databases are in use at once; try again in a moment")
            self.discard(next(iter(self._idle)))
        self._open_of[database_name] += 1
        return None

    def give_back(self, session: Session) -> None:
        """Keep a connection that was reset."""
        self._idle[session] = time.monotonic()
        self._idle_of[_key(session)].append(session)

    def discard(self, session: Session) -> None:
        """Close a connection, idle or not."""
        if session in self._idle:
            self._remove(session)
        name = session.name
        # It counts as open until it is closed: file descriptors are the scarce resource.
        self._workers.submit(session.close, lambda _result, _error: self.forget(name))

    def forget(self, database_name: str) -> None:
        """Stop counting a connection that is closed or could not be opened."""
        self._open_of[database_name] -= 1
        if self._open_of[database_name] <= 0:
            del self._open_of[database_name]

    def drop(self, database_name: str) -> None:
        """Close the idle connections of one database."""
        for read_only in (False, True):
            for session in list(self._idle_of.get((database_name, read_only), ())):
                self.discard(session)

    def sweep(self, now: float) -> None:
        """Close connections that have been idle for long."""
        for session, since in list(self._idle.items()):
            if now - since < self._idle_limit_s:
                return
            self.discard(session)

    def drop_all(self) -> None:
        """Close all that are idle."""
        for session in list(self._idle):
            self.discard(session)

    def _remove(self, session: Session) -> None:
        del self._idle[session]
        of_key = self._idle_of[_key(session)]
        of_key.remove(session)
        if not of_key:
            del self._idle_of[_key(session)]


def _key(session: Session) -> _Key:
    return session.name, session.read_only
