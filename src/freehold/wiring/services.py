"""Builds the services from the settings: the only place that chooses adapters, with a file for each feature."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from freehold.central.rollouts.restore_points import CentralRestorePoints
from freehold.central.rollouts.store import CentralRollouts
from freehold.central.rollouts.workers import CentralWorkers
from freehold.central.tenants.lifecycle import CentralLifecycle
from freehold.clock import SystemClock
from freehold.http_worker import ALONE, HttpWorker
from freehold.log import get_logger
from freehold.registry.client_versions import ContractTooEarly
from freehold.registry.files import load_folder
from freehold.registry.folder_config import load_parts
from freehold.registry.taken_down import Credential
from freehold.registry.types import PublishReport
from freehold.rollouts.rehearsal import Copies
from freehold.rollouts.restoring import Restoring
from freehold.rollouts.service import Rollouts
from freehold.settings.fields import Settings
from freehold.wiring.auth import AuthServices, open_auth
from freehold.wiring.foundation import Foundation, open_foundation
from freehold.wiring.registry import RegistryServices, open_registry
from freehold.wiring.tenants import TenantServices, open_tenants

log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Services(Foundation, AuthServices, RegistryServices, TenantServices):
    """All services that the edges may call."""

    rollouts: Rollouts

    async def publish_registry(self) -> PublishReport | None:
        """Publish the files of SCHEMA_REGISTRY, as the embedded mode does at startup.

        If the registry is signed elsewhere, it is published there, and nothing happens here. A contract migration that
        older apps still block waits, with those after it, as these apps need the service. So do the release's parts,
        which may refer to it.

        Raises:
            BadRegistry, PublishedMigrationChanged: the files cannot be served.
        """
        if self.registry.signer is None:
            return None
        migrations = await load_folder(self.settings.schema_registry)
        try:
            report = await self.registry.publish(migrations, parts=await load_parts(self.settings.schema_registry))
        except ContractTooEarly as error:
            log.warning("registry.contract_waits", version=error.version, reason=str(error))
            report = await self.registry.publish(migrations[: error.version - 1])
        await self.registry.renew()
        return report


@asynccontextmanager
async def open_services(
    settings: Settings, *, creates: bool = True, worker: HttpWorker = ALONE
) -> AsyncIterator[Services]:
    """The services for these settings, with the central database at its newest schema; closed at the end.

    Without `creates`, neither DATA_DIR nor a signing key is created: the installation must exist.

    Raises:
        BadSettings, BadKeyFile: DATA_DIR or a key file cannot be used.
        CentralUnavailable: the central database does not answer.
    """
    async with AsyncExitStack() as stack:
        base = await open_foundation(settings, stack, creates=creates, worker=worker)

        async def who(shown: Credential) -> str | None:
            return await auth.recognition.user_id(shown.kind, shown.text)

        registry = open_registry(base, who)
        tenants = await open_tenants(base, registry, creates=creates)
        auth = await open_auth(base, tenants.provider.name, tenants.provisioner.wake)
        yield Services(
            **vars(base), **vars(auth), **vars(registry), **vars(tenants), rollouts=_rollouts(base, registry, tenants)
        )


def _rollouts(base: Foundation, registry: RegistryServices, tenants: TenantServices) -> Rollouts:
    store, provider = CentralRollouts(base.central), tenants.provider
    copies = Copies(CentralLifecycle(base.central), provider, SystemClock())
    return Rollouts(
        store=store,
        workers=CentralWorkers(base.central),
        restoring=Restoring(
            rollouts=store,
            points=CentralRestorePoints(base.central),
            copies=copies,
            lifecycle=CentralLifecycle(base.central),
            provider=provider,
        ),
        provider=provider,
        published=registry.registry.snapshot,
        copies=copies,
        drift=tenants.drift,
    )
