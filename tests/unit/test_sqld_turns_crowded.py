"""Turns of sqld where many ask at once, each as somebody else: bounded, fair, and with nothing left behind."""

import asyncio
import itertools
import time

import pytest

from freehold.providers.failures import Gone, Overloaded
from freehold.providers.serving import Disconnect
from freehold.providers.sqld.turns.turns import Turns
from tests.unit.test_sqld_turns import TimedTurns


@pytest.fixture
def world() -> TimedTurns:
    return TimedTurns()


async def test_however_many_ask_only_so_many_run_beside_the_places(world: TimedTurns) -> None:
    for name in ("a", "b", "c"):
        await world.enter(name)
    asked = [world.ask(f"guest {number}") for number in range(40)]
    for _ in range(40):
        await world.pass_s(0.05)
        assert world.turns.held <= 12  # three places, and nine
    new = [turn for turn in world.turns.running if turn.lane == "new"]
    began = sorted(turn.began for turn in new)
    assert len(new) > 1
    assert all(later - earlier > 0.2 for earlier, later in itertools.pairwise(began))  # one after the other
    for task in asked:
        task.cancel()


async def test_whoever_was_let_in_for_short_calls_and_sent_a_long_one_waits_like_others_for_a_while(
    world: TimedTurns,
) -> None:
    async def is_let_in() -> bool:
        task = world.ask("known")
        await world.settle()
        if not task.done():
            task.cancel()
            await world.settle()
            return False
        (await task).leave()
        return True

    for _ in range(10):
        (await world.enter("known")).leave()
    held = [await world.enter(name, statements=0) for name in ("a", "b", "c")]
    turn = await world.enter("known")
    world.clock.now += 2.0
    turn.leave()
    held.pop().leave()
    held.pop().leave()
    for _ in range(20):
        (await world.enter("known")).leave()  # short ones again
    for name in ("d", "e"):
        await world.enter(name, statements=0)
    assert not await is_let_in()
    world.clock.now += 31
    assert await is_let_in()


async def test_many_who_were_let_in_for_being_quick_and_are_not_give_way(world: TimedTurns) -> None:
    await world.seen("light")
    names = [f"liar {number}" for number in range(30)]
    for name in names:
        for _ in range(10):
            (await world.enter(name)).leave()
    liars = [await world.enter(name) for name in names]
    assert world.turns.held == 30
    await world.pass_s(0.2)
    light = world.ask("light")
    for _ in range(40):  # far from what makes one of them heavy, as each has a fifteenth of a core
        await world.pass_s(0.05)
    assert sum(isinstance(turn.stopped, Overloaded) for turn in liars) >= 20
    light.cancel()


async def test_who_always_has_one_that_is_not_long_yet_does_not_keep_those_that_are(world: TimedTurns) -> None:
    await world.seen("light", "heavy")
    heavy = [await world.enter("heavy"), await world.enter("heavy")]
    await world.pass_s(0.9)
    short = await world.enter("other")
    light = world.ask("light")
    for number in range(4):
        await world.pass_s(0.4)  # and looks whether somebody has to give way
        before, short = short, await world.enter(f"other {number}", goes_on=True)
        before.leave()
    await world.pass_s(0.1)
    assert isinstance(heavy[0].stopped, Overloaded)
    light.cancel()


async def test_who_used_something_does_not_wait_for_ever_for_those_who_used_nothing(world: TimedTurns) -> None:
    await world.seen("known")
    for name in ("a", "b", "c"):
        await world.enter(name, statements=0)
    share = world.turns.share_of("known")
    assert share is not None
    share.use(1.0, world.clock.now)
    known = world.ask("known")
    waited_s = 0
    while not known.done() and waited_s < 20:
        world.ask(f"guest {waited_s}", statements=0)
        await world.pass_s(1.0)
        waited_s += 1
        for turn in list(world.turns.running)[:1]:
            turn.leave()
        await world.settle()
    assert 1 < waited_s < 15


async def test_whoever_gives_up_as_it_is_let_in_leaves_nothing_behind(world: TimedTurns) -> None:
    held = [await world.enter(name, statements=0) for name in ("a", "b", "c")]
    await world.enter("new")
    asked = world.ask("other", is_unstoppable=True)
    await world.settle()
    held[0].leave()
    asked.cancel()
    await world.settle()
    share = world.turns.share_of("other")
    assert (world.turns.held, world.turns.unstoppable, len(world.turns.running)) == (3, 0, 3)
    assert share is None or (share.calls, share.running) == (0, 0)


async def test_when_all_who_wait_go_away_at_once_the_others_notice_nothing(world: TimedTurns) -> None:
    held = [await world.enter(name, statements=0) for name in ("a", "b", "c")]
    interests = [Disconnect() for _ in range(1_900)]
    asked = [world.ask(f"guest {number}", each) for number, each in enumerate(interests)]
    await world.settle()
    assert world.turns.waiting > 1_800
    began = time.process_time()
    for each in interests:
        each.lose()
    for turn in held:
        turn.leave()
    assert (world.turns.waiting, world.turns.held) == (0, 1)
    assert time.process_time() - began < 1.0  # it was eight seconds
    gone = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, Gone) for each in gone) > 1_800


async def test_tenants_who_came_once_are_forgotten_without_a_look_at_all_of_them_each_time(
    world: TimedTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = Turns._forget_idle

    def counted(turns: Turns) -> None:
        nonlocal looks
        looks += 1
        look(turns)

    monkeypatch.setattr(Turns, "_forget_idle", counted)
    for number in range(5_000):
        world.clock.now += 0.6  # so that about a thousand are remembered
        (await world.enter(f"{number}")).leave()
    assert looks <= 5
    assert len(world.turns._shares) <= 2_100
