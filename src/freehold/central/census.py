"""What clients said of themselves, and where tenants are. Implements `freehold.registry.census.CensusStore`."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert

from freehold.central.engine import Central
from freehold.central.tables import client_report, tenant
from freehold.registry.census import AppCount, ClientReport, TenantCount

_A_TRANSACTION = 500  # others must get at the write lock in between


@dataclass(frozen=True, slots=True)
class CentralCensus:
    central: Central

    async def save(self, reports: Sequence[ClientReport], forget_before_ms: int) -> None:
        said = insert(client_report)
        # Of two processes the one that heard the device later is right.
        said = said.on_conflict_do_update(
            index_elements=[client_report.c.device],
            set_={name: said.excluded[name] for name in ("app_version", "schema_version", "seen_at_ms")},
            where=said.excluded.seen_at_ms >= client_report.c.seen_at_ms,
        )
        for start in range(0, len(reports), _A_TRANSACTION):
            part = [msgspec.structs.asdict(each) for each in reports[start : start + _A_TRANSACTION]]
            async with self.central.write() as db:
                await db.execute(said, part)
                if start == 0:
                    await db.execute(
                        client_report.delete().where(client_report.c.seen_at_ms < forget_before_ms)
                    )

    async def apps(self, since_ms: int) -> Sequence[AppCount]:
        columns = (client_report.c.app_version, client_report.c.schema_version)
        wanted = (
            select(*columns, func.count()).where(client_report.c.seen_at_ms >= since_ms).group_by(*columns)
        )
        async with self.central.read() as db:
            return [AppCount(*row) for row in await db.execute(wanted)]

    async def tenants(self) -> Sequence[TenantCount]:
        columns = (tenant.c.state, tenant.c.schema_version)
        wanted = select(*columns, func.count()).where(tenant.c.state != "deleted").group_by(*columns)
        async with self.central.read() as db:
            return [TenantCount(*row) for row in await db.execute(wanted)]
