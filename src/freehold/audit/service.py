"""Reads the audit trail, and verifies that nobody has changed it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from freehold.audit.chain import entry_hash
from freehold.audit.types import RESEALED, Anchor, Entry, Event, Filter, Head, Verdict
from freehold.log import get_logger


class Recorder(Protocol):
    """Records events outside a store's transaction: refusals, and work outside the central database."""

    async def record(self, event: Event) -> None:
        """Return when the event is durable. Raises `CentralUnavailable` if it is not."""


class AuditStore(Recorder, Protocol):
    """The trail in the central database. Every method raises `CentralUnavailable` when it does not answer."""

    async def head(self) -> Head:
        """The newest entry according to the trail's own record; 0 and an empty hash before the first."""

    async def page(self, *, after: int, limit: int, matching: Filter | None = None) -> Sequence[Entry]:
        """Entries after this one, oldest first."""

    async def page_back(self, *, before: int | None, limit: int, matching: Filter | None = None) -> Sequence[Entry]:
        """Entries before this one, or the newest; newest first."""


_PAGE = 1_000
_ANCHOR_EVERY_S = 600.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit trail. To record within a transaction, stores use `Central.record`."""

    store: AuditStore

    async def record(self, event: Event) -> None:
        """Record an event on its own. Concurrent events share a transaction.

        Raises:
            CentralUnavailable: it is not recorded.
        """
        await self.store.record(event)

    async def newest(
        self, *, before: int | None = None, limit: int = 50, matching: Filter | None = None
    ) -> Sequence[Entry]:
        """The newest entries, or those before a given one; newest first."""
        return await self.store.page_back(before=before, limit=limit, matching=matching)

    async def each(
        self, *, after: int = 0, limit: int | None = None, matching: Filter | None = None
    ) -> AsyncIterator[Entry]:
        """Entries, oldest first; read page by page, so that memory use stays constant."""
        left = limit
        while left is None or left > 0:
            wanted = _PAGE if left is None else min(_PAGE, left)
            page = await self.store.page(after=after, limit=wanted, matching=matching)
            for entry in page:
                yield entry
            if len(page) < wanted:
                return
            after = page[-1].seq
            left = None if left is None else left - len(page)

    async def head(self) -> Head:
        """The newest entry according to the trail's own record."""
        return await self.store.head()

    async def verify(
        self, anchors: Sequence[Anchor] = (), *, after: int = 0, on_page: Callable[[int], None] = lambda _: None
    ) -> Verdict:
        """Check every entry after `after` against the previous one, the head, and the anchors.

        `on_page` is called with the number of entries in each page. Entries added in the meantime are not checked.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        head = await self.store.head()
        check = _Check({anchor.seq: anchor.hash for anchor in anchors}, after)
        if after:
            found = await self.store.page(after=after - 1, limit=1)
            check.start(found)
        while check.fault is None and check.seq < head.seq:
            page = await self.store.page(after=check.seq, limit=min(_PAGE, head.seq - check.seq))
            await asyncio.to_thread(check.page, page, head)
            on_page(len(page))
        if check.fault is None:
            beyond = await self.store.page(after=head.seq, limit=1)
            check.end(head, is_longer=bool(beyond) and (await self.store.head()).seq == head.seq)
        newest = Anchor(check.seq, check.hash)
        if check.fault is None:
            return Verdict(entries=check.seq - after, head=newest)
        broken_at, reason = check.fault
        return Verdict(entries=check.seq - after, head=newest, broken_at=broken_at, reason=reason)

    async def keep_anchoring(self, every_s: float = _ANCHOR_EVERY_S) -> None:
        """Log the head regularly, where someone who changes the database cannot reach it."""
        told = -1
        while True:
            try:
                head = await self.store.head()
            except Exception as error:  # retried later; the trail itself does not depend on it
                log.warning("audit.not_anchored", reason=str(error))
            else:
                if head.seq != told:
                    log.info("audit.anchored", seq=head.seq, hash=head.hash)
                    told = head.seq
            await asyncio.sleep(every_s)


class _Check:
    """Checks the trail entry by entry. `fault` is the first entry that differs from what was written, and why."""

    def __init__(self, anchors: Mapping[int, str], after: int) -> None:
        self._anchors = anchors
        self.seq = after
        self.hash = ""
        self.fault: tuple[int, str] | None = None

    def start(self, found: Sequence[Entry]) -> None:
        """Start after an entry, which must exist."""
        if not found or found[0].seq != self.seq:
            self.fault = (self.seq, "it is missing")
            return
        self.hash = found[0].hash
        self._hold_against_anchor()

    def page(self, page: Sequence[Entry], head: Head) -> None:
        if not page:
            self.fault = (self.seq + 1, f"it is missing, and the trail should go on to entry {head.seq}")
        for entry in page:
            if self.fault is not None:
                return
            self._entry(entry)

    def end(self, head: Head, *, is_longer: bool) -> None:
        last = max(self._anchors, default=0)
        if is_longer:
            self.fault = (head.seq + 1, "it was added by other hands: the trail's own record ends before it")
        elif self.seq != head.seq or self.hash != head.hash:
            self.fault = (self.seq, "it is not the one that the trail's own record ends with")
        elif last > self.seq:
            self.fault = (self.seq + 1, f"it is missing: an anchor says that there is an entry {last}")
        elif not head.is_authentic:
            self.fault = (self.seq, "the record that the trail ends here was not written with this secret")

    def _entry(self, entry: Entry) -> None:
        if entry.seq != self.seq + 1:
            self.fault = (self.seq + 1, "it is missing")
        elif entry.hash != entry_hash(self.hash, entry.seq, entry):
            self.fault = (entry.seq, "it was changed, or the one before it was")
        elif entry.action == RESEALED:
            self.fault = (
                entry.seq,
                "the trail's end was changed by other hands before it, or the service got another secret",
            )
        else:
            self.seq, self.hash = entry.seq, entry.hash
            self._hold_against_anchor()

    def _hold_against_anchor(self) -> None:
        if self._anchors.get(self.seq, self.hash) != self.hash:
            self.fault = (self.seq, "an anchor has another hash for it: it, or one before it, was rewritten")
