"""The known facts about a file's schema, by which statements are judged; shared by this process's connections to it.

Reading the schema's version from SQLite takes a transaction of its own, as long as a whole short statement. So what
one connection has found out holds for the others too, until something here changes the schema: that is known exactly,
from before it begins until its transaction is over. Another process (a migration, a client of another gateway)
changes it unseen, so the version is read again after a moment. There is such a gap anyway, between reading the version
and a statement's own snapshot; and its effect is bounded, as each view was judged when it was created.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple
from weakref import WeakValueDictionary

import apsw

from freehold.sql.facts import FACTS_SQL, NO_FACTS, Facts
from freehold.sql.guard import answerable, judged, may_change_schema, read_facts

_TRUSTED_S = 0.05


class Found(NamedTuple):
    """The facts of a schema committed with this version, as of a time of `time.monotonic`."""

    version: int
    facts: Facts
    asked_at: float


class FileSchema:
    """What the connections to one file share. Usable from any thread.

    `changes` counts how often something here began or stopped changing the schema.
    """

    __slots__ = ("__weakref__", "_lock", "_trusted_until", "_under_way", "changes", "found")

    def __init__(self) -> None:
        self.found = Found(-1, NO_FACTS, 0.0)
        self.changes = 0
        self._trusted_until = 0.0
        self._lock = threading.Lock()
        self._under_way = 0

    @property
    def is_known(self) -> bool:
        """Whether the found facts are those committed now; otherwise they must be read."""
        return time.monotonic() < self._trusted_until

    def learn(self, found: Found, changes: int) -> None:
        """Keep facts that were read after this many `changes`."""
        with self._lock:
            if found.asked_at < self.found.asked_at:
                return  # another connection has read it since
            self.found = found
            if changes == self.changes and not self._under_way:
                self._trusted_until = found.asked_at + _TRUSTED_S

    def begin_change(self) -> int:
        """Note that a connection may change the schema from now on; returns `changes` after that."""
        return self._note(+1)

    def end_change(self) -> None:
        """Note that this connection's transaction is over."""
        self._note(-1)

    def _note(self, more: int) -> int:
        with self._lock:
            self._under_way += more
            self.changes += 1
            self._trusted_until = 0.0
            return self.changes


_lock = threading.Lock()
_schemas: WeakValueDictionary[tuple[int, int], FileSchema] = WeakValueDictionary()


def schema_of(identity: tuple[int, int]) -> FileSchema:
    """The object that all connections to this file share, for as long as one of them exists."""
    with _lock:
        found = _schemas.get(identity)
        if found is None:
            found = _schemas[identity] = FileSchema()
        return found


class KnownSchema:
    """What one connection knows about its file's schema. `is_changing` says whether its transaction may change it."""

    def __init__(self, identity: tuple[int, int], connection: apsw.Connection) -> None:
        self.is_changing = False
        self._connection = connection
        self._shared = schema_of(identity)
        self._facts = NO_FACTS
        self._facts_of = -1  # by the schema's count of changes

    def judge(
        self, sql: str, *, is_autocommit: bool, is_ours: bool, asking: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Return if SQLite may prepare the statement. Our own SQL runs within `asking`.

        Raises:
            RefusedSql: views and generated columns make it too large.
        """
        changes = may_change_schema(sql)
        if is_autocommit:
            self._facts_of = self._shared.changes
            if changes or not self._shared.is_known:
                with asking():
                    self._look()
            self._facts = self._shared.found.facts
        elif self._facts_of != self._shared.changes:
            # Not earlier: reading the facts takes the transaction's snapshot.
            self._facts_of = self._shared.changes
            with asking():
                self._facts = self._read()
        after = judged(sql, self._facts) if changes or not is_ours else self._facts
        if not changes:
            return
        if not self.is_changing:
            self.is_changing = True
            if self._shared.begin_change() == self._facts_of + 1:  # nobody else has changed it since
                self._facts_of += 1
        # Plain tables, columns and indexes change nothing that is known, so a migration reads the schema only once.
        if is_autocommit or not after is self._facts is NO_FACTS:
            self._facts_of = -1

    def answerable(self, sql: str) -> str:
        """The text, or another with the same answer that expands no view that is too large. Raises `RefusedSql`."""
        return answerable(sql, self._facts)

    def end_change(self) -> None:
        """Note that no transaction is open, so this connection no longer changes the schema."""
        if self.is_changing:
            self.is_changing = False
            self._shared.end_change()

    def _look(self) -> None:
        """Read the committed schema."""
        changes, asked_at = self._shared.changes, time.monotonic()
        version = self._connection.execute("PRAGMA schema_version").get
        found = self._shared.found
        facts = found.facts if found.version == version else self._read()
        self._shared.learn(Found(version, facts, asked_at), changes)

    def _read(self) -> Facts:
        """The facts, without shadow tables: SQLite itself protects these here, in its defensive mode."""
        return read_facts(self._connection.execute(FACTS_SQL).fetchall())
