"""The process that provisions and kills itself, with snapshots: loaded as SQL, or copied as a file."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.simulators.provisioning_process import MIGRATIONS, DoomedProvider, DoomedStore, Fate, Installation

from freehold.central.engine import open_central
from freehold.migrate.types import chains
from freehold.providers.sqlite.file_target import local_scratch
from freehold.registry.published import PublishedRegistry
from freehold.registry.types import PublishedMigration
from freehold.tenants.provisioner import Provisioner
from freehold.tenants.snapshots import Snapshots
from freehold.tenants.worker import WorkerConfig

PUBLISHED = PublishedRegistry(
    tuple(
        PublishedMigration(
            version=each.version, name=each.name, description="", sql=each.sql, checksum=each.checksum,
            chain=link, key_id="", signature="", created_at="",
        )
        for each, link in zip(MIGRATIONS, chains(MIGRATIONS), strict=True)
    ),
    (),
    MIGRATIONS,
)  # fmt: skip


async def published() -> PublishedRegistry:
    return PUBLISHED


@dataclass
class SnapshotInstallation(Installation):
    """As in the service: fresh databases start from the snapshot."""

    snapshots: Snapshots

    def provisioner(self, *, concurrency: int = 2, lease_s: float = 10.0) -> Provisioner:
        config = WorkerConfig(concurrency=concurrency, lease_s=lease_s, poll_s=0.02)
        return Provisioner(self.store, self.provider, self.snapshots.bring_up_to_date, config=config)


@asynccontextmanager
async def installation(folder: Path, fate: Fate | None = None, *, copies: bool) -> AsyncIterator[SnapshotInstallation]:
    """Open the parts; with `copies` the provider copies a file, else SQL is loaded into an empty one."""
    central = open_central(folder / "central.db")
    snapshots = Snapshots(published, local_scratch)
    provider = DoomedProvider(
        folder, "http://127.0.0.1:8000", Ed25519PrivateKey.generate(), snapshot=snapshots.get if copies else None
    )
    provider.fate = fate or Fate()
    try:
        yield SnapshotInstallation(DoomedStore(central, fate=provider.fate), provider, snapshots)
    finally:
        await provider.aclose()
        await central.close()


def provision_until_killed(folder: str, step: str, nth: int, lease_s: float, concurrency: int, copies: bool) -> None:
    """What the process does, until fate or the parent ends it."""

    async def main() -> None:
        async with installation(Path(folder), Fate(step, nth), copies=copies) as parts:
            await parts.provisioner(concurrency=concurrency, lease_s=lease_s).run()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
