"""What the local engine says of itself when statements do not end at their limit."""

import asyncio
from pathlib import Path

import pytest

from freehold.errors import ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.providers.local.engine import Engine
from freehold.providers.local.files import TenantFiles
from freehold.providers.published import RegistryBatches
from freehold.providers.sqlite.limits import EngineLimits, Limits

# Nothing interrupts it: more than a second of comparing zeros with zeros.
_STUCK = "SELECT instr(zeroblob(600000) || x'01', zeroblob(300000) || x'02')"
_LIMITS = Limits(statement_s=0.2, request_s=0.2)


def _batch(sql: str) -> Batch:
    return Batch(steps=(BatchStep(stmt=Stmt(sql=sql)),))


@pytest.mark.timeout(300)
async def test_an_engine_whose_places_are_all_stuck_says_so_and_recovers(tmp_path: Path) -> None:
    files = TenantFiles(tmp_path)
    for name in "abcd":
        files.create(name)
    engine = Engine(files, _LIMITS, EngineLimits(threads=1, overdue_s=0.05), RegistryBatches())
    try:
        await engine.check_moving()

        async def run(name: str, sql: str) -> None:
            await asyncio.gather(engine.run_batches(name, [_batch(sql)], _LIMITS), return_exceptions=True)

        # One runs, one has made room for it; the third has no place.
        stuck = [asyncio.create_task(run(name, _STUCK)) for name in "ab"]
        waiting = asyncio.create_task(run("c", "SELECT 1"))
        # Their threads have given up their priority, so that they take long where all cores are busy.
        async with asyncio.timeout(240):
            while True:
                try:
                    await engine.check_moving()
                except ProviderUnavailable:
                    break
                assert not waiting.done(), "the statements ended too soon to tell"
                await asyncio.sleep(0.05)
            await asyncio.gather(*stuck, waiting)
        await engine.check_moving()
        await run("d", "SELECT 1")
    finally:
        await engine.close()
