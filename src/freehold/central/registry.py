"""The registry's rows in the central database, and the versions that clients reported."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import func, insert, select, text
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.central.engine import Central
from freehold.central.tables import (
    client_report,
    published_migration,
    registry_key,
    registry_key_statement,
    registry_manifest,
    registry_part,
    tenant,
    user_report,
)
from freehold.registry.client_versions import AnonymousCount, AppCount, OlderApps, TenantCount
from freehold.registry.taken_down import DEVICES_OF_PLACE, DEVICES_OF_USER, ClientReport, UserReport
from freehold.registry.types import (
    KeyStatement,
    Manifest,
    PartFile,
    PublishedMigration,
    RegistryKey,
    RegistryMoved,
    Stored,
)

# In the text of a release: the hashes of its parts, and its chain.
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
_NEWEST = select(registry_manifest).order_by(registry_manifest.c.counter.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class CentralRegistry:
    """Implements `registry.ports.RegistryStore`."""

    central: Central

    async def load(self) -> Stored:
        async with self.central.read() as db:
            rows = (await db.execute(select(published_migration).order_by(published_migration.c.version))).all()
            keys = (await db.execute(select(registry_key).order_by(registry_key.c.created_at))).all()
            said = (await db.execute(select(registry_key_statement))).all()
            manifest = (await db.execute(_NEWEST)).first()
            hashes = [] if manifest is None else _SHA256.findall(manifest.text)
            parts = await db.execute(select(registry_part).where(registry_part.c.sha256.in_(hashes))) if hashes else ()
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
                newest = select(published_migration.c.chain).order_by(published_migration.c.version.desc()).limit(1)
                if ((await db.execute(newest)).scalar() or "") != after:
                    raise RegistryMoved
                before = (await db.execute(_NEWEST)).first()
                if before is not None and before.counter >= manifest.counter:
                    raise RegistryMoved("a newer state of the registry was signed; look at it, then try again")
                await self._put_key(db, key, statements)
                if migrations:
                    await db.execute(insert(published_migration), [msgspec.structs.asdict(each) for each in migrations])
                for part in parts:
                    kept = upsert(registry_part).values(sha256=part.listed.sha256, content=part.content)
                    await db.execute(kept.on_conflict_do_nothing())
                await db.execute(insert(registry_manifest).values(**msgspec.structs.asdict(manifest)))
                if said := [*map(_published, migrations), *events]:
                    await self.central.record(db, *said)
        except IntegrityError as error:
            raise RegistryMoved from error

    async def add_key(self, key: RegistryKey, statements: Sequence[KeyStatement]) -> None:
        async with self.central.write() as db:
            await self._put_key(db, key, statements)

    async def _put_key(self, db: AsyncConnection, key: RegistryKey, statements: Sequence[KeyStatement]) -> None:
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


# What clients report about themselves, and the versions of tenants.

_A_TRANSACTION = 500  # so that others get the write lock in between
_MOST_ANONYMOUS = 50_000
_APPS_NAMED = 5

# The user may have been deleted. Of two processes, the later report of a device wins.
_SAVE_USER = text("""
INSERT INTO user_report (user_id, device, app_version, app_order, schema_version, seen_at_ms)
SELECT :user_id, :device, :app_version, :app_order, :schema_version, :seen_at_ms
WHERE EXISTS (SELECT 1 FROM user WHERE id = :user_id)
ON CONFLICT (user_id, device) DO UPDATE SET
  app_version = excluded.app_version, app_order = excluded.app_order,
  schema_version = excluded.schema_version, seen_at_ms = excluded.seen_at_ms
WHERE excluded.seen_at_ms >= seen_at_ms
""")
_TRIM_USER = text("""
DELETE FROM user_report WHERE user_id = :user_id AND device NOT IN (
  SELECT device FROM user_report WHERE user_id = :user_id ORDER BY seen_at_ms DESC, device LIMIT :most
)
""")
_TRIM_PLACE = text("""
DELETE FROM client_report WHERE place = :place AND device NOT IN (
  SELECT device FROM client_report WHERE place = :place ORDER BY seen_at_ms DESC, device LIMIT :most
)
""")
_TRIM_ANONYMOUS = text("""
DELETE FROM client_report WHERE device IN (
  SELECT device FROM client_report ORDER BY seen_at_ms DESC LIMIT -1 OFFSET :most
)
""")

# Each user is counted once, by their oldest app.
_APPS = text("""
SELECT app_version, schema_version, sum(NOT is_guest), sum(is_guest) FROM (
  SELECT report.app_version, report.schema_version, coalesce(user.isAnonymous, 0) AS is_guest,
    row_number() OVER (
      PARTITION BY report.user_id ORDER BY report.app_order, report.schema_version, report.seen_at_ms DESC
    ) AS place
  FROM user_report AS report JOIN user ON user.id = report.user_id
  WHERE report.seen_at_ms >= :since_ms
) WHERE place = 1
GROUP BY app_version, schema_version
""")
_OLDER_FROM = """
FROM user_report AS report JOIN user ON user.id = report.user_id
WHERE report.seen_at_ms >= :since_ms AND report.app_order < :before AND NOT coalesce(user.isAnonymous, 0)
"""
_OLDER_USERS = text(f"SELECT count(DISTINCT report.user_id) {_OLDER_FROM}")
_OLDER_APPS = text(
    f"SELECT report.app_version {_OLDER_FROM} GROUP BY report.app_version ORDER BY min(report.app_order) LIMIT :most"
)


@dataclass(frozen=True, slots=True)
class CentralClientVersions:
    """Implements `registry.client_versions.ClientVersionStore`."""

    central: Central

    async def save_users(self, reports: Sequence[UserReport], forget_before_ms: int) -> None:
        for start in range(0, len(reports), _A_TRANSACTION):
            part = reports[start : start + _A_TRANSACTION]
            users = [{"user_id": user_id, "most": DEVICES_OF_USER} for user_id in {x.user_id for x in part}]
            async with self.central.write() as db:
                await db.execute(_SAVE_USER, [msgspec.structs.asdict(each) for each in part])
                await db.execute(_TRIM_USER, users)
                if start == 0:
                    await db.execute(user_report.delete().where(user_report.c.seen_at_ms < forget_before_ms))

    async def save_anonymous(self, reports: Sequence[ClientReport], forget_before_ms: int) -> None:
        said = upsert(client_report)
        said = said.on_conflict_do_update(
            index_elements=[client_report.c.device],
            set_={name: said.excluded[name] for name in ("app_version", "schema_version", "seen_at_ms", "place")},
            where=said.excluded.seen_at_ms >= client_report.c.seen_at_ms,
        )
        for start in range(0, len(reports), _A_TRANSACTION):
            part = reports[start : start + _A_TRANSACTION]
            places = [{"place": place, "most": DEVICES_OF_PLACE} for place in {x.place for x in part if x.place}]
            async with self.central.write() as db:
                await db.execute(said, [msgspec.structs.asdict(each) for each in part])
                if places:
                    await db.execute(_TRIM_PLACE, places)
                if start == 0:
                    await db.execute(client_report.delete().where(client_report.c.seen_at_ms < forget_before_ms))
        count = (await self.central.fetch(select(func.count()).select_from(client_report))).scalar_one()
        if count > _MOST_ANONYMOUS:
            await self.central.change(_TRIM_ANONYMOUS, {"most": _MOST_ANONYMOUS})

    async def apps(self, since_ms: int) -> Sequence[AppCount]:
        return [AppCount(*row) for row in await self.central.fetch(_APPS, {"since_ms": since_ms})]

    async def older_apps(self, since_ms: int, before: str) -> OlderApps:
        wanted = {"since_ms": since_ms, "before": before}
        async with self.central.read() as db:
            users = (await db.execute(_OLDER_USERS, wanted)).scalar_one()
            apps = (await db.execute(_OLDER_APPS, {**wanted, "most": _APPS_NAMED})).scalars()
            return OlderApps(int(users), tuple(apps))

    async def anonymous(self, since_ms: int) -> Sequence[AnonymousCount]:
        columns = (client_report.c.app_version, client_report.c.schema_version)
        wanted = select(*columns, func.count()).where(client_report.c.seen_at_ms >= since_ms).group_by(*columns)
        return [AnonymousCount(*row) for row in await self.central.fetch(wanted)]

    async def tenants(self) -> Sequence[TenantCount]:
        columns = (tenant.c.state, tenant.c.schema_version)
        wanted = select(*columns, func.count()).where(tenant.c.state != "deleted").group_by(*columns)
        return [TenantCount(*row) for row in await self.central.fetch(wanted)]
