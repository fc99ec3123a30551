"""Imports users from another installation, with their passwords and sessions."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from freehold.auth.importing.records import Ending, Newcomer, Outcome, Record, Unusable, newcomer
from freehold.dates import utc_now


class UserSource(Protocol):
    """Users in another system, which is only read."""

    async def count(self) -> int | None:
        """The number of users, or None if it would take reading them all. Raises as `batches` does."""

    def batches(self, size: int) -> AsyncGenerator[Sequence[Record], None]:
        """All users, `size` at a time.

        Raises:
            UnusableSource: it does not hold users in a known form.
            SourceUnavailable: it does not answer.
        """


class UserImportStore(Protocol):
    """The central database that receives the users."""

    async def add(self, users_to_import: Sequence[Newcomer], now: datetime, *, dry_run: bool) -> Sequence[Outcome]:
        """Add the users who do not exist here, with tenants, in one transaction; existing users are not changed.

        Raises:
            CentralUnavailable: nothing was written.
        """


_A_TRANSACTION = 500


@dataclass(frozen=True, slots=True)
class UserImport:
    """Imports users. Safe to stop and to repeat: each batch is a transaction, and existing users are left alone."""

    store: UserImportStore
    clock: Callable[[], datetime] = utc_now

    async def run(self, source: UserSource, *, dry_run: bool = False) -> AsyncIterator[Sequence[Outcome]]:
        """Import all users; yields the outcomes of each batch once it is committed.

        With `dry_run` nothing is kept, so that conflicts between users of different batches are not detected.

        Raises:
            UnusableSource, SourceUnavailable: from the source.
            CentralUnavailable: earlier batches are committed; run it again.
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
