"""Where newcomers come from, and where they go."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Protocol

from freehold.auth.importing.records import Record
from freehold.auth.importing.types import Newcomer, Outcome


class UserSource(Protocol):
    """Users elsewhere. It is only read."""

    async def count(self) -> int | None:
        """How many there are, if that can be told without reading them all. Raises as `batches`."""
        ...

    def batches(self, size: int) -> AsyncGenerator[Sequence[Record], None]:
        """All of them, page by page.

        Raises:
            UnusableSource: it holds no users as they are known here.
            SourceUnavailable: it does not answer.
        """
        ...


class UserImportStore(Protocol):
    """The central database, where they go."""

    async def add(
        self, users_to_import: Sequence[Newcomer], now: datetime, *, dry_run: bool
    ) -> Sequence[Outcome]:
        """Write those who are not here, with tenants, in one transaction; nobody who is here is changed.

        Raises:
            CentralUnavailable: nothing of it was written.
        """
        ...
