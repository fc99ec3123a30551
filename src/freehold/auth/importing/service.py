"""Moving in: users of another installation, with the passwords and sessions that they have there."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from freehold.auth.importing.records import Ending, Newcomer, Outcome, Record, Unusable, newcomer
from freehold.dates import utc_now


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

    async def add(self, users_to_import: Sequence[Newcomer], now: datetime, *, dry_run: bool) -> Sequence[Outcome]:
        """Write those who are not here, with tenants, in one transaction; nobody who is here is changed.

        Raises:
            CentralUnavailable: nothing of it was written.
        """
        ...


_A_TRANSACTION = 500


@dataclass(frozen=True, slots=True)
class UserImport:
    """Safe to stop and to repeat: a batch is a transaction, and who is here already is left as they are."""

    store: UserImportStore
    clock: Callable[[], datetime] = utc_now

    async def run(self, source: UserSource, *, dry_run: bool = False) -> AsyncIterator[Sequence[Outcome]]:
        """Bring in everyone; returns what became of them, batch by batch, each once it is committed.

        With `dry_run` nothing is kept, and who would stand in another newcomer's way is not seen.

        Raises:
            UnusableSource, SourceUnavailable: of the source.
            CentralUnavailable: the batches before are here to stay; repeat it.
        """
        now = self.clock()
        async with aclosing(source.batches(_A_TRANSACTION)) as batches:
            async for records in batches:
                usable, unusable = _sorted(records, now)
                outcomes = await self.store.add(usable, now, dry_run=dry_run) if usable else []
                yield [*outcomes, *unusable]


def _sorted(records: Sequence[Record], now: datetime) -> tuple[list[Newcomer], list[Outcome]]:
    usable: list[Newcomer] = []
    unusable: list[Outcome] = []
    for record in records:
        try:
            usable.append(newcomer(record, now))
        except Unusable as error:
            unusable.append(_unusable(record, str(error)))
    return usable, unusable


def _unusable(record: Record, reason: str) -> Outcome:
    shown = {name: str(record.user.get(name) or "")[:200] for name in ("id", "email")}
    return Outcome(user_id=shown["id"], email=shown["email"], ending=Ending.UNUSABLE, reasons=[reason])
