"""Differences between the provider's databases and the central database."""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What is wrong, as `reconcile --json` names it. Those in `NOT_OURS` are not repaired and do not count as left."""

    ORPHAN = "orphan"  # a database whose tenant was deleted, or with our kind of name and no tenant
    FOREIGN = "foreign"  # a database with another kind of name
    MISSING = "missing"  # a tenant whose database does not exist
    BEHIND = "behind"  # a database below the newest published version
    PENDING = "pending"  # a tenant that waits for its database
    DELETING = "deleting"  # a tenant whose database is due for deletion
    NOT_SUSPENDED = "open"  # a suspended tenant whose database answers
    WRONGLY_SUSPENDED = "closed"  # a ready tenant whose database is suspended
    UNCHECKED = "unchecked"  # a tenant whose database could not be checked
    ELSEWHERE = "elsewhere"  # a tenant at another provider than this service's
    TAKEN_BACK = "taken_back"  # a tenant that was taken back from a rollout and stays there


NOT_OURS = (Kind.FOREIGN, Kind.ELSEWHERE, Kind.TAKEN_BACK)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One difference, and whether it was repaired. `detail` is for people."""

    kind: Kind
    database_name: str
    tenant_id: str | None = None
    is_repaired: bool = False
    detail: str = ""


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """`checked` tenants were examined; `found` and `left` count differences by kind."""

    checked: int
    found: dict[Kind, int]
    left: dict[Kind, int]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to repair."""
        return not self.left
