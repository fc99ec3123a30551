"""Runs SQLAlchemy's suite in a process of its own: its pytest plugin and this project's settings do not mix."""

import subprocess
import sys
from pathlib import Path

from testbed.servers import ROOT, clean_environ
from testbed.sqld import Sqld

_HERE = Path(__file__).parent
# A folder of its own: pytest would take the file for the settings of the tests beside it.
_CONFIG = _HERE / "config"


def run_suite(server: Sqld, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The suite on a new, empty database of the server; output goes where ours goes."""
    name = server.create("suite")
    url = f"sqlite+hrana://:{server.token(name)}@127.0.0.1:{server.port}/?secure=false&namespace={name}"
    command = [
        *(sys.executable, "-m", "pytest", "-c", str(_CONFIG / "setup.cfg"), "--rootdir", str(_CONFIG)),
        *("-p", "sqlalchemy.testing.plugin.pytestplugin", "-p", "tests.dialect.provision"),
        *("-p", "no:asyncio", "-p", "no:xdist", "-p", "no:cacheprovider"),
        *("--dburi", url),
        *arguments,
        str(_HERE / "suite.py"),
    ]
    return subprocess.run(command, cwd=ROOT, env=clean_environ(), check=False)
