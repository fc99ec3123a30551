"""Guests of sqld who ask for much, and go away in the middle of everything: nothing of them is left."""

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.test_sqld_gateway import CLOSE, execute, fresh
from tests.integration.test_sqld_limits import ENDLESS, pid_on, until
from tests.support.gateway_app import Caller, served_by_supervised_sqld

_ROWS = "with recursive r(x) as (select 1 union all select x + 1 from r limit 300000) select x from r"
_CALLS: tuple[tuple[str, Any], ...] = (
    ("v3/pipeline", {"requests": [execute("select 1"), CLOSE]}),
    ("v3/pipeline", {"requests": [execute(ENDLESS), CLOSE]}),
    ("v3/pipeline", {"requests": [execute("begin"), execute("select 1")]}),
    ("v3/cursor", {"batch": {"steps": [{"stmt": {"sql": ENDLESS}}]}}),
    ("v3/cursor", {"batch": {"steps": [{"stmt": {"sql": _ROWS}}]}}),
)
_SECONDS = 4.0


async def _one(caller: Caller) -> list[list[Any]]:
    for _ in range(100):
        with contextlib.suppress(aiohttp.ClientError):  # the server has closed a connection that was kept
            return await caller.rows("select 1")
    raise AssertionError("no connection")


async def test_guests_who_go_away_at_any_moment_leave_no_place_taken(tmp_path: Path) -> None:
    chance = random.Random(3)
    done = asyncio.Event()

    async def ask(guest: Caller) -> None:
        endpoint, body = chance.choice(_CALLS)
        headers = {"authorization": f"Bearer {guest.token}"}
        http = guest.served.http
        async with http.post(guest.url + endpoint, json=body, headers=headers) as reply:
            await reply.read()

    async def pester(guest: Caller) -> None:
        while not done.is_set():
            asking = asyncio.create_task(ask(guest))
            if chance.random() < 0.6:
                patience_s = chance.random() * chance.choice([0.01, 0.1, 1.0])
                asyncio.get_running_loop().call_later(patience_s, asking.cancel)
            await asyncio.wait([asking])
            if not asking.cancelled() and (error := asking.exception()) is not None:
                assert isinstance(error, aiohttp.ClientError), error
            await asyncio.sleep(chance.random() * 0.05)

    async with served_by_supervised_sqld(tmp_path, 128, query_timeout_s=1.0, cores=2, stuck_s=3.0) as served:
        bystander = await served.database(fresh())
        guests = [await served.database(fresh()) for _ in range(15)]
        pestering = [asyncio.create_task(pester(guest)) for guest in guests for _ in range(2)]
        turns = served.provider.watch.turns
        await asyncio.sleep(_SECONDS / 2)
        os.kill(pid_on(tmp_path / "sqld/data"), signal.SIGKILL)
        most = 0
        for _ in range(int(_SECONDS / 2 / 0.05)):
            await asyncio.sleep(0.05)
            most = max(most, turns.held)
        done.set()
        await asyncio.gather(*pestering)
        await until(lambda: not (turns.held or turns.waiting or turns.queued or turns.unstoppable), 30)
        assert most > 0
        assert (len(turns.running), len(turns.lingering)) == (0, 0)
        for caller in (bystander, *guests):
            assert await _one(caller) == [[1]]
