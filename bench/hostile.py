"""What bystanders notice of twenty hostile people, and how soon all is as before: `python -m bench hostile`.

The attacks are those of `testbed/hostile`; the hostile people are in a process of their own, on the same machine.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.hostile.bystanders import Done
from testbed.hostile.campaign import Campaign, opened
from testbed.hostile.served import Served

from bench.report import Finding, note

_SEED = 7
_IDLE_S = 10.0
_STORM_S = 20.0
_PAUSE_S = 5.0
_AFTER_S = 10.0
_TIMES_IDLE = 10.0
_BACK_WITHIN = 0.9
# What is asked often enough for a p99, and what is not: there the longest counts.
_OFTEN = ("write and read", "get-session", "pull")
_SELDOM = ("sign in", "sign up")


class _Measured(Served):
    starts_anew = True


@dataclass(frozen=True, slots=True)
class _Phases:
    idle: Sequence[Done]
    storm: Sequence[Done]
    after: Sequence[Done]
    refused: int


async def run() -> AsyncIterator[Finding]:
    """Findings for files and for sqld."""
    for kind in ("files", "sqld"):
        note(f"measuring bystanders of hostile people, on {kind}")
        with tempfile.TemporaryDirectory(prefix="bench-hostile-") as folder:
            service = _Measured(Path(folder), kind, "full")
            try:
                phases = await _phases(Campaign(service.start(), _SEED))
            finally:
                service.stop()
        note(f"on {kind} bystanders were refused {phases.refused} times meanwhile")
        for what in (*_OFTEN, *_SELDOM):
            idle, storm = (_p99_ms(part, what) for part in (phases.idle, phases.storm))
            yield Finding(
                name=f"{kind}, {what}, p99: {_TIMES_IDLE:.0f} / times idle",
                unit="ms",
                ours=round(storm, 1),
                floor=round(idle, 1),
                ratio=round(_TIMES_IDLE * idle / storm, 3),
                at_least=1.0,
                beside="idle",
            )
        for what in _OFTEN:
            idle, after = (_p50_ms(part, what) for part in (phases.idle, phases.after))
            yield Finding(
                name=f"{kind}, {what}, {_PAUSE_S:.0f} s later",
                unit="ms",
                ours=round(after, 2),
                floor=round(idle, 2),
                ratio=round(idle / after, 3),
                at_least=_BACK_WITHIN,
                beside="idle",
            )


async def _phases(campaign: Campaign) -> _Phases:
    async with opened(campaign.service) as bystanders:
        await campaign.prepare(bystanders)
        await campaign.idle()
        using = asyncio.create_task(bystanders.run(campaign.people))
        try:
            await asyncio.sleep(2)  # connections and caches are warm from here on
            marks = [time.monotonic()]
            await asyncio.sleep(_IDLE_S)
            marks.append(time.monotonic())
            await campaign.storm(_STORM_S)
            marks.append(time.monotonic())
            await asyncio.sleep(_PAUSE_S)
            marks.append(time.monotonic())
            await asyncio.sleep(_AFTER_S)
        finally:
            using.cancel()
            await asyncio.gather(using, return_exceptions=True)
    began, stormed, ended, rested = marks
    done = bystanders.done
    return _Phases(
        idle=[each for each in done if began <= each.at < stormed],
        storm=[each for each in done if stormed <= each.at < ended],
        after=[each for each in done if each.at >= rested],
        refused=sum(1 for each in done if each.fault),
    )


def _p99_ms(done: Sequence[Done], what: str) -> float:
    times = _times(done, what)
    return times[min(len(times) - 1, int(len(times) * 0.99))] * 1000


def _p50_ms(done: Sequence[Done], what: str) -> float:
    return statistics.median(_times(done, what)) * 1000


def _times(done: Sequence[Done], what: str) -> list[float]:
    """What was refused took for ever."""
    return sorted(float("inf") if each.fault else each.seconds for each in done if each.what == what) or [float("inf")]
