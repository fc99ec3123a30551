"""`make bench`: every benchmark, beside its floor, in one run. Exit code 1 when a ratio is too low."""

import asyncio
import sys

from bench import driver, gateway, hot_paths, provisioning
from bench.report import show


async def main(arguments: list[str]) -> int:
    """Run all; `--json` prints one object a line."""
    as_json = "--json" in arguments
    enough = True
    for suite in (hot_paths, provisioning, driver, gateway):
        async for finding in suite.run():
            show(finding, as_json=as_json)
            enough &= finding.is_enough
    return 0 if enough else 1


sys.exit(asyncio.run(main(sys.argv[1:])))
