"""The registry's rows in the central database."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from freehold.audit.types import Event
from freehold.central.engine import Central
from freehold.central.tables import published_migration, registry_key
from freehold.registry.types import PublishedMigration, RegistryKey, RegistryMoved

_MOVED = "another migration was published at the same moment; look at it, then try again"


@dataclass(frozen=True, slots=True)
class CentralRegistry:
    """Implements `registry.ports.RegistryStore`."""

    central: Central

    async def load(self) -> tuple[Sequence[PublishedMigration], Sequence[RegistryKey]]:
        async with self.central.read() as db:
            rows = (
                await db.execute(select(published_migration).order_by(published_migration.c.version))
            ).all()
            keys = (await db.execute(select(registry_key).order_by(registry_key.c.created_at))).all()
        return (
            [PublishedMigration(**row._mapping) for row in rows],
            [RegistryKey(**key._mapping) for key in keys],
        )

    async def append(self, migrations: Sequence[PublishedMigration], key: RegistryKey, after: str) -> None:
        try:
            async with self.central.write() as db:
                # The write lock is held from here on, so the newest row stays the newest.
                newest = (
                    select(published_migration.c.chain)
                    .order_by(published_migration.c.version.desc())
                    .limit(1)
                )
                if ((await db.execute(newest)).scalar() or "") != after:
                    raise RegistryMoved(_MOVED)
                is_known = select(registry_key.c.key_id).where(registry_key.c.key_id == key.key_id)
                if (await db.execute(is_known)).first() is None:
                    await db.execute(insert(registry_key).values(**msgspec.structs.asdict(key)))
                    await self.central.record(db, Event("registry.key_added", f"key:{key.key_id}"))
                await db.execute(
                    insert(published_migration), [msgspec.structs.asdict(each) for each in migrations]
                )
                await self.central.record(db, *map(_published, migrations))
        except IntegrityError as error:
            raise RegistryMoved(_MOVED) from error


def _published(row: PublishedMigration) -> Event:
    facts = {"name": row.name, "checksum": row.checksum, "key_id": row.key_id}
    return Event("registry.migration_published", f"migration:{row.version}", facts)
