"""`freehold serve`: the service in one process."""

import asyncio
import re
from urllib.parse import urlsplit

import click
import msgspec
import structlog
import uvicorn

from freehold.cache.redis import CacheRefuses, CacheUnavailable, RedisLink
from freehold.cli.context import EXIT_DONE, async_command, command_settings, require_registry
from freehold.cli.installation import missing_central
from freehold.cli.listening import (
    Server,
    keep_less_memory,
    leave_out_of_collections,
    listen,
    raise_file_limit,
)
from freehold.errors import ProviderRefuses, ProviderUnavailable, Unavailable
from freehold.migrate.signature import RegistryTampered
from freehold.registry.service import Registry
from freehold.settings.fields import BadSettings, Settings
from freehold.wiring.services import Services

_SHUTDOWN_LIMIT_S = 10
_DEMO_TABLE = "dictionary_entries"
_DEFAULT_URL = "http://127.0.0.1:8000"

_EPILOG = """\b
Examples:
  freehold serve
  PORT=9000 DATA_DIR=/var/lib/freehold freehold serve
"""


@click.command(epilog=_EPILOG)
@async_command
async def serve() -> int:
    """Run the service until it is told to stop (Ctrl-C or SIGTERM).

    Embedded by default: it needs no account and no other server, and writes only below DATA_DIR.
    """
    return await run_service(command_settings())


async def run_service(settings: Settings) -> int:
    """Serve with these settings until told to stop; gives the exit code."""
    keep_less_memory()
    if settings.registry_signing == "here":
        require_registry(settings)  # before a folder for data is made, perhaps in a wrong place
    with listen(settings.host, settings.port) as listener:
        from freehold.cli.serve import check_central, check_servers
        from freehold.http.app import create_asgi, create_connections, create_room
        from freehold.log import configure_logging
        from freehold.wiring.central import warn_of_shared_sqld
        from freehold.wiring.services import open_services

        configure_logging(settings.log_level, settings.log_format)
        settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
        await check_central(settings)
        async with open_services(settings) as services:
            await check_servers(services)
            await services.publish_registry()
            await warn_of_shared_sqld(settings)
            if settings.tenant_provider == "sqld" and not settings.sqld_supervisor_url:
                structlog.get_logger().warning(
                    "sqld.unsupervised", do="run it with `freehold sqld`, and set SQLD_SUPERVISOR_URL"
                )
            room = create_room(settings)
            config = uvicorn.Config(
                create_asgi(services, room),
                http=create_connections(settings, room, most=raise_file_limit() // 2),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                # X-Forwarded-For is read by our own code, against TRUSTED_PROXIES.
                proxy_headers=False,
                timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
            )
            is_demo = await _suits_demo(services.registry)
            leave_out_of_collections()
            _greet(settings, is_demo=is_demo)
            await Server(config).serve(sockets=[listener])
    return EXIT_DONE


async def _suits_demo(registry: Registry) -> bool:
    """Whether `make demo` can be played here: it is a client of one app, and needs the tables of that."""
    try:
        published = await registry.snapshot()
    except RegistryTampered:  # said by whoever asks for migrations; people sign in all the same
        return False
    wanted = re.compile(rf"\bCREATE TABLE\W+{_DEMO_TABLE}\b", re.IGNORECASE)
    return any(wanted.search(each.sql) for each in published.rows)


def _greet(settings: Settings, *, is_demo: bool) -> None:
    """Where to go next, for the person who started it. The demo is an app of its own: it needs that app's tables."""
    url = settings.public_url
    play = f"curl {url}/api/auth/get-session, then docs/clients.md"
    if is_demo:
        play = "make demo" if url == _DEFAULT_URL else f"make demo URL={url}"
    click.echo(
        f"Freehold listens on {url}\n"
        f"  is it up?           curl {url}/health\n"
        f"  API, described:     {url}/schema\n"
        f"  play a client app:  {play}\n"
        f"  its data:           {settings.data_dir.resolve()}\n"
        f"  stop:               Ctrl-C",
        err=True,
    )


# What a service looks at before it starts: whether the servers that its settings name take what they say.
#
# Where tenants' databases do not answer, that is reported in the log, and the service starts: people sign in
# without them, and databases are made once they are back. A token that is wrong will not become right by itself.

log = structlog.get_logger()

# Started together with it, Redis may take a moment longer.
_CACHE_PATIENCE_S = 5.0
_PROVIDER_PATIENCE_S = 8.0


async def check_central(settings: Settings) -> None:
    """Return if a central database on a server takes our token; it need not be made yet.

    Raises:
        BadSettings: it does not, or cannot be there.
        CentralUnavailable: no answer.
    """
    if settings.has_remote_central:
        await missing_central(settings)


async def check_servers(services: Services) -> None:
    """Return if Redis answers, and the provider takes our credentials as far as it answers.

    Raises:
        BadSettings: one of them refuses; which variable is wrong.
        Unavailable: Redis does not answer.
    """
    await asyncio.gather(_check_cache(services.cache, services.settings), _check_provider(services))


async def _check_cache(cache: RedisLink | None, settings: Settings) -> None:
    if cache is None:
        return
    name = "UPSTASH_REDIS_REST" if settings.upstash_redis_rest_url else "REDIS"
    place = urlsplit(settings.cache_url).netloc
    try:
        await cache.reach(_CACHE_PATIENCE_S)
    except CacheRefuses as error:
        raise BadSettings([f"{name}_TOKEN, {name}_URL: at {place}: {error}"]) from error
    except CacheUnavailable as error:
        raise Unavailable(
            f"{name}_URL: Redis does not answer at {place} ({error}); start it, or set no {name}_URL to go without"
        ) from error


async def _check_provider(services: Services) -> None:
    try:
        async with asyncio.timeout(_PROVIDER_PATIENCE_S):
            await services.provider.check()
    except ProviderRefuses as error:
        raise BadSettings([str(error)]) from error
    except (ProviderUnavailable, TimeoutError) as error:
        log.warning(
            "provider.does_not_answer",
            provider=services.provider.name,
            reason=str(error) or "no answer in time",
            meanwhile="people sign up and in; databases are made when it answers",
        )
