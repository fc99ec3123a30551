"""A real process that provisions, on real files, and kills itself at a chosen step."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.central.engine import open_central
from freehold.central.tenants.store import CentralTenants
from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.apply import apply
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.providers.local.provider import LocalProvider
from freehold.tenants.ports import DatabaseProvider, TenantStore
from freehold.tenants.provisioner import Provisioner
from freehold.tenants.types import Claim, Database, Marked
from freehold.tenants.worker import WorkerConfig

# The row of the second is what tells whether a migration ran twice; the third takes long enough to be killed in.
MIGRATIONS = (
    Migration(version=1, name="create_word", sql="CREATE TABLE word (text TEXT NOT NULL);"),
    Migration(version=2, name="seed_word", sql="INSERT INTO word VALUES ('كتاب'); INSERT INTO word VALUES ('قلم');"),
    Migration(
        version=3,
        name="fill_numbers",
        sql="""CREATE TABLE number (value INTEGER NOT NULL);
            INSERT INTO number WITH RECURSIVE counted (value) AS
                (VALUES (1) UNION ALL SELECT value + 1 FROM counted WHERE value < 5000) SELECT value FROM counted;""",
    ),
    Migration(version=4, name="index_number", sql="CREATE UNIQUE INDEX number_value ON number (value);"),
)  # fmt: skip

STEPS = (
    "before claim_due", "after claim_due", "before create", "after create", "before open", "after open",
    "before read", "after read", "before transaction 1", "after transaction 1", "after transaction 2",
    "before transaction 3", "after transaction 3", "before mark_ready", "after mark_ready",
)  # fmt: skip


@dataclass
class Fate:
    """Kills this process when the step comes up for the `nth` time; an empty step never does."""

    step: str = ""
    nth: int = 1
    seen: int = field(default=0, init=False)

    def reach(self, step: str) -> None:
        if step == self.step:
            self.seen += 1
            if self.seen == self.nth:
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DoomedStore(CentralTenants):
    """The real store; the process may end right before or after a call."""

    fate: Fate = field(default_factory=Fate)

    async def claim_due(self, provider: str, *, due_by_ms: int, lease_until_ms: int, limit: int) -> Sequence[Claim]:
        self.fate.reach("before claim_due")
        claims = await CentralTenants.claim_due(
            self, provider, due_by_ms=due_by_ms, lease_until_ms=lease_until_ms, limit=limit
        )
        self.fate.reach("after claim_due")
        return claims

    async def mark_ready(self, tenant_id: str, schema_version: int, database_name: str | None = None) -> Marked:
        self.fate.reach("before mark_ready")
        marked = await CentralTenants.mark_ready(self, tenant_id, schema_version, database_name)
        self.fate.reach("after mark_ready")
        return marked


class DoomedProvider(LocalProvider):
    """The real provider, likewise; its transactions go one by one, so that the process may end between two."""

    fate = Fate()

    async def create(self, database_name: str) -> Database:
        self.fate.reach("before create")
        database = await super().create(database_name)
        self.fate.reach("after create")
        return database

    async def open(self, database_name: str) -> Target:
        self.fate.reach("before open")
        target = await super().open(database_name)
        self.fate.reach("after open")
        return DoomedTarget(target, self.fate)


@dataclass
class DoomedTarget:
    """One round trip for each transaction, in place of one for all. The first two migrations share one."""

    target: Target
    fate: Fate

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        results: list[BatchResult] = []
        for number, batch in enumerate(batches, start=1):
            step = f"transaction {number}" if len(batch.steps) > 2 else "read"
            self.fate.reach(f"before {step}")
            results += await self.target.run([batch])
            self.fate.reach(f"after {step}")
        return results


@dataclass
class Installation:
    """The parts that provisioning needs, on the files of one folder."""

    store: TenantStore
    provider: DatabaseProvider

    def provisioner(self, *, concurrency: int = 2, lease_s: float = 10.0) -> Provisioner:
        async def bring_up_to_date(target: Target) -> int:
            return (await apply(target, MIGRATIONS)).version

        config = WorkerConfig(concurrency=concurrency, lease_s=lease_s, poll_s=0.02)
        return Provisioner(self.store, self.provider, bring_up_to_date, config=config)


@asynccontextmanager
async def installation(folder: Path, fate: Fate | None = None) -> AsyncIterator[Installation]:
    """Open the parts; the central database in the folder is there already."""
    central = open_central(folder / "central.db")
    provider = DoomedProvider(folder, "http://127.0.0.1:8000", Ed25519PrivateKey.generate())
    provider.fate = fate or Fate()
    try:
        yield Installation(DoomedStore(central, fate=provider.fate), provider)
    finally:
        await provider.aclose()
        await central.close()


def provision_until_killed(folder: str, step: str, nth: int, lease_s: float, concurrency: int) -> None:
    """What the process does: the same as the service in the background, until fate or the parent ends it."""

    async def main() -> None:
        async with installation(Path(folder), Fate(step, nth)) as parts:
            await parts.provisioner(concurrency=concurrency, lease_s=lease_s).run()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
