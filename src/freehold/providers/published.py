"""Which batches of clients may change a schema: the registry's own, whatever the token's profile is."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from msgspec.structs import replace

from freehold.libsql.protocol import Batch, Stmt
from freehold.migrate.history import History, PublishedBatches

# Returns all published migrations: the same object, at no cost, until more are published.
Published = Callable[[], Awaitable[History]]


async def nothing_published() -> History:
    """A registry without a migration."""
    return _EMPTY


_EMPTY = History(())


def inlined(batch: Batch, stored: Mapping[int, str]) -> Batch:
    """The batch with the texts stored on its stream written out; unknown ones remain numbers."""
    if all(step.stmt.sql_id is None for step in batch.steps):
        return batch
    return replace(batch, steps=tuple(replace(step, stmt=_inlined(step.stmt, stored)) for step in batch.steps))


def _inlined(stmt: Stmt, stored: Mapping[int, str]) -> Stmt:
    if stmt.sql is not None or stmt.sql_id is None or stmt.sql_id not in stored:
        return stmt
    return replace(stmt, sql=stored[stmt.sql_id], sql_id=None)


class BatchRegistry(Protocol):
    """Says which batches are the registry's."""

    async def includes(self, batch: Batch) -> bool:
        """Whether the batch is exactly the registry's for some of its versions.

        Raises:
            CentralUnavailable, RegistryTampered: what is published cannot be read.
        """


class RegistryBatches:
    """Implements `BatchRegistry`. Used only for batches that their token's profile does not cover."""

    def __init__(self, published: Published = nothing_published) -> None:
        self._published = published
        self._held = PublishedBatches(_EMPTY)

    async def includes(self, batch: Batch) -> bool:
        """See `BatchRegistry`."""
        held = await self._current()
        # Building the batch to compare with may have to read much SQL.
        return await asyncio.to_thread(held.includes, batch)

    async def _current(self) -> PublishedBatches:
        history = await self._published()
        if history is not self._held.history:
            self._held = PublishedBatches(history)
        return self._held
