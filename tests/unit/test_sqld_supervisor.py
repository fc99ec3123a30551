"""The supervisor of sqld: how long it waits, when it gives up on a run, and that it never ends by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from freehold.errors import Unavailable
from freehold.providers.sqld.process.supervisor import Child, Supervisor


class Server:
    """A child whose end, answers and stopping are the test's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.is_well = True
        self.patience_s: float | None = None

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    async def is_answering(self) -> bool:
        return self.is_well

    async def stop(self, patience_s: float) -> None:
        self.patience_s = patience_s
        if not self.ended.done():
            self.ended.set_result(0)


class SimulatedServers:
    """Time that passes when somebody sleeps, and servers that start unless `fails` says otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.servers: list[Server] = []
        self.fails = 0
        self.passing = asyncio.Event()
        self.supervisor = Supervisor(self.start, sleep=self.sleep, now=lambda: self.now, random=lambda: 0.999999)

    async def start(self) -> Child | None:
        if self.fails:
            self.fails -= 1
            return None
        self.servers.append(Server(len(self.servers) + 1))
        return self.servers[-1]

    async def sleep(self, seconds: float) -> None:
        """The supervisor's looks wait until the test lets time pass; its pauses before a start do not."""
        if self.supervisor.state == "up":
            await self.passing.wait()
        else:
            self.waits.append(round(seconds, 1))
        self.now += seconds
        await asyncio.sleep(0)

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    async def kill(self) -> None:
        self.servers[-1].ended.set_result(-9)
        await self.settle()


@asynccontextmanager
async def running() -> AsyncIterator[SimulatedServers]:
    world = SimulatedServers()
    async with world.supervisor.running():
        await world.settle()
        yield world


async def test_one_that_ends_is_started_again_and_its_end_is_told() -> None:
    async with running() as world:
        assert (world.supervisor.state, world.supervisor.pid, world.supervisor.restarts) == ("up", 1, 0)
        await world.kill()
        assert (world.supervisor.state, world.supervisor.pid, world.supervisor.restarts) == ("up", 2, 1)
        assert world.supervisor.last_end == "signal 9"
    assert world.supervisor.state == "stopped"
    assert world.servers[-1].patience_s == 10.0


async def test_pauses_stay_short_for_one_that_comes_up_and_begin_again_after_a_run_that_was_well() -> None:
    async with running() as world:
        for _ in range(6):
            await world.kill()
        assert world.waits == [0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
        world.now += 61
        await world.kill()
        assert world.waits[-1] == 0.4


async def test_a_start_that_fails_is_tried_again() -> None:
    async with running() as world:
        world.fails = 8
        await world.kill()
        assert (world.supervisor.state, world.supervisor.pid) == ("up", 2)
        assert world.waits == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
        assert world.supervisor.restarts == 1


async def test_the_first_start_that_fails_is_told_to_whoever_started_it() -> None:
    world = SimulatedServers()
    world.fails = 1
    with pytest.raises(Unavailable):
        async with world.supervisor.running():
            pass


async def test_one_that_gives_no_answer_for_long_is_killed() -> None:
    async with running() as world:
        first = world.servers[0]
        first.is_well = False
        world.passing.set()
        while world.supervisor.pid != 2:
            await asyncio.sleep(0)
        assert first.patience_s == 1.0
        assert world.supervisor.last_end == "no answer for 20 s"
        world.passing.clear()


async def test_a_restart_is_had_for_the_asking_but_not_twice_for_the_same_run() -> None:
    async with running() as world:
        assert not world.supervisor.restart("too soon")
        world.now += 6
        assert world.supervisor.restart("stuck")
        assert not world.supervisor.restart("stuck, says another")
        await world.settle()
        assert (world.supervisor.pid, world.supervisor.last_end) == (2, "stuck")
        assert not world.supervisor.restart("stuck, says a third")
