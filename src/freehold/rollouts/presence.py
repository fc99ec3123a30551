"""Lets others see that somebody is at work on a rollout."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from freehold.errors import CentralUnavailable
from freehold.rollouts.ports import WorkerStore
from freehold.tenants.ports import Clock

# Missed once or twice, on a crowded machine, it is still believed.
_TIMES = 3


@asynccontextmanager
async def presence(store: WorkerStore, rollout_id: str, clock: Clock, lease_s: float) -> AsyncIterator[None]:
    """While this is entered, the store counts one worker more; of one that is killed, until its lease is over."""
    worker_id = secrets.token_hex(8)
    telling = asyncio.create_task(_tell(store, rollout_id, worker_id, clock, lease_s))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        with contextlib.suppress(CentralUnavailable):
            await store.has_left(worker_id, clock.now_ms())


async def _tell(store: WorkerStore, rollout_id: str, worker_id: str, clock: Clock, lease_s: float) -> None:
    while True:
        with contextlib.suppress(CentralUnavailable):
            await store.is_at_work(rollout_id, worker_id, clock.now_ms() + int(lease_s * 1000))
        await clock.sleep(lease_s / _TIMES)
