"""The emergency brake: revoke every token of a database at once.

A database's generation counts how often that happened. Tokens for the providers that we serve ourselves have their
generation in the `gen` claim, and the gateway refuses those of an earlier one. Other providers replace their key, and
the generation keeps other processes from reusing cached tokens.
"""

from collections.abc import Mapping
from typing import Protocol

from freehold.changes import RecentChanges
from freehold.feed_cache import Follower
from freehold.log import get_logger
from freehold.tenants.ports import DatabaseProvider

log = get_logger()


class RotationStore(Protocol):
    """Generations in the central database. All raise `CentralUnavailable`."""

    async def generations(self) -> tuple[Mapping[str, int], int]:
        """Return the generation of each rotated database, and the position of the change feed in the same snapshot."""

    async def check(self, database_name: str, provider: str) -> None:
        """Check that the name is a tenant's database at this provider. Raises `NotFound`."""

    async def advance(self, database_name: str) -> int:
        """Begin a new generation, record who did, and return it. Raises `NotFound`."""


class Rotations:
    """Rotates, and knows each database's generation; most are at 0. One per process."""

    def __init__(self, store: RotationStore, provider: DatabaseProvider, changes: RecentChanges) -> None:
        self._store = store
        self._provider = provider
        self._changes = changes
        self._known: Mapping[str, int] | None = None
        self._is_stale = True
        self._follower = Follower(changes, "rotations.not_checked")
        changes.subscribe("token_rotation", self._note)

    async def rotate(self, database_name: str) -> int:
        """Revoke all tokens of the database; return the new generation. Safe to repeat after any failure.

        Raises:
            NotFound: no such tenant here.
            ProviderUnavailable, CentralUnavailable: some tokens may still be valid; call again.
        """
        await self.check(database_name)
        # The provider first: a token issued between the two steps is valid, and merely replaced early.
        await self._provider.invalidate_tokens(database_name)
        generation = await self._store.advance(database_name)
        log.info("tenant.tokens_rotated", database=database_name, generation=generation)
        return generation

    async def check(self, database_name: str) -> None:
        """Check that `rotate` knows this database. Raises `NotFound`, `CentralUnavailable`."""
        await self._store.check(database_name, self._provider.name)

    async def generation(self, database_name: str) -> int:
        """Return how often the database was rotated, including everything committed.

        Raises:
            CentralUnavailable: it was never read, and the central database does not answer.
        """
        if self._is_stale or self._follower.is_behind:
            await self._follower.catch_up(is_known=self._known is not None, then=self._read_if_stale)
        assert self._known is not None
        return self._known.get(database_name, 0)

    def _note(self, _database_name: str | None) -> None:
        self._is_stale = True

    async def _read_if_stale(self) -> None:
        if not self._is_stale:
            return
        known, seen = await self._store.generations()
        self._known = known
        # A change that this read missed may already have been notified; then it is read again.
        self._is_stale = self._changes.position > seen
