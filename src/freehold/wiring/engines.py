"""Engine processes for tenants' files. The parent of the service loads this, and little else."""

from freehold.providers.local.folders import databases_dir_of, run_dir_of
from freehold.providers.local.processes.config import EngineConfig
from freehold.providers.local.processes.running import StartedEngines
from freehold.providers.sqlite.limits import EngineLimits, limits_of
from freehold.settings.fields import Settings


def started_engines(settings: Settings) -> StartedEngines:
    """Engine processes for these settings, not started yet."""
    return StartedEngines(
        EngineConfig(
            run_dir=str(run_dir_of(settings.data_dir)),
            databases_dir=str(databases_dir_of(settings.data_dir)),
            engines=settings.engines,
            limits=limits_of(
                settings.tenant_query_timeout_s,
                settings.tenant_transaction_timeout_s,
                settings.tenant_max_size_mb * 1_000_000,
            ),
            engine_limits=EngineLimits(),
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
    )
