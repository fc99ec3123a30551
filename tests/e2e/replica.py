"""Runs the steps of an embedded replica; see `replica_script`."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from testbed.servers import clean_environ, missing

_SCRIPT = Path(__file__).with_name("replica_script.py")
# The last of the official libraries that replicates from sqld; later ones want a newer server.
_MODULE = "libsql_experimental"


def replica(file: Path, url: str, token: str, *steps: str) -> list[Any]:
    """Rows or the error's text for each step. The replica's file stays for the next call."""
    found = importlib.util.find_spec(_MODULE)
    if found is None or found.origin is None:
        missing(f"{_MODULE} is not installed: run `make test` once")
    assert found is not None
    assert found.origin is not None
    job = {
        "path": str(Path(found.origin).parents[1]),
        "module": _MODULE,
        "file": str(file),
        "url": url,
        "token": token,
        "steps": steps,
    }
    done = subprocess.run(
        [sys.executable, _SCRIPT],
        input=json.dumps(job),
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line[:1] in {"[", '"'}]
    assert len(lines) == len(steps), (done.stdout, done.stderr)
    return lines
