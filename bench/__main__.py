"""`make bench`: benchmarks beside their floors, in one run. Exit code 1 when a ratio is too low.

`python -m bench NAME…` runs some of them, `--json` prints one object a line.
"""

import asyncio
import sys

from bench import driver, gateway, hot_paths, provisioning, provisioning_sqld, rollouts, sign_in, tenants
from bench.report import show
from freehold.cli.context import new_loop

SUITES = {
    "hot_paths": hot_paths,
    "sign_in": sign_in,
    "provisioning": provisioning,
    "provisioning_sqld": provisioning_sqld,
    "driver": driver,
    "gateway": gateway,
    "tenants": tenants,
    "rollouts": rollouts,
}


async def main(arguments: list[str]) -> int:
    """Run those that are named, or all."""
    names = [word for word in arguments if not word.startswith("-")] or list(SUITES)
    if unknown := set(names) - SUITES.keys():
        print(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}", file=sys.stderr
        )
        return 2
    enough = True
    for name in names:
        async for finding in SUITES[name].run():
            show(finding, as_json="--json" in arguments)
            enough &= finding.is_enough
    return 0 if enough else 1


with asyncio.Runner(loop_factory=new_loop) as runner:  # as the commands themselves run
    sys.exit(runner.run(main(sys.argv[1:])))
