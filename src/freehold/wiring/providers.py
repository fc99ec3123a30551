"""The provider of tenants' databases."""

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeAlias

from freehold.providers.published import Published
from freehold.providers.serving import through_gateway, with_tokens
from freehold.settings.fields import Settings
from freehold.tenants.operator_sql import RunAsClient
from freehold.tenants.snapshots import Snapshots
from freehold.wiring.key_files import sqld_key, tokens_key

if TYPE_CHECKING:  # only the one that the settings choose is loaded
    from freehold.providers.local.processes.client import EngineProcesses
    from freehold.providers.local.provider import LocalProvider
    from freehold.providers.sqld.provider import SqldProvider
    from freehold.providers.turso.provider import TursoProvider

AnyProvider: TypeAlias = "LocalProvider | SqldProvider | TursoProvider"


async def open_provider(
    settings: Settings, stack: AsyncExitStack, snapshots: Snapshots, published: Published, *, creates: bool = True
) -> AnyProvider:
    """The provider that the settings choose, closed with the stack. `creates`: a key for its tokens may be created.

    Raises:
        BadSettings: a key file cannot be used.
    """
    provider: AnyProvider
    if settings.tenant_provider == "sqld":
        from freehold.providers.sqld.provider import SqldProvider

        provider = SqldProvider(
            settings.sqld_url,
            settings.sqld_admin_url,
            settings.sqld_admin_key.reveal(),
            await asyncio.to_thread(sqld_key, settings),
            settings.public_url,
            token_ttl_s=settings.tenant_token_ttl_s,
            max_size_bytes=settings.tenant_max_size_mb * 1_000_000,
            query_timeout_s=settings.tenant_query_timeout_s,
            transaction_timeout_s=settings.tenant_transaction_timeout_s,
            cores=settings.sqld_cores,
            supervisor_url=settings.sqld_supervisor_url,
            data_dir=settings.sqld_data_dir,
            most=settings.database_token_profile,
            published=published,
        )
    elif settings.tenant_provider == "turso":
        from freehold.providers.turso.provider import TursoProvider

        provider = TursoProvider(
            settings.turso_api_url,
            settings.turso_api_token.reveal(),
            settings.turso_organization,
            settings.turso_group,
            token_ttl_s=settings.tenant_token_ttl_s,
            max_size_mb=settings.tenant_max_size_mb,
            most=settings.database_token_profile,
        )
    else:
        from freehold.providers.local.provider import LocalProvider

        engine = _engine_processes(settings, stack, published) if settings.engines else None
        provider = LocalProvider(
            settings.data_dir,
            settings.public_url,
            await asyncio.to_thread(tokens_key, settings, creates=creates),
            token_ttl_s=settings.tenant_token_ttl_s,
            max_size_bytes=settings.tenant_max_size_mb * 1_000_000,
            query_timeout_s=settings.tenant_query_timeout_s,
            transaction_timeout_s=settings.tenant_transaction_timeout_s,
            engine=engine,
            snapshot=snapshots.get,
            most=settings.database_token_profile,
            published=published,
        )
    stack.push_async_callback(provider.aclose)
    return provider


def _engine_processes(settings: Settings, stack: AsyncExitStack, published: Published) -> "EngineProcesses":
    """The engines that the service runs, or those that this process starts when it first needs one."""
    from freehold.providers.local.folders import run_dir_of
    from freehold.providers.local.processes.client import EngineProcesses
    from freehold.providers.local.processes.running import read_census
    from freehold.providers.published import RegistryBatches
    from freehold.wiring.engines import started_engines

    run_dir = run_dir_of(settings.data_dir)
    started = started_engines(settings)
    stack.callback(started.close)

    def find() -> int:
        started.start()
        return read_census(run_dir)

    return EngineProcesses(run_dir, lambda: asyncio.to_thread(find), RegistryBatches(published))


def client_door(provider: AnyProvider, subject: str) -> RunAsClient:
    """A function that runs SQL in tenants' databases as a client's is run; `subject` is the caller."""
    if provider.server is None:
        return with_tokens(provider.open_as_client)
    return through_gateway(provider.server, subject)
