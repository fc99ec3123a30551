"""What is to be done about databases besides making them: rows that say so, until a provider confirms that it is."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class OperationKind(StrEnum):
    """`delete` a tenant's database, keep one `suspend`ed, `discard` one that no tenant has."""

    DELETE = "delete"
    SUSPEND = "suspend"
    DISCARD = "discard"


class PendingOperation(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do, nobody else's until `lease_until_ms`. `reason` is why a tenant is suspended."""

    kind: OperationKind
    database_name: str
    tenant_id: str | None
    reason: str
    attempts: int
    lease_until_ms: int

    @property
    def key(self) -> str:
        """What tells it from others: nothing else is to be done about its database."""
        return self.database_name


class PendingOperations(Protocol):
    """Each method is one short transaction. All raise `CentralUnavailable` when the database does not answer."""

    async def claim(
        self,
        provider: str,
        *,
        due_by_ms: int,
        lease_until_ms: int,
        limit: int,
        only_of: str | None = None,
    ) -> Sequence[PendingOperation]:
        """Take what is due at `due_by_ms`, of this tenant only if one is named. Of two callers only one gets it.

        A database that is being made for somebody whose lease ran out is discarded.
        """
        ...

    async def next_due_ms(self, provider: str) -> int | None:
        """When the next duty is due, or None."""
        ...

    async def done(self, operation: PendingOperation) -> bool:
        """Record that it is done, with a receipt in the audit trail for what is gone. False if it was overtaken."""
        ...

    async def failed(self, operation: PendingOperation, error: str, retry_at_ms: int) -> None:
        """Record why not, and when to try again; nothing happens if it was overtaken."""
        ...

    async def is_ready(self, tenant_id: str) -> bool:
        """Whether the tenant is `ready` now."""
        ...

    async def retry_now(self, provider: str, now_ms: int, *, leases_until_ms: int | None = None) -> None:
        """What failed is due at once; leases are kept, those of deletions until `leases_until_ms` at the most.

        Two that delete one database do no harm, so nobody need wait for the lease of one that may be dead. Only a
        provisioner that was at work must have ended: its lease is short.
        """
        ...

    async def in_work_until_ms(self, provider: str) -> int:
        """When the last lease of a deletion ends that has not failed yet; 0 without any."""
        ...
