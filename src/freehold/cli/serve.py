"""`freehold serve`: the service in one process."""

import re

import click
import msgspec
import uvicorn

from freehold.cli.context import EXIT_DONE, async_command, command_settings, require_registry
from freehold.cli.listening import Server, keep_less_memory, leave_out_of_collections, listen, raise_file_limit
from freehold.log import get_logger
from freehold.migrate.signature import RegistryTampered
from freehold.registry.service import Registry
from freehold.settings.fields import Settings

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
    """Run the service until it is stopped (Ctrl-C or SIGTERM).

    Embedded by default: it needs no account and no other server, and writes only to DATA_DIR.
    """
    return await run_service(command_settings())


async def run_service(settings: Settings) -> int:
    """Serve with these settings until told to stop; returns the exit code."""
    keep_less_memory()
    if settings.registry_signing == "local":
        require_registry(settings)  # before a folder for data is made, perhaps in a wrong place
    with listen(settings.host, settings.port) as listener:
        from freehold.cli.start_checks import check_central, check_servers
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
                get_logger().warning("sqld.unsupervised", do="run it with `freehold sqld`, and set SQLD_SUPERVISOR_URL")
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
