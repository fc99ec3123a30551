"""The registry's rows in the central database."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.central.engine import Central
from freehold.central.tables import (
    published_migration,
    registry_key,
    registry_key_statement,
    registry_manifest,
    registry_part,
)
from freehold.registry.types import (
    KeyStatement,
    Manifest,
    PartFile,
    PublishedMigration,
    RegistryKey,
    RegistryMoved,
    Stored,
)

_MOVED = "another migration was published at the same moment; look at it, then try again"
# In the text of a release: the hashes of its parts, and its chain.
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
_NEWEST = select(registry_manifest).order_by(registry_manifest.c.counter.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class CentralRegistry:
    """Implements `registry.ports.RegistryStore`."""

    central: Central

    async def load(self) -> Stored:
        async with self.central.read() as db:
            rows = (
                await db.execute(select(published_migration).order_by(published_migration.c.version))
            ).all()
            keys = (await db.execute(select(registry_key).order_by(registry_key.c.created_at))).all()
            said = (await db.execute(select(registry_key_statement))).all()
            manifest = (await db.execute(_NEWEST)).first()
            hashes = [] if manifest is None else _SHA256.findall(manifest.text)
            parts = (
                await db.execute(select(registry_part).where(registry_part.c.sha256.in_(hashes)))
                if hashes
                else ()
            )
            found = [(part.sha256, part.content) for part in parts]
        return Stored(
            rows=[PublishedMigration(**row._mapping) for row in rows],
            keys=[RegistryKey(**key._mapping) for key in keys],
            statements=[KeyStatement(**each._mapping) for each in said],
            manifest=None if manifest is None else Manifest(**manifest._mapping),
            parts=found,
        )

    async def append(
        self,
        migrations: Sequence[PublishedMigration],
        manifest: Manifest,
        key: RegistryKey,
        *,
        after: str,
        statements: Sequence[KeyStatement] = (),
        events: Sequence[Event] = (),
        parts: Sequence[PartFile] = (),
    ) -> None:
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
                before = (await db.execute(_NEWEST)).first()
                if before is not None and before.counter >= manifest.counter:
                    raise RegistryMoved(
                        "a newer state of the registry was signed; look at it, then try again"
                    )
                await self._put_key(db, key, statements)
                if migrations:
                    await db.execute(
                        insert(published_migration), [msgspec.structs.asdict(each) for each in migrations]
                    )
                for part in parts:
                    kept = upsert(registry_part).values(sha256=part.listed.sha256, content=part.content)
                    await db.execute(kept.on_conflict_do_nothing())
                await db.execute(insert(registry_manifest).values(**msgspec.structs.asdict(manifest)))
                if said := [*map(_published, migrations), *events]:
                    await self.central.record(db, *said)
        except IntegrityError as error:
            raise RegistryMoved(_MOVED) from error

    async def add_key(self, key: RegistryKey, statements: Sequence[KeyStatement]) -> None:
        async with self.central.write() as db:
            await self._put_key(db, key, statements)

    async def _put_key(
        self, db: AsyncConnection, key: RegistryKey, statements: Sequence[KeyStatement]
    ) -> None:
        is_known = select(registry_key.c.key_id).where(registry_key.c.key_id == key.key_id)
        if (await db.execute(is_known)).first() is None:
            await db.execute(insert(registry_key).values(**msgspec.structs.asdict(key)))
            await self.central.record(db, Event("registry.key_added", f"key:{key.key_id}"))
        for each in statements:
            said = upsert(registry_key_statement).values(**msgspec.structs.asdict(each))
            is_new = (await db.execute(said.on_conflict_do_nothing())).rowcount > 0
            if is_new and each.kind == "retired":
                facts = {"by_key_id": each.by_key_id}
                await self.central.record(db, Event("registry.key_retired", f"key:{each.key_id}", facts))


def _published(row: PublishedMigration) -> Event:
    facts = {"name": row.name, "checksum": row.checksum, "key_id": row.key_id}
    return Event("registry.migration_published", f"migration:{row.version}", facts)
