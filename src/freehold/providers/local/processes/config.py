"""The configuration that engine processes get when they start."""

from msgspec import Struct
from msgspec.structs import replace

from freehold.providers.sqlite.limits import EngineLimits, Limits


class EngineConfig(Struct, frozen=True, kw_only=True):
    """The configuration of all engines together; each gets its share of the limits."""

    run_dir: str
    databases_dir: str
    engines: int
    limits: Limits
    engine_limits: EngineLimits
    log_level: str = "info"
    log_format: str = "auto"


def share_of(limits: EngineLimits, engines: int) -> EngineLimits:
    """One engine's share of the limits, but no less than an engine with few tenants needs."""

    def part(whole: int, least: int) -> int:
        return max(whole // engines, min(whole, least))

    return replace(
        limits,
        threads=part(limits.threads, 16),
        connections=part(limits.connections, 32),
        waiting=part(limits.waiting, 200),
        streams=part(limits.streams, limits.streams_each),
        memory_bytes=part(limits.memory_bytes, 256_000_000),
    )
