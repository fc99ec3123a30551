"""What differs between the provider's databases and the central database."""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What is wrong, in the words of `reconcile --json`.

    `foreign`, `elsewhere` and `taken_back` are not to be repaired, and count as nothing left.
    """

    ORPHAN = "orphan"  # a database whose tenant was deleted, or that has our kind of name and no tenant
    FOREIGN = "foreign"  # a database with another kind of name
    MISSING = "missing"  # a tenant whose database is not there
    BEHIND = "behind"  # a database below the newest published version
    PENDING = "pending"  # a tenant that waits for its database
    DELETING = "deleting"  # a tenant whose database is to be deleted
    NOT_SUSPENDED = "open"  # a suspended tenant whose database answers
    WRONGLY_SUSPENDED = "closed"  # a ready tenant whose database is suspended
    UNCHECKED = "unchecked"  # a tenant whose database did not say how it is
    ELSEWHERE = "elsewhere"  # a tenant at another provider than this service's
    TAKEN_BACK = "taken_back"  # a tenant that someone took back from a rollout, and that stays there


NOT_OURS = (Kind.FOREIGN, Kind.ELSEWHERE, Kind.TAKEN_BACK)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One difference, and whether it is one no more. `detail` is for people."""

    kind: Kind
    database_name: str
    tenant_id: str | None = None
    is_repaired: bool = False
    detail: str = ""


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """`checked` tenants were looked at; `found` and `left` count differences by kind."""

    checked: int
    found: dict[Kind, int]
    left: dict[Kind, int]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to be repaired."""
        return not self.left
