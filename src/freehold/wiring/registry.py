"""The schema registry, and the snapshot of its newest version."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from freehold.central.registry import CentralClientVersions, CentralRegistry
from freehold.providers.sqlite.file_target import local_scratch
from freehold.registry.client_versions import ClientVersions
from freehold.registry.published import PublishedRegistryCache
from freehold.registry.service import Registry
from freehold.registry.signed import signer_of
from freehold.registry.taken_down import Credential, place_key
from freehold.tenants.snapshots import Snapshots
from freehold.wiring.foundation import Foundation


@dataclass(frozen=True, kw_only=True)
class RegistryServices:
    """The registry, and what is derived from it."""

    registry: Registry
    reports: ClientVersions
    snapshots: Snapshots


def open_registry(base: Foundation, who: Callable[[Credential], Awaitable[str | None]]) -> RegistryServices:
    """The registry on the central database. `who` returns the user that a client's credential belongs to."""
    settings, store = base.settings, CentralRegistry(base.central)
    reports = ClientVersions(CentralClientVersions(base.central), who=who, place_key=place_key(base.secret))
    registry = Registry(
        store,
        PublishedRegistryCache(store, base.changes),
        signer_of(base.signing_key) if base.signing_key else None,
        lifetime_days=settings.registry_signature_days,
        reports=reports,
        scratch=local_scratch,
    )
    # Other providers have another engine than the scratch database, so a snapshot is tried on that first.
    snapshots = Snapshots(registry.snapshot, local_scratch, prove=settings.tenant_provider != "local")
    return RegistryServices(registry=registry, reports=reports, snapshots=snapshots)
