"""What waits to be used once, before it expires: codes, links, and counts of how often they were asked for."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

T = TypeVar("T")


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `verification`. No secret stands in it, only hashes."""

    value: str
    expires_at: datetime


class OneTimeUse(msgspec.Struct, frozen=True, kw_only=True):
    """Right to do one thing, once: it is used up by deleting the row with this value, in the same transaction.

    `is_one_of`: the value is one code's among those in the row, see `freehold.auth.email.code_rows`.
    `clears` are rows that are of no use any more then.
    """

    identifier: str
    value: str
    clears: tuple[str, ...] = ()
    is_one_of: bool = False


Rows = dict[str, Verification]
"""By identifier."""


class VerificationStore(Protocol):
    """The table `verification`. Every method raises `CentralUnavailable` when it does not answer."""

    async def find(self, identifier: str) -> Verification | None:
        """The row, expired or not."""
        ...

    async def update(self, identifiers: list[str], decide: Callable[[Rows], T]) -> T:
        """Hand the rows to `decide`, keep what it makes of them, and give what it answers.

        `decide` adds, replaces and removes entries. Nobody reads or writes those rows between, in any process, so
        of two who come at once one sees what the other left.
        """
        ...
