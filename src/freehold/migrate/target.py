"""What the migration core needs from a database: to run Hrana batches, in order, on one connection."""

from collections.abc import Sequence
from typing import Protocol

from freehold.libsql.protocol import Batch, BatchResult


class Target(Protocol):
    """One tenant database that migrations can be applied to."""

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches in order on one connection, in one round trip; a failed step is in the result.

        A transaction that is still open at the end is rolled back.

        Raises:
            Unavailable: no answer; whether it ran is unknown.
        """
