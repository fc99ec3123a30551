"""A bounded number of connections for many databases: if none is left, the database that holds most gives way."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from freehold.providers.failures import Overloaded

T = TypeVar("T")


class Idle(NamedTuple, Generic[T]):
    """A stream that waits for its client and may be closed. `until` is when it expires."""

    database_name: str
    in_transaction: bool
    until: float
    stream: T


class ConnectionBudget:
    """Counts the connections of each database and of all together. For the event loop's thread.

    A database at its own limit gives way to itself: of its streams outside a transaction, the one idle for longest is
    closed. If all connections are taken, the database that holds most gives way, first with streams outside a
    transaction. With `spares_transactions` it loses one in a transaction only if it holds more than others do.
    """

    def __init__(
        self, limit: int, limit_each: int, *, spent_each: str, spent: str, spares_transactions: bool = False
    ) -> None:
        """`spent_each` and `spent` are what a client reads when its database, or all together, hold too much."""
        self.limit = limit
        self.limit_each = limit_each
        self._spent_each = spent_each
        self._spent = spent
        self._spares_transactions = spares_transactions
        self._held: dict[str, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def held(self, database_name: str) -> int:
        """The number of connections that the database holds."""
        return self._held.get(database_name, 0)

    def add(self, database_name: str) -> None:
        """Count one more for the database."""
        self._held[database_name] = self._held.get(database_name, 0) + 1
        self._total += 1

    def remove(self, database_name: str) -> None:
        """Count one less for the database."""
        self._total -= 1
        if self._held[database_name] > 1:
            self._held[database_name] -= 1
        else:
            del self._held[database_name]

    def is_tight(self, database_name: str) -> bool:
        """Whether one more for this database needs another to be closed."""
        return self._total >= self.limit or self._held.get(database_name, 0) >= self.limit_each

    def gives_way(self, database_name: str, idle: Iterable[Idle[T]]) -> Idle[T] | None:
        """The stream to close before the database gets one more connection; None if none needs to be closed.

        Raises:
            Overloaded: one would have to be closed, but no idle one may be.
        """
        own = self._held.get(database_name, 0)
        if own >= self.limit_each:
            found = [one for one in idle if one.database_name == database_name and not one.in_transaction]
            if not found:
                raise Overloaded(self._spent_each)
            return min(found, key=lambda one: one.until)
        if self._total < self.limit:
            return None

        def count(one: Idle[T]) -> int:
            return self._held[one.database_name] + (one.database_name == database_name)

        # With one more the database would hold `own + 1`, and may not take one from a database that holds less.
        found = [one for one in idle if count(one) > own + (self._spares_transactions and one.in_transaction)]
        if not found:
            raise Overloaded(self._spent)
        return min(found, key=lambda one: (-count(one), one.in_transaction, one.until))

    def overloaded(self) -> Overloaded:
        """The error for a client that finds all connections taken."""
        return Overloaded(self._spent)
