"""How fast and how patient a provisioner is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionerConfig:
    """`lease_s` is how long a killed process keeps others from its tenants; it is renewed while work goes on."""

    concurrency: int = 4
    lease_s: float = 10.0
    poll_s: float = 1.0
    tenant_limit_s: float = 120.0
    check_limit_s: float = 10.0
    shutdown_limit_s: float = 3.0
