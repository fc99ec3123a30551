"""Rollouts against a provider that limits rates, is slow, and loses answers: Turso's twin, with faults on demand."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from testbed.servers import ROOT
from testbed.twin import Twin

from freehold.rollouts.types import Options, RolloutState
from freehold.settings.load import load_settings
from freehold.wiring.services import open_services
from tests.integration.test_rollouts import QUICK, RolloutFleet, fill

COUNT = 16
DATABASES = "/db/*"
HISTORY = {(1, 2, 3, 4, 5)}


@pytest.fixture
async def fleet(twin: Twin, tmp_path: Path) -> AsyncIterator[RolloutFleet]:
    twin.fault_no_more()
    variables = {"DATA_DIR": str(tmp_path), "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar"), **twin.variables}
    async with open_services(load_settings(variables)) as services:
        yield await fill(services, COUNT)


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "rate_limit", "probability": 0.4}],
        [{"kind": "rate_limit", "probability": 0.3, "seconds": 1}, {"kind": "latency", "seconds": 0.05}],
        [{"kind": "drop_after", "probability": 0.2}, {"kind": "error_after", "probability": 0.2}],
        [{"kind": "not_json", "probability": 0.2}, {"kind": "drop_before", "probability": 0.2}],
    ],
    ids=lambda faults: "+".join(each["kind"] for each in faults),
)
async def test_every_tenant_gets_there_once_whatever_is_refused_or_lost(
    twin: Twin, fleet: RolloutFleet, faults: list[dict[str, Any]]
) -> None:
    twin.fault(*({**each, "path": DATABASES, "times": 40} for each in faults), seed=6)
    rollouts = replace(fleet.services.rollouts, random=lambda: 0.0)  # the shortest waits
    started = await rollouts.start(Options())
    ended = await rollouts.work(started.rollout_id, config=QUICK)
    assert ended.state is RolloutState.DONE, (await rollouts.progress()).failures
    done = await rollouts.progress()
    assert done.counts["failed"] == done.counts["pending"] == 0
    # What was applied by a request whose answer was lost is found to be there.
    assert done.counts["migrated"] + done.counts["skipped"] == COUNT
    assert done.requests > COUNT
    twin.fault_no_more()
    assert await fleet.versions() == HISTORY
    assert await fleet.recorded() == {5}


async def test_a_provider_that_refuses_for_good_fails_tenants_and_pauses(twin: Twin, fleet: RolloutFleet) -> None:
    twin.fault({"kind": "rate_limit", "path": DATABASES})
    rollouts = replace(fleet.services.rollouts, random=lambda: 0.0)  # the shortest waits
    started = await rollouts.start(Options())
    ended = await rollouts.work(started.rollout_id, config=QUICK)
    assert ended.state is RolloutState.PAUSED
    done = await rollouts.progress()
    assert [each.cause for each in done.failures] == ["unavailable"]
    twin.fault_no_more()
    await rollouts.retry(started.rollout_id)
    await rollouts.resume(started.rollout_id)
    assert (await rollouts.work(started.rollout_id, config=QUICK)).state is RolloutState.DONE
    assert await fleet.versions() == HISTORY
