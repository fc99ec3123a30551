"""`freehold serve`: the service in one process."""

import click
import msgspec
import structlog
import uvicorn

from freehold.cli.context import EXIT_DONE, async_command, command_settings
from freehold.cli.listening import (
    Server,
    keep_less_memory,
    leave_out_of_collections,
    listen,
    raise_file_limit,
)
from freehold.settings import Settings

_SHUTDOWN_LIMIT_S = 10
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
    with listen(settings.host, settings.port) as listener:
        from freehold.adapters import warn_of_shared_sqld
        from freehold.bootstrap import open_services
        from freehold.http.app import create_asgi, create_connections, create_room
        from freehold.log import configure_logging

        configure_logging(settings.log_level, settings.log_format)
        settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
        async with open_services(settings) as services:
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
            leave_out_of_collections()
            _greet(settings)
            await Server(config).serve(sockets=[listener])
    return EXIT_DONE


def _greet(settings: Settings) -> None:
    """Where to go next, for the person who started it."""
    url = settings.public_url
    demo = "make demo" if url == _DEFAULT_URL else f"make demo URL={url}"
    click.echo(
        f"Freehold listens on {url}\n"
        f"  is it up?           curl {url}/health\n"
        f"  API, described:     {url}/schema\n"
        f"  play a client app:  {demo}\n"
        f"  its data:           {settings.data_dir.resolve()}\n"
        f"  stop:               Ctrl-C",
        err=True,
    )
