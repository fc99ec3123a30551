"""`freehold serve`: the service in one process."""

import socket

import click
import msgspec
import uvicorn

from freehold.bootstrap import open_services
from freehold.cli.context import EXIT_DONE, async_command, command_settings
from freehold.http.app import create_asgi
from freehold.log import configure_logging
from freehold.settings import BadSettings, Settings

_SHUTDOWN_LIMIT_S = 10

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
    settings = command_settings()
    configure_logging(settings.log_level, settings.log_format)
    with _listen(settings) as listener:
        settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
        async with open_services(settings) as services:
            await services.publish_registry()
            config = uvicorn.Config(
                create_asgi(services),
                log_config=None,
                access_log=False,
                server_header=False,
                # X-Forwarded-For is read by our own code, against TRUSTED_PROXIES.
                proxy_headers=False,
                timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
            )
            _greet(settings)
            await uvicorn.Server(config).serve(sockets=[listener])
    return EXIT_DONE


def _listen(settings: Settings) -> socket.socket:
    """Bind before anything else starts, so that a port in use is found at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadSettings(
            [f"PORT: cannot listen on {settings.host}:{settings.port} ({reason.lower()}); choose another"]
        ) from error
    listener.setblocking(False)
    return listener


def _greet(settings: Settings) -> None:
    """Where to go next, for the person who started it."""
    url = settings.public_url
    click.echo(
        f"Freehold listens on {url}\n"
        f"  is it up?           curl {url}/health\n"
        f"  API, described:     {url}/schema\n"
        f"  play a client app:  make demo\n"
        f"  its data:           {settings.data_dir.resolve()}\n"
        f"  stop:               Ctrl-C",
        err=True,
    )
