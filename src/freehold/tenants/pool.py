"""Ready databases at the newest version, so that a sign-up need not wait for its provider."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec

from freehold.errors import FreeholdError
from freehold.log import get_logger
from freehold.migrate.ledger import read_ledger
from freehold.migrate.schema import read_schema
from freehold.migrate.snapshot import Snapshot
from freehold.migrate.types import LedgerState
from freehold.tenants.names import new_database_name
from freehold.tenants.ports import BringUpToDate, Clock, DatabaseProvider
from freehold.tenants.types import Tenant

log = get_logger()

_MAKING_MS = 120_000  # longer than a provider takes to create one
_CLAIM_MS = 30_000
_AT_ONCE = 4
_TRIES = 3


class SchemaKey(msgspec.Struct, frozen=True):
    """What a waiting database must have: this version, history and schema."""

    schema_version: int
    chain: str
    fingerprint: str


class PoolStore(Protocol):
    """Each method is one short transaction. All raise `CentralUnavailable` when the database does not answer."""

    async def reserve(self, name: str, provider: str, schema: SchemaKey, *, size: int, until_ms: int) -> bool:
        """Record the name of a database to be created for the pool, unless there are already `size`."""

    async def put(self, name: str, schema: SchemaKey) -> bool:
        """Record that the database was created and now waits. False if it took too long."""

    async def claim(self, provider: str, schema: SchemaKey, tenant_id: str, until_ms: int) -> str | None:
        """Claim a waiting database of this schema, by one conditional update: only one of two callers gets it."""

    async def give(self, name: str, tenant: Tenant) -> bool:
        """Give the claimed database to the tenant, in place of the one not yet created. False if either is gone."""

    async def discard(self, name: str) -> None:
        """Schedule an unfit database for deletion."""

    async def discard_others(self, provider: str, schema: SchemaKey) -> int:
        """Schedule those of another schema for deletion; return how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """`snapshot` returns that of the newest version; while it is None, the pool is not used."""

    size: int
    store: PoolStore
    provider: DatabaseProvider
    bring_up_to_date: BringUpToDate
    snapshot: Callable[[], Awaitable[Snapshot | None]]
    clock: Clock

    async def refill(self) -> int:
        """Discard outdated databases and create some of the missing ones; return how many were created.

        Raises:
            CentralUnavailable, ProviderUnavailable: nothing can be created at the moment.
        """
        schema = await self._wanted()
        if schema is None:
            return 0
        if outdated := await self.store.discard_others(self.provider.name, schema):
            log.info("pool.outdated", databases=outdated, schema_version=schema.schema_version)
        made = 0
        for _ in range(_AT_ONCE):
            name, until_ms = new_database_name(), self.clock.now_ms() + _MAKING_MS
            if not await self.store.reserve(name, self.provider.name, schema, size=self.size, until_ms=until_ms):
                break
            made += await self._make(name, schema)
        return made

    async def take(self, tenant: Tenant) -> str | None:
        """Give the tenant a waiting database, checked first; return its name, or None if none is fit."""
        schema = await self._wanted()
        if schema is None or not self.size:
            return None
        for _ in range(_TRIES):
            until_ms = self.clock.now_ms() + _CLAIM_MS
            name = await self.store.claim(self.provider.name, schema, tenant.tenant_id, until_ms)
            if name is None:
                return None
            if await self._is_fit(name, schema):
                return name if await self.store.give(name, tenant) else None
            log.error("pool.database_unfit", database=name)
            await self.store.discard(name)
        return None

    async def _make(self, name: str, schema: SchemaKey) -> bool:
        try:
            await self.provider.create(name)
            await self.bring_up_to_date(await self.provider.open(name))
            if not await self._is_fit(name, schema):
                log.warning("pool.database_differs", database=name, schema_version=schema.schema_version)
                await self.store.discard(name)
                return False
        except BaseException:
            await self.store.discard(name)
            raise
        return await self.store.put(name, schema)

    async def _is_fit(self, name: str, schema: SchemaKey) -> bool:
        """Check the database itself: the central rows may be outdated."""
        with suppress(FreeholdError):
            target = await self.provider.open(name)
            is_at_version = await read_ledger(target) == LedgerState(schema.schema_version, schema.chain)
            return is_at_version and (await read_schema(target)).fingerprint == schema.fingerprint
        return False

    async def _wanted(self) -> SchemaKey | None:
        found = await self.snapshot()
        return None if found is None else SchemaKey(found.version, found.chain, found.fingerprint)
