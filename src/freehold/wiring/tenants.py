"""Tenants' databases: provisioning, keeping, restoring, comparing and repairing them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from freehold.auth.users.departed_guests import DepartedGuests
from freehold.central.auth.guests import CentralGuestLinks, remove_departed
from freehold.central.tenants.lifecycle import CentralLifecycle
from freehold.central.tenants.pending_operations import CentralPendingOperations
from freehold.central.tenants.pool import CentralPool
from freehold.central.tenants.rotations import CentralRotations
from freehold.central.tenants.store import CentralTenants
from freehold.clock import SystemClock
from freehold.providers.serving import DatabaseServer, ReplicaServer
from freehold.providers.sqlite.file_target import local_scratch, open_file
from freehold.providers.tokens import TokenVerifier
from freehold.registry.taken_down import Credential
from freehold.settings.fields import Settings
from freehold.tenants.backup import BackupCheck
from freehold.tenants.drift import DriftCheck
from freehold.tenants.guests import GuestDatabases
from freehold.tenants.lifecycle import Lifecycle
from freehold.tenants.listing import TenantListing
from freehold.tenants.operator_sql import OperatorSql
from freehold.tenants.pending_operations import OperationsWorker
from freehold.tenants.pool import Pool
from freehold.tenants.ports import DatabaseProvider
from freehold.tenants.provisioner import Provisioner
from freehold.tenants.reconcile import Reconciler
from freehold.tenants.repair import Repair
from freehold.tenants.rotations import Rotations
from freehold.tenants.service import Tenants
from freehold.wiring.foundation import Foundation, open_foundation
from freehold.wiring.providers import client_door, open_provider
from freehold.wiring.registry import RegistryServices, open_registry


@dataclass(frozen=True, kw_only=True)
class TenantServices:
    """Services for tenants' databases.

    `damaged` returns the databases known not to open; `repair` is None if it is not possible on this machine. The
    gateway uses `server`, `verifier` and `replicas`; they are None if clients connect to the provider itself.
    """

    provider: DatabaseProvider
    tenants: Tenants
    listing: TenantListing
    rotations: Rotations
    drift: DriftCheck
    damaged: Callable[[], Mapping[str, str]]
    repair: Repair | None
    guest_databases: GuestDatabases
    provisioner: Provisioner
    pool: Pool | None
    operations_worker: OperationsWorker
    lifecycle: Lifecycle
    operator_sql: OperatorSql
    reconciler: Reconciler
    server: DatabaseServer | None
    verifier: TokenVerifier | None
    replicas: ReplicaServer | None


async def open_tenants(base: Foundation, registry: RegistryServices, *, creates: bool) -> TenantServices:
    """The tenants' services. Without `creates`, no key for signing tokens is created."""
    settings, central, snapshots = base.settings, base.central, registry.snapshots
    provider = await open_provider(settings, base.stack, snapshots, snapshots.history, creates=creates)
    store = CentralTenants(central)
    pool = None
    if settings.tenant_pool_size:
        pool = Pool(
            size=settings.tenant_pool_size,
            store=CentralPool(central),
            provider=provider,
            bring_up_to_date=snapshots.bring_up_to_date,
            snapshot=snapshots.get,
            clock=SystemClock(),
        )
    provisioner = Provisioner(store, provider, snapshots.bring_up_to_date, take_waiting=pool.take if pool else None)
    rotations = Rotations(CentralRotations(central), provider, base.changes)
    tenants = Tenants(store, provider, generation=rotations.generation)
    drift = DriftCheck(provider, registry.registry.migrations, local_scratch)
    operations_worker = OperationsWorker(CentralPendingOperations(central), provider, also=_housekeeping(base, pool))
    lifecycle = Lifecycle(
        store=CentralLifecycle(central),
        provider=provider,
        bring_up_to_date=snapshots.bring_up_to_date,
        published=registry.registry.snapshot,
        operations_worker=operations_worker,
        backups=BackupCheck(local_scratch),
        open_file=open_file,
    )

    async def newest_version() -> int:
        return (await registry.registry.snapshot()).version

    return TenantServices(
        provider=provider,
        tenants=tenants,
        listing=TenantListing(store),
        rotations=rotations,
        drift=drift,
        damaged=provider.damaged,
        repair=None
        if provider.files is None
        else Repair(
            provider=provider, files=provider.files, open_file=open_file, check=drift.one, record=base.audit.record
        ),
        guest_databases=GuestDatabases(CentralGuestLinks(central), tenants),
        provisioner=provisioner,
        pool=pool,
        operations_worker=operations_worker,
        lifecycle=lifecycle,
        operator_sql=OperatorSql(lifecycle, client_door(provider, "operator"), drift.one, base.audit.record),
        reconciler=Reconciler(
            catalogue=store,
            provider=provider,
            bring_up_to_date=snapshots.bring_up_to_date,
            drain=provisioner.drain,
            operations_worker=operations_worker,
            newest=newest_version,
            clock=SystemClock(),
            central_names=settings.central_names,
        ),
        server=provider.server,
        verifier=provider.verifier,
        replicas=provider.replicas,
    )


@asynccontextmanager
async def open_only_tenants(settings: Settings, *, creates: bool = True) -> AsyncIterator[TenantServices]:
    """The tenants' services alone, for commands that need no others and so start in half the time.

    Raises as `open_services` does.
    """

    async def nobody(_shown: Credential) -> str | None:
        return None

    async with AsyncExitStack() as stack:
        base = await open_foundation(settings, stack, creates=creates)
        yield await open_tenants(base, open_registry(base, nobody), creates=creates)


def _housekeeping(base: Foundation, pool: Pool | None) -> Callable[[], Awaitable[None]]:
    departed = DepartedGuests(partial(remove_departed, base.central), days=base.settings.guest_days)

    async def keep() -> None:
        if pool is not None:
            await pool.refill()
        await departed.sweep()

    return keep
