"""Five pending migrations over a fleet: a rollout beside a plain loop, and beside the bare engine.

The loop is what a script would do: connect, read the version, one request a migration, close. The bare engine gets
the same statements as the rollout's databases, on as many connections or threads, and nobody writes down what became
of it. Planning and status are timed over 100,000 tenants.
"""

import resource
import time
from collections.abc import AsyncIterator, Awaitable

import structlog
from sqlalchemy import insert
from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables

from bench.fleets import FIRST, HISTORY, bare_files, bare_sqld, fleet, installation, loop_on_files, loop_on_sqld, only
from bench.report import Finding, compare, note
from freehold.central.tables import tenant
from freehold.central.tenants.rows import new_tenant_row
from freehold.dates import utc_now
from freehold.rollouts.types import Options
from freehold.rollouts.worker import RolloutWorkerConfig
from freehold.wiring.services import Services

_ON_SQLD = 16  # as measuring finds best, see `by_concurrency`
_ON_FILES = 4  # a process each, on two cores
_LOOPED = 100
_ROUNDS = {200: 5, 1000: 3, 10_000: 1}
_ONE_WAVE = Options(waves=())


async def run() -> AsyncIterator[Finding]:
    """Fleets on sqld, fleets of files, then the central database alone."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    note("rollouts over 200 namespaces on sqld, by concurrency")
    async for finding in by_concurrency(200):
        yield finding
    for count in (200, 1000):
        note(f"rollouts over {count} namespaces on sqld")
        async for finding in on_sqld(count):
            yield finding
    for count in (1000, 10_000):
        note(f"rollouts over {count} files")
        async for finding in on_files(count):
            yield finding
    note("planning and status over 100,000 tenants")
    async for finding in planning(100_000):
        yield finding


async def by_concurrency(count: int) -> AsyncIterator[Finding]:
    """Where more at once is no longer faster."""
    levels = (1, 2, 4, 8, 16)
    found: dict[int, list[float]] = {level: [] for level in levels}
    with running_sqld("--max-active-namespaces", "10000") as sqld:
        async with installation(**sqld_variables(sqld)) as services:
            names = iter(await fleet(services, 3 * count * len(levels)))
            for _ in range(3):
                for level in levels:
                    found[level].append(await _rollout(services, [next(names) for _ in range(count)], level))
    for level in levels[1:]:
        yield compare(f"{level} at once on sqld, over one", "/s", found[level], found[1])


async def on_sqld(count: int) -> AsyncIterator[Finding]:
    """A rollout over so many namespaces."""
    ours, bare, looped = [], [], []
    for number in range(_ROUNDS[count]):
        # A server of its own for each round: each namespace that it keeps open costs the others a little.
        with running_sqld("--max-active-namespaces", "10000") as sqld:
            async with installation(**sqld_variables(sqld)) as services:
                names = await fleet(services, 2 * count + _LOOPED)
                looped.append(await loop_on_sqld(sqld, names[:_LOOPED]))
                some, others = names[_LOOPED : _LOOPED + count], names[-count:]
                if number % 2:  # who comes second finds a busier disk
                    ours.append(await _rollout(services, others, _ON_SQLD))
                    bare.append(await bare_sqld(sqld, some, _ON_SQLD))
                else:
                    bare.append(await bare_sqld(sqld, some, _ON_SQLD))
                    ours.append(await _rollout(services, others, _ON_SQLD))
    yield compare(f"rollout, {count} on sqld, over a plain loop", "/s", ours, looped, at_least=10)
    yield compare(f"rollout, {count} on sqld, over the bare engine", "/s", ours, bare, at_least=0.8)


async def on_files(count: int) -> AsyncIterator[Finding]:
    """A rollout over so many files."""
    ours, bare, looped = [], [], []
    rounds = _ROUNDS[count]
    async with installation() as services:
        names = iter(await fleet(services, rounds * (2 * count + _LOOPED)))
        for _ in range(rounds):
            looped.append(await loop_on_files(services, [next(names) for _ in range(_LOOPED)]))
            bare.append(await bare_files(services, [next(names) for _ in range(count)], _ON_FILES))
            ours.append(await _rollout(services, [next(names) for _ in range(count)], _ON_FILES))
    yield compare(f"rollout, {count} files, over a plain loop", "/s", ours, looped)
    yield compare(f"rollout, {count} files, over bare sqlite3", "/s", ours, bare, at_least=0.8)


async def _rollout(services: Services, names: list[str], concurrency: int) -> float:
    """Databases a second, from the plan to the last row written."""
    await only(services, names)
    began = time.perf_counter()
    started = await services.rollouts.start(_ONE_WAVE)
    await services.rollouts.work(started.rollout_id, config=RolloutWorkerConfig(concurrency=concurrency))
    took_s = time.perf_counter() - began
    done = await services.rollouts.progress()
    if (done.counts["migrated"], done.requests) != (len(names), len(names)):
        raise AssertionError(f"expected {len(names)} in one request each, got {done}")
    return len(names) / took_s


async def planning(count: int) -> AsyncIterator[Finding]:
    """The central database alone: no tenant is touched."""
    async with installation() as services:
        await services.registry.publish(HISTORY)
        for start in range(0, count, 10_000):
            async with services.central.write() as db:
                rows = [
                    {**new_tenant_row(f"u{at}", "local", utc_now()), "state": "ready", "due_at_ms": None}
                    for at in range(start, start + 10_000)
                ]
                await db.execute(insert(tenant), [{**row, "schema_version": FIRST} for row in rows])
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        floor = [await _timed_ms(_count(services)) for _ in range(5)]
        plans = [await _timed_ms(services.rollouts.plan(_ONE_WAVE)) for _ in range(5)]
        started = [await _timed_ms(services.rollouts.start(_ONE_WAVE))] * 5
        status = [await _timed_ms(services.rollouts.progress()) for _ in range(5)]
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
        note(f"  the process grew by {grown_mb:.0f} MB for planning, starting and status")
        yield compare(f"plan over {count} tenants, over counting them", "ms", plans, floor)
        yield compare(f"start over {count} tenants, over counting them", "ms", started, floor)
        yield compare(f"status over {count} tenants, over counting them", "ms", status, floor)


async def _count(services: Services) -> None:
    async with services.central.read() as db:
        await db.exec_driver_sql("SELECT count(*), sum(schema_version) FROM tenant")


async def _timed_ms(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000
