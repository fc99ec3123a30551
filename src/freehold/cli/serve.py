"""`freehold serve`: run the service, in one process or in several."""

import re
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

import click
import msgspec

from freehold.cli.context import EXIT_DONE, command_settings, fail, new_loop, require_registry
from freehold.cli.listening import listen, listen_shared, raise_file_limit
from freehold.cli.output import examples
from freehold.errors import FreeholdError
from freehold.http_worker import ALONE, HttpWorker, http_workers
from freehold.log import get_logger
from freehold.memory import keep_less_memory, leave_out_of_collections
from freehold.settings.fields import Settings
from freehold.wiring.key_files import make_folder

if TYPE_CHECKING:
    from freehold.registry.service import Registry

_SHUTDOWN_LIMIT_S = 2
_DEMO_TABLE = "dictionary_entries"
_DEFAULT_URL = "http://127.0.0.1:8000"


@click.command(epilog=examples("freehold serve", "PORT=9000 DATA_DIR=/var/lib/freehold freehold serve"))
def serve() -> None:
    """Run the service until it is stopped (Ctrl-C or SIGTERM).

    Embedded by default: it needs no account and no other server, and writes only to DATA_DIR.
    """
    try:
        code = _serve(command_settings())
    except FreeholdError as error:
        code = fail(error)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _serve(settings: Settings) -> int:
    has_engines = settings.tenant_provider == "local" and settings.engines > 0
    if not has_engines and settings.http_workers == 1:
        return _run(run_service(settings))
    if settings.registry_signing == "local":
        require_registry(settings)  # before creating a data folder, perhaps in the wrong place
    from freehold.cli.parent import Parent
    from freehold.wiring.engines import started_engines

    workers = http_workers(settings.http_workers)
    listeners = listen_shared(settings.host, settings.port, len(workers))
    make_folder(settings.data_dir / "keys")
    raise_file_limit()  # child processes inherit it

    def work(number: int, is_up: Callable[[], None]) -> int:
        return _run(run_service(settings, listeners[number], is_up, workers[number]))

    try:
        return Parent(work, len(workers), started_engines(settings) if has_engines else None).run()
    finally:
        for listener in listeners:
            listener.close()


def _run(service: Coroutine[None, None, int]) -> int:
    import asyncio  # the parent of several processes needs none

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(service)


async def run_service(
    settings: Settings,
    given: socket.socket | None = None,
    is_up: Callable[[], None] = lambda: None,
    worker: HttpWorker = ALONE,
) -> int:
    """Serve until stopped by a signal, and return the exit code.

    `given` is a port that is already bound; `is_up` is called once the service is ready.
    """
    keep_less_memory()
    if settings.registry_signing == "local":
        require_registry(settings)
    with given or listen(settings.host, settings.port) as listener:
        import uvicorn

        from freehold.cli.server import Server
        from freehold.cli.start_checks import check_central, check_servers
        from freehold.http.app import create_asgi, create_connections, create_room
        from freehold.log import configure_logging
        from freehold.wiring.central import warn_of_shared_sqld
        from freehold.wiring.services import open_services

        configure_logging(settings.log_level, settings.log_format)
        settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
        await check_central(settings)
        async with open_services(settings, worker=worker) as services:
            await check_servers(services)
            await services.publish_registry()
            await warn_of_shared_sqld(settings)
            if settings.tenant_provider == "sqld" and not settings.sqld_supervisor_url:
                get_logger().warning("sqld.unsupervised", do="run it with `freehold sqld`, and set SQLD_SUPERVISOR_URL")
            room = create_room(settings, worker)
            config = uvicorn.Config(
                create_asgi(services, room),
                http=create_connections(settings, room, raise_file_limit() // 2, worker),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                # Our own code reads X-Forwarded-For, and checks it against TRUSTED_PROXIES.
                proxy_headers=False,
                timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
            )
            is_demo = await _suits_demo(services.registry)
            leave_out_of_collections()
            if worker.number == 0:
                _greet(settings, is_demo=is_demo)
            is_up()
            await Server(config).serve(sockets=[listener])
    return EXIT_DONE


async def _suits_demo(registry: "Registry") -> bool:
    """Whether `make demo` works here: it is a client of one app, and needs that app's tables."""
    from freehold.migrate.signature import RegistryTampered

    try:
        published = await registry.snapshot()
    except RegistryTampered:  # reported to clients that pull migrations; signing in still works
        return False
    wanted = re.compile(rf"\bCREATE TABLE\W+{_DEMO_TABLE}\b", re.IGNORECASE)
    return any(wanted.search(each.sql) for each in published.rows)


def _greet(settings: Settings, *, is_demo: bool) -> None:
    """Print what to do next, for the person who started it."""
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
