"""Things that can be used once before they expire: codes and links, and counts of requests for them."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

T = TypeVar("T")


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `verification`. It contains no secrets, only hashes."""

    value: str
    expires_at: datetime


class OneTimeUse(msgspec.Struct, frozen=True, kw_only=True):
    """The right to do one thing once: it is used up by deleting the row with this value, in the same transaction.

    `is_one_of`: the value is that of one code among several in the row, see `freehold.auth.email.code_rows`.
    `clears` are rows that are then no longer needed.
    """

    identifier: str
    value: str
    clears: tuple[str, ...] = ()
    is_one_of: bool = False


Rows = dict[str, Verification]
"""Rows by identifier."""


class VerificationStore(Protocol):
    """The table `verification`. Every method raises `CentralUnavailable` when it does not answer."""

    async def find(self, identifier: str) -> Verification | None:
        """The row, expired or not."""

    async def update(self, identifiers: list[str], decide: Callable[[Rows], T]) -> T:
        """Pass the rows to `decide`, store its changes, and return its result.

        `decide` adds, replaces and removes entries. No process can read or write these rows in the meantime.
        """
