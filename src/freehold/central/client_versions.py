"""What clients say of themselves, and where tenants are; implements `registry.client_versions.ClientVersionStore`."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.dialects.sqlite import insert

from freehold.central.engine import Central
from freehold.central.tables import client_report, tenant, user_report
from freehold.registry.client_versions import AnonymousCount, AppCount, OlderApps, TenantCount
from freehold.registry.taken_down import DEVICES_OF_PLACE, DEVICES_OF_USER, ClientReport, UserReport

_A_TRANSACTION = 500  # others must get at the write lock in between
_MOST_ANONYMOUS = 50_000
_APPS_NAMED = 5

# A user may be gone by now. Of two processes the one that heard the device later is right.
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

# Each user once, by the oldest of their apps.
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
        said = insert(client_report)
        said = said.on_conflict_do_update(
            index_elements=[client_report.c.device],
            set_={
                name: said.excluded[name] for name in ("app_version", "schema_version", "seen_at_ms", "place")
            },
            where=said.excluded.seen_at_ms >= client_report.c.seen_at_ms,
        )
        for start in range(0, len(reports), _A_TRANSACTION):
            part = reports[start : start + _A_TRANSACTION]
            places = [
                {"place": place, "most": DEVICES_OF_PLACE} for place in {x.place for x in part if x.place}
            ]
            async with self.central.write() as db:
                await db.execute(said, [msgspec.structs.asdict(each) for each in part])
                if places:
                    await db.execute(_TRIM_PLACE, places)
                if start == 0:
                    await db.execute(
                        client_report.delete().where(client_report.c.seen_at_ms < forget_before_ms)
                    )
        async with self.central.read() as db:
            count = (await db.execute(select(func.count()).select_from(client_report))).scalar_one()
        if count > _MOST_ANONYMOUS:
            async with self.central.write() as db:
                await db.execute(_TRIM_ANONYMOUS, {"most": _MOST_ANONYMOUS})

    async def apps(self, since_ms: int) -> Sequence[AppCount]:
        async with self.central.read() as db:
            return [AppCount(*row) for row in await db.execute(_APPS, {"since_ms": since_ms})]

    async def older_apps(self, since_ms: int, before: str) -> OlderApps:
        wanted = {"since_ms": since_ms, "before": before}
        async with self.central.read() as db:
            users = (await db.execute(_OLDER_USERS, wanted)).scalar_one()
            apps = (await db.execute(_OLDER_APPS, {**wanted, "most": _APPS_NAMED})).scalars()
            return OlderApps(int(users), tuple(apps))

    async def anonymous(self, since_ms: int) -> Sequence[AnonymousCount]:
        columns = (client_report.c.app_version, client_report.c.schema_version)
        wanted = (
            select(*columns, func.count()).where(client_report.c.seen_at_ms >= since_ms).group_by(*columns)
        )
        async with self.central.read() as db:
            return [AnonymousCount(*row) for row in await db.execute(wanted)]

    async def tenants(self) -> Sequence[TenantCount]:
        columns = (tenant.c.state, tenant.c.schema_version)
        wanted = select(*columns, func.count()).where(tenant.c.state != "deleted").group_by(*columns)
        async with self.central.read() as db:
            return [TenantCount(*row) for row in await db.execute(wanted)]
