"""An installation in this process, on files or on a real sqld, and ways to bring it into disorder."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update
from testbed.servers import ROOT
from testbed.sqld import Sqld
from testbed.sqld_service import sqld_variables

from freehold.central.tables import tenant
from freehold.central.tenants.rows import new_tenant_row
from freehold.dates import utc_now
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.migrate.fingerprint import ask
from freehold.migrate.ledger import read_ledger
from freehold.settings.load import load_settings
from freehold.tenants.findings import Finding, Kind, Reconciled
from freehold.tenants.names import new_database_name
from freehold.tenants.reconcile import Options
from freehold.wiring.central import central_place
from freehold.wiring.services import Services, open_services
from tests.support.central_place import CentralPlace
from tests.support.central_template import begin_file

HEAD = len(list((ROOT / "schema_registry/bahar").glob("*.sql")))
# What the newest migration made, taken back.
FALL_BACK = ("DROP INDEX flashcards_due", f"DELETE FROM freehold_ledger WHERE version = {HEAD}")


@dataclass
class House:
    """An installation, and ways to bring it into disorder."""

    services: Services
    sqld: Sqld | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def lists(self) -> bool:
        return self.services.provider.names() is not None

    async def add(self, count: int, **columns: Any) -> list[str]:
        """New tenants; gives the names of their databases."""
        rows = [{**new_tenant_row(new_database_name(), self.provider, utc_now()), **columns} for _ in range(count)]
        async with self.services.central.write() as db:
            await db.execute(insert(tenant), rows)
        return [row["database_name"] for row in rows]

    async def ready(self, count: int) -> list[str]:
        names = await self.add(count)
        assert not await self.services.provisioner.drain()
        return names

    async def change(self, name: str, **columns: Any) -> None:
        async with self.services.central.write() as db:
            await db.execute(update(tenant).where(tenant.c.database_name == name).values(**columns))

    async def rows(self) -> dict[str, tuple[str, int]]:
        """State and version by name."""
        async with self.services.central.read() as db:
            found = await db.execute(select(tenant.c.database_name, tenant.c.state, tenant.c.schema_version))
        return {name: (state, version) for name, state, version in found}

    @property
    def provider(self) -> str:
        return self.services.provider.name

    async def exists(self, name: str) -> bool:
        return await self.services.provider.find(name) is not None

    async def version(self, name: str) -> int:
        return (await read_ledger(await self.services.provider.open(name))).version

    async def run(self, name: str, *sql: str) -> None:
        target = await self.services.provider.open(name)
        [result] = await target.run([Batch(tuple(BatchStep(Stmt(sql=each)) for each in sql))])
        assert not any(result.step_errors), result.step_errors

    async def rows_of(self, name: str, sql: str) -> list[list[Any]]:
        [found] = await ask(await self.services.provider.open(name), sql)
        return [list(row) for row in found]

    async def reconcile(self, **options: bool) -> Reconciled:
        self.findings.clear()
        return await self.services.reconciler.run(Options(**options), self.findings.append)

    def found(self, kind: Kind) -> dict[str, bool]:
        """Names of this kind, and whether they are repaired."""
        return {each.database_name: each.is_repaired for each in self.findings if each.kind is kind}


def central_on(sqld: Sqld) -> str:
    """A new central database beside the tenants' own."""
    return f"{sqld.url}/?namespace=central-{secrets.token_hex(4)}"


@asynccontextmanager
async def opened(folder: Path, sqld: Sqld | None = None, **more: str) -> AsyncIterator[House]:
    variables = {
        "DATA_DIR": str(folder / "data"),
        "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar"),
        **(sqld_variables(sqld) if sqld else {}),
        **more,
    }
    settings = load_settings(variables)
    if "DATABASE_URL" not in variables:
        begin_file(folder / "data" / "central.db")
    elif sqld is not None:
        place = await central_place(settings)  # makes the namespace, which has a key of its own
        token = place.token() if callable(place.token) else place.token
        if isinstance(token, str):  # else a file was begun by whoever names it
            CentralPlace(url=place.url, token=token).begin()
    async with open_services(settings) as services:
        await services.publish_registry()
        yield House(services, sqld)
