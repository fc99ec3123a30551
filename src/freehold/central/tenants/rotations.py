"""Generations of databases' tokens. Implements `freehold.tenants.rotations.RotationStore`."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.central.engine import Central
from freehold.central.tables import change, tenant, token_rotation
from freehold.dates import to_iso
from freehold.errors import NotFound
from freehold.tenants.types import TenantState

_SEEN = select(func.coalesce(func.max(change.c.seq), 0))


@dataclass(frozen=True, slots=True)
class CentralRotations:
    central: Central

    async def generations(self) -> tuple[Mapping[str, int], int]:
        async with self.central.read() as db:
            seen = (await db.execute(_SEEN)).scalar_one()
            rows = await db.execute(select(token_rotation.c.database_name, token_rotation.c.generation))
            return {row.database_name: row.generation for row in rows}, int(seen)

    async def check(self, database_name: str, provider: str) -> None:
        row = (await self.central.fetch(_tenant(database_name))).first()
        if row is None or row.provider != provider:
            raise _missing(database_name)

    async def advance(self, database_name: str) -> int:
        async with self.central.write() as db:
            row = (await db.execute(_tenant(database_name))).first()
            if row is None:
                raise _missing(database_name)
            generation = await next_generation(db, database_name, to_iso(self.central.now()))
            event = Event("tenant.tokens_rotated", f"tenant:{row.id}", {"generation": generation})
            await self.central.record(db, event)
            return generation


async def next_generation(db: AsyncConnection, database_name: str, now: str) -> int:
    """Start a new generation in this transaction, which revokes the database's earlier tokens."""
    begin = insert(token_rotation).values(database_name=database_name, generation=1, rotated_at=now)
    begin = begin.on_conflict_do_update(
        index_elements=[token_rotation.c.database_name],
        set_={"generation": token_rotation.c.generation + 1, "rotated_at": now},
    )
    done = await db.execute(begin.returning(token_rotation.c.generation))
    return int(done.scalar_one())


def _tenant(database_name: str) -> Select[str, str]:
    return select(tenant.c.id, tenant.c.provider).where(
        tenant.c.database_name == database_name, tenant.c.state != TenantState.DELETED.value
    )


def _missing(database_name: str) -> NotFound:
    return NotFound(f"no tenant here has a database `{database_name}`; `freehold tenants list` shows them")
