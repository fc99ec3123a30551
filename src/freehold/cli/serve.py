"""`freehold serve`: the service in one process."""

import contextlib
import errno
import signal
import socket
from collections.abc import Iterator

import click
import msgspec
import uvicorn

from freehold.cli.context import EXIT_DONE, async_command, command_settings
from freehold.settings import BadSettings, Settings

_SHUTDOWN_LIMIT_S = 10
_KEEP_ALIVE_S = 75
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
    settings = command_settings()
    with _listen(settings) as listener:
        from freehold.bootstrap import open_services
        from freehold.http.app import create_asgi
        from freehold.log import configure_logging

        configure_logging(settings.log_level, settings.log_format)
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
                # Longer than proxies and clients keep a connection idle: whoever closes first must not be we.
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
            )
            _greet(settings)
            await _Server(config).serve(sockets=[listener])
    return EXIT_DONE


class _Server(uvicorn.Server):
    """Ends at SIGINT and SIGTERM without raising them once more, so that the services are closed as well."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def _listen(settings: Settings) -> socket.socket:
    """Bind before anything else starts, so that a port in use is found at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise BadSettings([_cannot_listen(settings, error)]) from error
    listener.setblocking(False)
    # A listener made here has no protocol number, by which asyncio knows that it may turn Nagle's delay off.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _cannot_listen(settings: Settings, error: OSError | UnicodeError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return (
            f"PORT: {settings.port} is in use on {settings.host}; stop what listens there or choose another"
        )
    if number == errno.EACCES:
        return f"PORT: only root may listen on {settings.port}; choose another"
    return f"HOST: cannot listen on `{settings.host}`; give an address of this machine, such as 127.0.0.1"


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
