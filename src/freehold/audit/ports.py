"""What the audit trail needs of the outside, and what others need of it."""

from collections.abc import Sequence
from typing import Protocol

from freehold.audit.types import Entry, Event, Filter, Head


class Recorder(Protocol):
    """For events that belong to no transaction of a store: a refusal, work done outside the central database."""

    async def record(self, event: Event) -> None:
        """Return when the event is durable. Raises `CentralUnavailable`: it is not."""
        ...


class AuditStore(Recorder, Protocol):
    """The trail in the central database. Every method raises `CentralUnavailable` when it does not answer."""

    async def head(self) -> Head:
        """The newest entry by the trail's own record; 0 and an empty hash before the first."""
        ...

    async def page(self, *, after: int, limit: int, matching: Filter | None = None) -> Sequence[Entry]:
        """Entries behind this one, oldest first."""
        ...

    async def page_back(
        self, *, before: int | None, limit: int, matching: Filter | None = None
    ) -> Sequence[Entry]:
        """Entries before this one, or the newest; newest first."""
        ...
