"""The embedded engine beside sqld: two services, the same gateway and statements, on the same cores.

Both answer a write once it is on the disk: files with `synchronous = FULL`, sqld's namespaces with strong durability.
"""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables

from bench.against import STATEMENTS, Side, prepare
from bench.load import measure
from bench.report import Finding, compare, note
from bench.service import MeasuredService

_ROUNDS = 5
_SECONDS = 2.0
_CONNECTIONS = 16
_COMMON = {"RATE_LIMITS": "off", "TENANT_TOKEN_TTL_S": "86400"}


async def run() -> AsyncIterator[Finding]:
    """Start sqld and both services, and load these in turn."""
    with running_sqld() as sqld, tempfile.TemporaryDirectory(prefix="freehold-bench-data-") as folder:
        on_files = MeasuredService(Path(folder) / "files", **_COMMON, ENGINES="2")
        on_sqld = MeasuredService(Path(folder) / "sqld", **_COMMON, **sqld_variables(sqld))
        try:
            sides = {"files": Side(on_files.start()), "sqld": Side(on_sqld.start())}
            for kind, side in sides.items():
                await prepare(side, kind)
            for label in STATEMENTS:
                note(f"measuring the gateway on files beside sqld, {label}")
                yield await _compare(sides, label)
        finally:
            on_files.stop()
            on_sqld.stop()


async def _compare(sides: dict[str, Side], label: str) -> Finding:
    rates: dict[str, list[float]] = {kind: [] for kind in sides}
    for number in range(_ROUNDS):
        # Who comes second finds a busier disk.
        for kind, side in sides.items() if number % 2 else reversed(sides.items()):
            request, status = side.requests[f"gateway on {kind}, {label}"]
            load = await measure(side.service.port, request, connections=_CONNECTIONS, seconds=_SECONDS)
            if set(load.statuses) != {status}:
                raise AssertionError(f"expected only {status} of {kind}, got {load.statuses}")
            rates[kind].append(load.per_second)
    return compare(f"gateway on files, {label}, over sqld", "/s", rates["files"], rates["sqld"], at_least=1.0)
