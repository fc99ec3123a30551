"""Runs SQLAlchemy's suite in a process of its own: its pytest plugin and this project's settings do not mix."""

import subprocess
import sys
from pathlib import Path

from testbed.servers import ROOT, clean_environ
from testbed.sqld import Sqld

from tests.support.gateway_app import Caller

_HERE = Path(__file__).parent
# A folder of its own: pytest would take the file for the settings of the tests beside it.
_CONFIG = _HERE / "config"


def on_sqld(server: Sqld) -> str:
    """The dialect's URL of a new, empty database of the server."""
    name = server.create("suite")
    return f"sqlite+hrana://:{server.token(name)}@127.0.0.1:{server.port}/?secure=false&namespace={name}"


def through_the_gateway(caller: Caller) -> str:
    """The dialect's URL of a tenant's database."""
    return f"sqlite+hrana://:{caller.token}@{caller.url.removeprefix('http://')}?secure=false"


def run_suite(url: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The suite on the database of this URL; output goes where ours goes."""
    command = [
        *(sys.executable, "-m", "pytest", "-c", str(_CONFIG / "setup.cfg"), "--rootdir", str(_CONFIG)),
        *("-p", "sqlalchemy.testing.plugin.pytestplugin", "-p", "tests.dialect.provision"),
        *("-p", "no:asyncio", "-p", "no:xdist", "-p", "no:cacheprovider"),
        *("--dburi", url),
        *arguments,
        str(_HERE / "suite.py"),
    ]
    return subprocess.run(command, cwd=ROOT, env=clean_environ(), check=False)
