"""Rollouts over many tenants' databases."""

from freehold.central.rollouts.restore_points import CentralRestorePoints
from freehold.central.rollouts.store import CentralRollouts
from freehold.central.rollouts.workers import CentralWorkers
from freehold.central.tenants.lifecycle import CentralLifecycle
from freehold.clock import SystemClock
from freehold.rollouts.rehearsal import Copies
from freehold.rollouts.restoring import Restoring
from freehold.rollouts.service import Rollouts
from freehold.wiring.foundation import Foundation
from freehold.wiring.registry import RegistryServices
from freehold.wiring.tenants import TenantServices


def open_rollouts(base: Foundation, registry: RegistryServices, tenants: TenantServices) -> Rollouts:
    """Rollouts of the registry's versions to these tenants."""
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
