"""Turns of sqld: fair by what was used lately, bounded whatever a tenant sends, and free only when sqld is done."""

import asyncio
from typing import Any

import pytest

from freehold.errors import FreeholdError
from freehold.providers.failures import Gone, Overloaded, QueryTimeout
from freehold.providers.serving import Disconnect
from freehold.providers.sqld.turns.shares import Turn
from freehold.providers.sqld.turns.turns import Turns


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class TimedTurns:
    """Turns for two cores, and a clock."""

    def __init__(self, cores: int = 2) -> None:
        self.clock = Clock()
        self.woken = 0
        self.turns = Turns(cores, 5.0, wake=self._wake, now=self.clock)

    def _wake(self) -> None:
        self.woken += 1

    async def enter(self, name: str, **more: Any) -> Turn:
        return await self.turns.enter(name, Disconnect(), **more)

    def ask(self, name: str, disconnect: Disconnect | None = None, **more: Any) -> "asyncio.Task[Turn]":
        return asyncio.create_task(self.turns.enter(name, disconnect or Disconnect(), **more))

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def seen(self, *names: str) -> None:
        """Tenants that nobody takes for new, or for one whose calls are short; what they used is long ago."""
        for name in names:
            for _ in range(4):
                turn = await self.enter(name)
                self.clock.now += 0.3
                turn.leave()
        self.clock.now += 60

    async def pass_s(self, seconds: float) -> None:
        self.clock.now += seconds
        self.turns.tick()
        await self.settle()


@pytest.fixture
def world() -> TimedTurns:
    return TimedTurns()


async def test_quick_calls_are_forgotten_after_a_while(world: TimedTurns) -> None:
    for _ in range(5):
        (await world.enter("a")).leave()
    assert (world.turns.held, world.turns.is_busy) == (0, False)
    world.clock.now += 700
    for number in range(1_000):
        (await world.enter(f"{number}")).leave()
    assert world.turns.share_of("a") is None


async def test_whose_calls_were_short_need_not_wait_for_those_whose_are_long(world: TimedTurns) -> None:
    await world.seen("stranger")
    for _ in range(10):
        turn = await world.enter("known")
        world.clock.now += 0.02
        turn.leave()
    for name in ("a", "b", "c"):
        await world.enter(name)
    world.clock.now += 0.5
    stranger = world.ask("stranger")
    await world.settle()
    assert not stranger.done()
    turn = await asyncio.wait_for(world.ask("known"), 1)
    second = world.ask("known")  # one at a time
    await world.settle()
    assert not second.done()
    turn.leave()
    await world.settle()
    (await second).leave()
    assert not stranger.done()
    stranger.cancel()


async def test_one_whose_calls_are_not_known_yet_need_not_wait_either(world: TimedTurns) -> None:
    held = [await world.enter(name) for name in ("a", "b", "c", "new")]
    third = world.ask("newest")
    await world.settle()
    assert not third.done()
    held[-1].leave()
    await world.settle()
    assert third.done()
    await world.pass_s(0.9)  # three places for two cores, and one of those who are new beside them
    assert {turn.lane for turn in world.turns.running} == {"", "new"}
    another = world.ask("another")
    await world.settle()
    assert another.done()  # those before are not short, and count as all others do


async def test_whoever_pretends_to_be_short_loses_that(world: TimedTurns) -> None:
    for _ in range(10):
        (await world.enter("known")).leave()
    for name in ("a", "b", "c"):
        await world.enter(name)
    turn = await world.enter("known")
    await world.pass_s(5.0)
    assert isinstance(turn.stopped, QueryTimeout)
    turn.leave()
    again = world.ask("known")
    await world.settle()
    assert not again.done()
    again.cancel()


async def test_what_a_call_used_is_what_it_could_have_of_the_cores(world: TimedTurns) -> None:
    turns = [await world.enter(name) for name in ("a", "b", "c", "d")]
    world.clock.now += 1.0
    turns[0].leave()
    share = world.turns.share_of("a")
    assert share is not None
    assert 0.45 < share.used(world.clock.now) < 0.75


async def test_whoever_was_let_in_often_for_being_quick_gives_that_back_soon(world: TimedTurns) -> None:
    await world.seen("light")
    for _ in range(10):
        (await world.enter("quick")).leave()
    for _ in range(8):
        await world.enter("quick")
    await world.pass_s(0.2)
    light = world.ask("light")
    await world.settle()
    assert not light.done()
    await world.pass_s(1.2)
    stopped = [turn for turn in world.turns.running if turn.stopped is not None]
    assert len(stopped) == 6
    light.cancel()


async def test_one_tenant_never_has_all_places(world: TimedTurns) -> None:
    await world.enter("greedy")
    await world.enter("greedy")
    third = world.ask("greedy")
    await world.settle()
    assert not third.done()
    (await world.enter("other")).leave()
    assert not third.done()
    third.cancel()


async def test_a_tenant_whose_calls_are_quick_has_more_of_them_at_once_until_one_is_long(world: TimedTurns) -> None:
    quick = [await world.enter("quick"), await world.enter("quick")]
    for _ in range(40):
        world.clock.now += 0.001
        quick.pop(0).leave()
        quick.append(await world.enter("quick"))
    asked = [world.ask("quick") for _ in range(6)]
    await world.settle()
    assert all(task.done() for task in asked)
    (await world.enter("other")).leave()  # they take nobody's place
    for turn in (*quick, *[await task for task in asked]):
        world.clock.now += 0.001
        turn.leave()
    held = [await world.enter("quick") for _ in range(2)]
    world.clock.now += 0.3
    held.pop().leave()
    second, third = await world.enter("quick"), world.ask("quick")
    await world.settle()
    assert len(held) == 1
    assert not third.done()
    second.leave()
    third.cancel()


async def test_who_used_least_lately_goes_first(world: TimedTurns) -> None:
    held = [await world.enter("greedy"), await world.enter("greedy"), await world.enter("middling")]
    world.clock.now += 0.9
    asked = {name: world.ask(name) for name in ("greedy", "middling", "new")}
    await world.settle()
    order: list[str] = []
    while len(order) < 3:
        held.pop().leave()
        await world.settle()
        for name, task in asked.items():
            if task.done() and name not in order:
                order.append(name)
                held.append(await task)
    assert order == ["new", "middling", "greedy"]


async def test_the_last_place_is_not_for_who_used_much(world: TimedTurns) -> None:
    used = await world.enter("heavy")
    used.share.use(3.0, world.clock.now)
    used.leave()
    await world.enter("other")
    await world.enter("third")
    asked = world.ask("heavy")
    await world.settle()
    assert not asked.done()
    (await world.enter("light")).leave()
    await world.pass_s(34.0)  # less than a third of a second of it still counts then
    assert asked.done()


async def test_what_was_used_long_ago_does_not_count(world: TimedTurns) -> None:
    turn = await world.enter("a")
    world.clock.now += 5.0
    turn.leave()
    share = world.turns.share_of("a")
    assert share is not None
    assert share.used(world.clock.now) == pytest.approx(5.0)
    assert share.used(world.clock.now + 20.0) == pytest.approx(1.25)


async def test_a_statement_has_its_time_and_a_call_of_several_has_more(world: TimedTurns) -> None:
    one, several = await world.enter("a"), await world.enter("b", statements=3)
    stopped: list[Turn] = []
    for turn in (one, several):
        turn.when_stopped = lambda turn=turn: stopped.append(turn)
    await world.pass_s(4.9)
    assert stopped == []
    await world.pass_s(0.2)
    assert stopped == [one]
    assert isinstance(one.stopped, QueryTimeout)
    await world.pass_s(25.0)
    assert stopped == [one, several]


async def test_a_place_is_free_only_when_sqld_is_known_to_have_ended(world: TimedTurns) -> None:
    turn = await world.enter("a")
    turn.linger()
    turn.leave()  # only the first end counts
    assert world.turns.held == 1
    again = world.ask("a")  # nothing new of that tenant, though there are places
    await world.settle()
    assert not again.done()
    (await world.enter("b")).leave()
    world.turns.ended(turn)
    (await again).leave()
    assert world.turns.held == 0


async def test_the_next_step_of_a_stream_gets_in_when_its_tenants_others_wait_for_it(world: TimedTurns) -> None:
    waiting_for_its_lock = [await world.enter("a"), await world.enter("a"), await world.enter("b")]
    (await world.enter("a", goes_on=True)).leave()
    for turn in waiting_for_its_lock:
        turn.leave()
    assert world.turns.held == 0


async def test_what_may_hold_a_lock_gets_in_however_many_of_its_tenant_wait_for_it(world: TimedTurns) -> None:
    """Calls that were quick let a tenant have many at once; then these wait in sqld, for one that waits here."""
    for _ in range(8):
        (await world.enter("a")).leave()
    waiting = [await world.enter("a") for _ in range(6)]
    world.clock.now += 0.3
    waiting.pop().leave()
    await world.pass_s(0.3)
    others = [world.ask("a") for _ in range(3)]
    await world.settle()
    assert not any(each.done() for each in others)
    commit = world.ask("a", goes_on=True, holds_lock=True)
    await world.settle()
    assert commit.done()
    second = world.ask("a", goes_on=True, holds_lock=True)  # one of each tenant
    await world.settle()
    assert not second.done()
    (await commit).leave()
    await world.pass_s(0.1)
    assert second.done()


async def test_calls_that_say_so_and_take_long_are_few(world: TimedTurns) -> None:
    names = ("a", "b", "c", "d", "e")
    await world.seen(*names)
    for name in names[:3]:
        await world.enter(name)
    world.clock.now += 0.3
    held = []
    for name in names:
        held.append(world.ask(name, goes_on=True, holds_lock=True))
        await world.pass_s(0.3)
    assert world.turns.held <= world.turns.limit + world.turns.cores + 1
    assert not held[-1].done()  # nothing of this tenant can be waiting for it
    for each in held:
        each.cancel()


async def test_the_heaviest_gives_way_to_who_is_light_when_all_places_are_held_for_long(world: TimedTurns) -> None:
    await world.seen("light", "another")
    heavy = [await world.enter("heavy"), await world.enter("heavy")]
    await world.pass_s(1.0)
    middling = await world.enter("middling")
    light = world.ask("light")
    await world.pass_s(0.9)  # one of them has only begun
    assert [turn.stopped for turn in (*heavy, middling)] == [None] * 3
    await world.pass_s(0.2)
    assert isinstance(heavy[0].stopped, Overloaded)
    assert (heavy[1].stopped, middling.stopped) == (None, None)
    heavy[0].linger()
    world.turns.ended(heavy[0])
    (await light).leave()
    another = await world.enter("another")
    asked = world.ask("heavy")  # for somebody who is heavy, too, nobody gives way
    await world.settle()
    await world.pass_s(2.0)
    assert (middling.stopped, another.stopped, asked.done()) == (None, None, False)
    asked.cancel()


async def test_who_used_much_less_than_the_heaviest_is_not_stopped_for_others(world: TimedTurns) -> None:
    """On a crowded machine calls of everybody take long, and what cannot be stopped holds the places."""
    await world.seen("light")
    attacker = await world.enter("attacker")
    await world.pass_s(8.0)
    attacker.linger()
    bystanders = [await world.enter("bystander"), await world.enter("another")]
    await world.pass_s(1.5)
    light = world.ask("light")
    await world.pass_s(0.1)
    assert ([each.stopped for each in bystanders], light.done()) == ([None, None], False)
    world.turns.ended(attacker)
    (await light).leave()


async def test_who_waits_too_long_or_too_many_is_told(world: TimedTurns) -> None:
    for _ in range(2):
        await world.enter("a", statements=0)
    asked = [world.ask("a") for _ in range(70)]
    await world.settle()
    refused = [task for task in asked if task.done()]
    assert len(refused) == 38
    assert all(isinstance(task.exception(), Overloaded) for task in refused)
    await world.pass_s(31.0)
    assert all(isinstance(task.exception(), Overloaded) for task in asked)
    assert world.turns.waiting == 0


async def test_a_client_that_goes_away_does_not_wait_and_what_it_runs_is_stopped_soon(world: TimedTurns) -> None:
    held = [await world.enter("a"), await world.enter("a")]
    disconnect = Disconnect()
    asked = world.ask("a", disconnect)
    await world.settle()
    disconnect.lose()
    with pytest.raises(Gone):
        await asked
    held[0].abandon()
    await world.pass_s(0.1)
    assert held[0].stopped is None
    await world.pass_s(0.3)
    assert isinstance(held[0].stopped, Gone)
    assert (world.turns.waiting, world.turns.held) == (0, 2)


async def test_a_place_given_to_one_who_gave_up_goes_to_the_next(world: TimedTurns) -> None:
    held = [await world.enter("a"), await world.enter("a")]
    first, second = world.ask("a"), world.ask("a")
    await world.settle()
    held[0].leave()
    first.cancel()  # in the moment that it gets its place
    await world.settle()
    assert second.done()
    assert world.turns.held == 2


async def test_calls_that_were_broken_off_and_hold_as_many_places_as_cores_are_seen(world: TimedTurns) -> None:
    stuck = [await world.enter(name) for name in ("a", "b")]
    stuck[0].linger()
    assert world.turns.stuck_since is None
    world.clock.now += 3.0
    stuck[1].linger()
    assert world.turns.stuck_since == world.clock.now
    world.turns.ended(stuck[0])
    assert world.turns.stuck_since is None


async def test_broken_off_calls_of_which_each_ends_soon_are_not_stuck(world: TimedTurns) -> None:
    lingering = [await world.enter("a"), await world.enter("b")]
    for turn in lingering:
        turn.linger()
    for number in range(40):
        world.clock.now += 0.5
        world.turns.ended(lingering.pop(0))
        lingering.append(await world.enter(f"{number}"))
        lingering[-1].linger()
        since = world.turns.stuck_since
        assert since is not None
        assert world.clock.now - since < 1.0


async def test_a_slowed_tenant_has_one_call_at_a_time_and_pauses(world: TimedTurns) -> None:
    turn = await world.enter("slow")
    world.turns.slow_down(turn.share)
    assert world.turns.slowed == 1
    second = world.ask("slow")
    await world.settle()
    assert not second.done()
    turn.leave()
    await world.settle()
    assert not second.done()
    await world.pass_s(1.1)
    (await second).leave()
    world.turns.slow_down(turn.share)  # again, so more of it
    await world.pass_s(200.0)
    assert world.turns.slowed == 1
    (await world.enter("slow")).leave()
    third = world.ask("slow")
    await world.pass_s(3.9)
    assert not third.done()
    await world.pass_s(0.2)
    (await third).leave()
    await world.pass_s(60.0)
    assert world.turns.slowed == 0
    both = [await world.enter("slow"), await world.enter("slow")]
    assert len(both) == 2


async def test_it_asks_to_be_looked_after_once_until_told_that_nobody_does(world: TimedTurns) -> None:
    await world.enter("a")
    await world.enter("b")
    assert world.woken == 1
    world.turns.is_watched = False
    turn = await world.enter("c")
    assert world.woken == 2
    assert isinstance(turn, Turn)


async def test_errors_of_stopped_calls_are_ours(world: TimedTurns) -> None:
    turn = await world.enter("a")
    await world.pass_s(6.0)
    assert isinstance(turn.stopped, FreeholdError)
    assert turn.stopped.code == "query_timeout"


async def test_those_whose_calls_ran_when_sqld_crashed_go_one_by_one_until_one_is_found_out(world: TimedTurns) -> None:
    assert world.turns.suspect(["a", "b"]) == ["a", "b"]
    first = await world.enter("a")
    second = world.ask("b")
    (await world.enter("other")).leave()
    await world.settle()
    assert not second.done()
    (await world.enter("a", goes_on=True)).leave()  # its stream may hold what the first waits for
    first.leave()
    await world.settle()
    turn = await second
    # It crashes again while `b` runs, and `c`, too: one of these was there both times.
    assert world.turns.suspect(["b", "c"]) == ["b"]
    turn.leave()
    more = world.ask("b")
    await world.settle()
    assert not more.done()  # slowed, too: there are pauses
    (await world.enter("c")).leave()
    await world.pass_s(2)
    (await more).leave()
    await world.pass_s(61)
    (await world.enter("a")).leave()
    # The next time it takes longer, an hour at the most.
    assert world.turns.suspect(["b"]) == ["b"]
    share = world.turns.share_of("b")
    assert share is not None
    assert share.suspect_until - world.clock.now > 600
    await world.pass_s(4000)
    (await world.enter("b")).leave()
    assert world.turns.suspect(["b"]) == ["b"]
    assert share.suspect_until - world.clock.now <= 60


async def test_what_nothing_may_stop_never_holds_all_places(world: TimedTurns) -> None:
    first = await world.enter("a", is_unstoppable=True)
    own = world.ask("a", is_unstoppable=True)
    other = world.ask("b", is_unstoppable=True)
    await world.settle()
    assert not own.done()
    assert not other.done()
    (await world.enter("c")).leave()  # all else goes on
    # The heavy one gives way to one who is light.
    await world.pass_s(1.5)
    assert isinstance(first.stopped, Overloaded)
    first.linger()
    await world.pass_s(0.1)
    assert not other.done()
    assert world.turns.stuck_since is not None  # nobody else gets in until it has ended
    (await world.enter("c")).leave()
    world.turns.ended(first)
    assert world.turns.stuck_since is None
    (await other).leave()
    (await own).leave()
    assert (world.turns.held, world.turns.unstoppable) == (0, 0)
