"""Users who come from somewhere else, with their ways in and their sessions."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from freehold.auth.types import Session, User
from freehold.errors import InvalidInput, Unavailable


class WayIn(msgspec.Struct, frozen=True, kw_only=True):
    """How a user signs in: a password (`provider_id` is `credential`), or an identity somewhere else."""

    provider_id: str
    subject: str
    password_hash: str | None = None
    scope: str | None = None


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """A user as they are to be stored. `has_own_id`: they had this id where they come from."""

    user: User
    has_own_id: bool = True
    ways_in: Sequence[WayIn] = ()
    sessions: Sequence[Session] = ()
    notes: Sequence[str] = ()


class Ending(StrEnum):
    """What became of a newcomer."""

    ADDED = "added"
    KNOWN = "known"
    CONFLICT = "conflict"
    UNUSABLE = "unusable"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one. `user_id` and `email` are theirs where they come from, as far as they can be read."""

    user_id: str
    email: str
    ending: Ending
    reasons: Sequence[str] = ()
    accounts: int = 0
    sessions: int = 0


class MoveReport(msgspec.Struct, kw_only=True):
    """How a move went, in numbers; users are counted once, as `added`, `known`, `conflict` or `unusable`."""

    endings: Counter[str] = msgspec.field(default_factory=Counter)
    accounts: int = 0
    sessions: int = 0
    notes: int = 0

    def count(self, outcome: Outcome) -> None:
        """Take one more into account."""
        self.endings[outcome.ending.value] += 1
        self.accounts += outcome.accounts
        self.sessions += outcome.sessions
        self.notes += outcome.ending is Ending.ADDED and bool(outcome.reasons)

    @property
    def is_whole(self) -> bool:
        """Whether everybody is here now."""
        return not (self.endings[Ending.CONFLICT] or self.endings[Ending.UNUSABLE])


class UnusableSource(InvalidInput):
    """What users are to come from is no such file or database."""

    code = "unusable_source"


class SourceUnavailable(Unavailable):
    """The database that users are to come from does not answer."""

    code = "source_unavailable"
