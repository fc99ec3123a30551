"""`make bench`: benchmarks beside their floors, in one run. Exit code 1 when a ratio is too low.

`python -m bench NAME…` runs some of them, `--json` prints one object a line. `python -m bench --against REV [NAME…]`
measures the hot paths beside those of another revision instead, all or those whose names hold a NAME.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator

from bench import (
    against,
    driver,
    engines,
    gateway,
    hostile,
    hot_paths,
    http_workers,
    provisioning,
    provisioning_sqld,
    rollouts,
    sign_in,
    start_up,
    tenants,
)
from bench.report import Finding, show
from bench.revision import NoSuchRevision
from freehold.cli.context import new_loop

SUITES = {
    "hot_paths": hot_paths,
    "http_workers": http_workers,
    "sign_in": sign_in,
    "provisioning": provisioning,
    "provisioning_sqld": provisioning_sqld,
    "driver": driver,
    "gateway": gateway,
    "engines": engines,
    "tenants": tenants,
    "rollouts": rollouts,
    "start_up": start_up,
    "hostile": hostile,
}


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, beside a floor or a revision.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(SUITES)}")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--against", metavar="REV", help="beside the source of this revision, e.g. HEAD~1")
    effort = against.Effort()
    parser.add_argument("--seconds", type=float, default=effort.seconds, help="of each turn, with --against")
    parser.add_argument("--rounds", type=int, default=effort.most, help="at the most, with --against")
    asked = parser.parse_args(arguments)
    if asked.against is None and (unknown := set(asked.names) - SUITES.keys()):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    return asked


def _findings(asked: argparse.Namespace) -> AsyncIterator[Finding]:
    if asked.against is not None:
        fewest = min(against.Effort().fewest, asked.rounds)
        return against.run(asked.against, asked.names, against.Effort(asked.seconds, fewest, asked.rounds))
    return _suites(asked.names or list(SUITES))


async def _suites(names: list[str]) -> AsyncIterator[Finding]:
    for name in names:
        async for finding in SUITES[name].run():
            yield finding


async def main(arguments: list[str]) -> int:
    """Measure what is asked for."""
    asked = _asked(arguments)
    task = asyncio.current_task()
    assert task is not None
    is_stopped = False

    def stop() -> None:
        nonlocal is_stopped
        is_stopped = True
        task.cancel()

    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop)
    findings = _findings(asked)
    enough = True
    try:
        async for finding in findings:
            show(finding, as_json=asked.json)
            enough &= finding.is_enough
    except NoSuchRevision as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        # Tidying up blocked the loop, so a signal may wait to be heard; it cancels this sleep.
        await asyncio.sleep(0.1)
        if not is_stopped:
            raise
        # The terminal's signal ended what was measured, too, and that was noticed first.
        raise asyncio.CancelledError from error
    finally:
        await findings.aclose()  # type: ignore[attr-defined]  # they are generators, and must end before the loop does
    return 0 if enough else 1


try:
    with asyncio.Runner(loop_factory=new_loop) as runner:  # as the commands themselves run
        code = runner.run(main(sys.argv[1:]))
except (KeyboardInterrupt, asyncio.CancelledError):
    code = 130
sys.exit(code)
