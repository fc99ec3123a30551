"""Who waits goes before those who have had more turns of late, and nobody's turn is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from freehold.errors import Unavailable
from freehold.fair_line import FairLine


class TimedLine:
    def __init__(self, at_once: int = 1, waiting: int = 100) -> None:
        self.time_s = 1_000.0
        self.line = FairLine(at_once, waiting, "no room", lambda: self.time_s)
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def turn(self, place: str, *, ahead: bool = False) -> AsyncIterator[None]:
        await self.line.enter(place, ahead=ahead)
        try:
            yield
        finally:
            self.line.leave()

    async def _go(self, place: str, *, ahead: bool) -> None:
        async with self.turn(place, ahead=ahead):
            self.order.append(place)
            await asyncio.sleep(0)

    async def ask(self, place: str, *, ahead: bool = False) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._go(place, ahead=ahead))
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def end(self) -> list[BaseException | None]:
        return await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_who_comes_once_does_not_wait_behind_many_of_one_place() -> None:
    world = TimedLine()
    async with world.turn("stranger"):
        for _ in range(20):
            await world.ask("stranger")
        await world.ask("ada")
    await world.end()
    assert world.order == ["ada", *["stranger"] * 20]


async def test_what_was_had_long_ago_does_not_count() -> None:
    world = TimedLine()
    for _ in range(5):
        async with world.turn("ada"):
            pass
    world.time_s += 600
    async with world.turn("other"):
        for place in ("other", "ada", "other"):
            await world.ask(place)
    await world.end()
    assert world.order == ["ada", "other", "other"]


async def test_places_take_turns() -> None:
    world = TimedLine()
    async with world.turn(""):
        for place in ("a", "a", "a", "b", "b", "b"):
            await world.ask(place)
    await world.end()
    assert world.order == ["a", "b", "a", "b", "a", "b"]


async def test_in_a_full_line_the_newcomer_takes_the_place_of_who_has_most() -> None:
    world = TimedLine(waiting=3)
    async with world.turn("stranger"):
        first = [await world.ask("stranger") for _ in range(3)]
        await world.ask("ada")
        late = await world.ask("stranger")
        with pytest.raises(Unavailable):
            await late
    await world.end()
    assert [type(task.exception()) for task in first] == [type(None), type(None), Unavailable]
    assert world.order == ["ada", "stranger", "stranger"]


async def test_whoever_gives_up_leaves_the_line_to_the_next() -> None:
    world = TimedLine(at_once=2)
    async with world.turn("a"), world.turn("b"):
        gone = await world.ask("c")
        await world.ask("d")
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
    told = await world.ask("e")
    told.cancel()
    await world.end()
    assert world.order[0] == "d"
    for place in ("f", "g"):
        await asyncio.wait_for(await world.ask(place), 1)


async def test_who_is_told_to_go_and_gives_up_at_that_moment_lets_the_next_go() -> None:
    world = TimedLine()
    turn = world.turn("a")
    await turn.__aenter__()
    told, after = await world.ask("b"), await world.ask("c")
    await turn.__aexit__(None, None, None)
    told.cancel()
    await asyncio.wait_for(after, 1)
    await world.end()
    assert world.order == ["c"]


async def test_a_line_without_room_refuses() -> None:
    world = TimedLine(waiting=0)
    async with world.turn("a"):
        with pytest.raises(Unavailable):
            await (await world.ask("b"))


async def test_our_own_work_goes_before_strangers_and_whoever_is_ahead_before_all() -> None:
    world = TimedLine()
    async with world.turn("b"):
        pass
    async with world.turn("a"):
        for place in ("a", "b", ""):
            await world.ask(place)
        await world.ask("a", ahead=True)
    await world.end()
    assert world.order == ["a", "", "b", "a"]


async def test_of_very_many_places_those_who_had_least_are_forgotten() -> None:
    world = TimedLine()
    for number in range(9_999):
        async with world.turn(f"{number}"):
            pass
    world.time_s += 600
    for number in range(9_999, 20_000):
        async with world.turn(f"{number}"):
            pass
    assert len(world.line._had) <= 10_001


async def test_who_had_much_while_nobody_else_wanted_anything_does_not_wait_for_all_others() -> None:
    """Many people behind one address are one source; what each of many strangers has is little."""
    world = TimedLine()
    for _ in range(1_000):
        async with world.turn("office"):
            pass
    office = None
    async with world.turn("stranger"):
        office = await world.ask("office")
        await world.ask("early")
        world.time_s += 15.0
        for number in range(20):
            await world.ask(f"stranger {number}")
    await office
    await world.end()
    assert world.order[:3] == ["early", "office", "stranger 0"]
