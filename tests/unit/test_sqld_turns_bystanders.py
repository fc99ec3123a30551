"""What bystanders notice of a crowd on sqld that does all it can to get ahead, on a simulated machine.

Each crowd is of guests, of whom one person makes a hundred in an hour, and sends statements that never end by
themselves. Bounds are far above what is seen, and far below what it was without a bound.
"""

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest

from freehold.errors import FreeholdError
from freehold.providers.serving import Disconnect
from freehold.providers.sqld.turns.turns import Turns
from tests.simulators.busy_machine import Machine, play

_SECONDS = 20
_TICK_S = 0.05
_CORES = 2
_LEFT = 1.5  # of the cores, beside what else the service does
_ENDLESS = math.inf

Crowd = Callable[["SimulatedCrowd"], list[Awaitable[None]]]


class SimulatedCrowd:
    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time
        self.turns = Turns(_CORES, 5.0, now=self.now)
        self.chance = random.Random(7)
        self.most_held = 0
        self.took_s: dict[str, list[float]] = defaultdict(list)
        self.faults: list[str] = []
        self._machine = Machine(_LEFT)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.turns.tick()
            self.most_held = max(self.most_held, self.turns.held)

    async def call(self, name: str, work_s: float, *, goes_on: bool = False) -> bool:
        """Whether it was neither refused nor stopped."""
        try:
            turn = await self.turns.enter(name, Disconnect(), goes_on=goes_on)
        except FreeholdError:
            await asyncio.sleep(0.05)
            return False
        is_stopped = asyncio.Event()
        turn.when_stopped = is_stopped.set
        if turn.stopped is not None:
            is_stopped.set()
        work = asyncio.ensure_future(self._machine.work(work_s))
        stop = asyncio.ensure_future(is_stopped.wait())
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if work.done():
            turn.leave()
            return True
        turn.linger()
        self.start(self._end(lambda: self.turns.ended(turn), work))
        return False

    async def _end(self, tell: Callable[[], None], work: "asyncio.Task[None]") -> None:
        """sqld ends what was broken off, and it is seen that it has."""
        await asyncio.sleep(self.chance.choice([0.1, 0.2, 0.3, 0.5]))
        work.cancel()
        tell()

    async def bystander(self, kind: str, name: str, work_s: float, pause_s: float) -> None:
        while True:
            await self.ask(kind, name, work_s)
            await asyncio.sleep(pause_s)

    async def users_to_import(self) -> None:
        number = 0
        while True:
            number += 1
            for _ in range(3):
                await self.ask("newcomer", f"new {number}", 0.01)
            await asyncio.sleep(2.0)

    async def ask(self, kind: str, name: str, work_s: float) -> None:
        began = self.now()
        if not await self.call(name, work_s):
            self.faults.append(f"{kind} after {self.now() - began:.1f} s")
        self.took_s[kind].append(self.now() - began)


async def _endlessly(world: SimulatedCrowd, names: Callable[[], str], *, quick: int = 0, goes_on: bool = False) -> None:
    while True:
        name = names()
        for _ in range(quick):
            await world.call(name, 0.005)
        await world.call(name, _ENDLESS, goes_on=goes_on)


def _in_turns(world: SimulatedCrowd, guests: int, connections: int) -> list[Awaitable[None]]:
    count = 0

    def next_name() -> str:
        nonlocal count
        count += 1
        return f"guest {count % guests}"

    return [_endlessly(world, next_name) for _ in range(connections)]


def twenty_with_two_connections_each(world: SimulatedCrowd) -> list[Awaitable[None]]:
    return _in_turns(world, 20, 40)


def two_hundred_of_whom_always_others_ask(world: SimulatedCrowd) -> list[Awaitable[None]]:
    return _in_turns(world, 200, 40)


def sixty_who_send_short_ones_first(world: SimulatedCrowd) -> list[Awaitable[None]]:
    return [_endlessly(world, lambda name=f"guest {number}": name, quick=6) for number in range(60)]  # type: ignore[misc]


def thirty_with_streams(world: SimulatedCrowd) -> list[Awaitable[None]]:
    return [_endlessly(world, lambda name=f"guest {number}": name, goes_on=True) for number in range(30)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("crowd", "most_at_once"),
    [
        (twenty_with_two_connections_each, 12),
        (two_hundred_of_whom_always_others_ask, 12),
        (sixty_who_send_short_ones_first, 41),
        (thirty_with_streams, 13),
    ],
)
def test_whoever_does_a_little_now_and_then_hardly_notices_a_crowd(crowd: Crowd, most_at_once: int) -> None:
    async def story() -> None:
        world = SimulatedCrowd()
        world.start(world.tick())
        for number in range(2):
            world.start(world.bystander("short", f"short {number}", 0.008, 0.1))
            world.start(world.bystander("longer", f"longer {number}", 0.12, 2.0))
        await asyncio.sleep(3.0)
        world.took_s.clear()
        world.start(world.users_to_import())
        for each in crowd(world):
            world.start(each)
        await asyncio.sleep(_SECONDS)

        assert world.faults == []
        assert world.most_held <= most_at_once
        short = sorted(world.took_s["short"])
        assert len(short) > 150  # in 20 s, with pauses of a tenth, of two
        assert short[int(len(short) * 0.9)] < 0.5
        assert len(world.took_s["newcomer"]) >= 2
        assert len(world.took_s["longer"]) >= 2

    play(story)
