"""A bounded number of connections for many databases: where none is left, whoever holds most gives way."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from freehold.providers.failures import Overloaded

T = TypeVar("T")


class Idle(NamedTuple, Generic[T]):
    """A stream that waits for its client, and could be closed. `until` is when it ends by itself."""

    database_name: str
    in_transaction: bool
    until: float
    stream: T


class ConnectionBudget:
    """Counts what each database holds, and what all hold together. For the event loop's thread.

    A database that holds all it may gives way to itself: of its streams that are in no transaction, the one that is
    idle for longest is closed. Where all connections are taken, the database that holds most gives way, first with
    what is in no transaction. With `spares_transactions` it loses one that is only if it holds more than others do.
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
        """How many the database holds."""
        return self._held.get(database_name, 0)

    def add(self, database_name: str) -> None:
        """The database holds one more."""
        self._held[database_name] = self._held.get(database_name, 0) + 1
        self._total += 1

    def remove(self, database_name: str) -> None:
        """The database holds one less."""
        self._total -= 1
        if self._held[database_name] > 1:
            self._held[database_name] -= 1
        else:
            del self._held[database_name]

    def is_tight(self, database_name: str) -> bool:
        """Whether one more for this database needs another to be closed."""
        return self._total >= self.limit or self._held.get(database_name, 0) >= self.limit_each

    def gives_way(self, database_name: str, idle: Iterable[Idle[T]]) -> Idle[T] | None:
        """What is to be closed before the database gets one more; None where nothing has to be.

        Raises:
            Overloaded: something has to be, and nothing that is idle may be.
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

        # With one more the database would hold `own + 1`, and takes from nobody who holds less.
        found = [one for one in idle if count(one) > own + (self._spares_transactions and one.in_transaction)]
        if not found:
            raise Overloaded(self._spent)
        return min(found, key=lambda one: (-count(one), one.in_transaction, one.until))

    def overloaded(self) -> Overloaded:
        """The error for whoever finds all connections taken."""
        return Overloaded(self._spent)
