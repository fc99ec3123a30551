"""When sqld is held to have ended what was broken off, and when a call of several statements gets ahead."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from freehold.errors import ProviderUnavailable
from freehold.providers.failures import QueryTimeout
from freehold.providers.serving import Disconnect
from freehold.providers.sqld.client.admin import NamespaceStats
from freehold.providers.sqld.process.control import SupervisorState
from freehold.providers.sqld.turns.shares import Turn
from freehold.providers.sqld.turns.watch import Watch


class Sqld:
    """sqld's admin API and its supervisor, as far as they are asked."""

    def __init__(self) -> None:
        self.interruptions = 7
        self.counts: dict[str, int] = {}
        self.fault: ProviderUnavailable | None = None
        self.busy_threads: int | None = 0
        self.restarts = 0
        self.asked_for: list[str] = []

    async def interrupted(self) -> int:
        if self.fault is not None:
            raise self.fault
        return self.interruptions

    async def stats(self, name: str) -> NamespaceStats:
        return NamespaceStats(query_count=self.counts.get(name, 0))

    async def state(self) -> SupervisorState:
        return SupervisorState(
            state="up",
            restarts=self.restarts,
            up_s=100.0,
            last_end="",
            memory_limit_bytes=1,
            busy_threads=self.busy_threads,
        )

    async def restart(self, reason: str) -> bool:
        self.asked_for.append(reason)
        self.restarts += 1
        return True


class WatchedSqld:
    def __init__(self, *, is_supervised: bool) -> None:
        self.now = 100.0
        self.sqld = Sqld()
        sqld: Any = self.sqld
        self.gone_before: list[float] = []
        namespaces: Any = SimpleNamespace(forget_before=self.gone_before.append)
        self.watch = Watch(
            sqld, namespaces, sqld if is_supervised else None, cores=1, statement_s=5.0, max_size_bytes=1000
        )
        self.watch.turns.now = lambda: self.now

    async def look(self) -> None:
        await self.watch._looked()

    async def enter(self, name: str, statements: int = 1, *, is_program: bool = False) -> Turn:
        return await self.watch.turns.enter(name, Disconnect(), statements, is_program=is_program)

    async def broken_off(self, name: str = "a", *, is_program: bool = False) -> Turn:
        await self.look()  # what was counted before is of others
        turn = await self.enter(name, is_program=is_program)
        turn.linger()
        return turn

    @property
    def lingering(self) -> int:
        return len(self.watch.turns.lingering)


@pytest.fixture(params=[True, False], ids=["supervised", "alone"])
async def world(request: pytest.FixtureRequest) -> Any:
    found = WatchedSqld(is_supervised=request.param)
    yield found
    await found.watch.aclose()


@pytest.fixture
async def supervised() -> Any:
    found = WatchedSqld(is_supervised=True)
    found.sqld.busy_threads = 3
    yield found
    await found.watch.aclose()


@pytest.fixture
async def alone() -> Any:
    found = WatchedSqld(is_supervised=False)
    yield found
    await found.watch.aclose()


async def test_an_interruption_that_sqld_counts_ends_the_call(world: WatchedSqld) -> None:
    world.sqld.busy_threads = 3
    await world.broken_off()
    await world.look()
    assert world.lingering == 1
    world.sqld.interruptions += 1
    await world.look()
    assert world.lingering == 0


async def test_one_interruption_ends_one_call_the_oldest(alone: WatchedSqld) -> None:
    await alone.broken_off("a")
    second = await alone.enter("b")
    second.linger()
    alone.sqld.interruptions += 1
    await alone.look()
    assert list(alone.watch.turns.lingering) == [second]


async def test_what_nothing_may_stop_is_thought_to_have_ended_last(supervised: WatchedSqld) -> None:
    """Else its tenant goes on at once, and who was stopped to make room waits until it has ended."""
    supervised.sqld.busy_threads = 2
    await supervised.look()
    long = await supervised.watch.turns.enter("stranger", Disconnect(), is_unstoppable=True)
    long.linger()
    stopped = await supervised.enter("bystander")
    stopped.linger()
    supervised.sqld.interruptions += 1
    await supervised.look()
    assert list(supervised.watch.turns.lingering) == [long]
    stopped = await supervised.enter("bystander")
    stopped.linger()
    supervised.sqld.busy_threads = 1
    await supervised.look()
    assert list(supervised.watch.turns.lingering) == [long]


async def test_a_call_ends_when_fewer_threads_compute_than_calls_are_missing(supervised: WatchedSqld) -> None:
    await supervised.broken_off("a", is_program=True)
    supervised.sqld.interruptions += 5  # of a program it says nothing: what follows the interrupted one may run on
    await supervised.look()
    assert supervised.lingering == 1
    supervised.sqld.busy_threads = 0
    await supervised.look()
    assert supervised.lingering == 0


async def test_an_interruption_long_after_is_of_another_call(supervised: WatchedSqld) -> None:
    await supervised.broken_off()
    supervised.now += 2.0
    supervised.sqld.interruptions += 1
    await supervised.look()
    assert supervised.lingering == 1


async def test_without_a_supervisor_a_place_comes_back_in_the_end_and_its_tenant_is_slowed(alone: WatchedSqld) -> None:
    turn = await alone.broken_off()
    turn.stopped = QueryTimeout("too long")
    alone.now += 9.0
    await alone.look()
    assert alone.lingering == 1
    alone.now += 2.0
    await alone.look()
    assert (alone.lingering, alone.watch.turns.slowed) == (0, 1)


@pytest.mark.parametrize("how", ["counts from nothing", "is gone", "was started again"])
async def test_all_has_ended_when_sqld_has(supervised: WatchedSqld, how: str) -> None:
    await supervised.broken_off()
    match how:
        case "counts from nothing":
            supervised.sqld.interruptions = 0
        case "is gone":
            refused = aiohttp.ClientConnectorError(Any, OSError())  # type: ignore[arg-type]
            supervised.sqld.fault = ProviderUnavailable("away")
            supervised.sqld.fault.__cause__ = refused
        case _:
            supervised.sqld.restarts += 1
    await supervised.look()
    assert supervised.lingering == 0
    # What was open before is gone, but for what may have come while the next one started.
    assert supervised.gone_before == ([-1.0] if how == "was started again" else [])


async def test_a_sqld_that_does_not_answer_in_time_has_ended_nothing(supervised: WatchedSqld) -> None:
    await supervised.broken_off()
    supervised.sqld.fault = ProviderUnavailable("slow")
    await supervised.look()
    assert supervised.lingering == 1


async def test_calls_that_hold_all_places_for_long_have_sqld_started_again_and_are_slowed(
    supervised: WatchedSqld,
) -> None:
    await supervised.broken_off()
    supervised.now += 9.0
    await supervised.look()
    assert supervised.sqld.asked_for == []
    supervised.now += 2.0
    await supervised.look()
    assert supervised.sqld.asked_for == ["calls past their limit held every place"]
    assert (supervised.lingering, supervised.watch.turns.slowed, supervised.watch.stuck) == (0, 1, 1)


async def test_a_call_of_several_goes_on_while_each_of_its_statements_is_quick_enough(world: WatchedSqld) -> None:
    turn = await world.enter("a", 10)
    for second in range(1, 16):
        world.now = 100.0 + second
        world.sqld.counts["a"] = second // 4
        await world.look()
        assert turn.stopped is None
    for _ in range(5):
        world.now += 1.0
        await world.look()
    assert turn.stopped is not None
    assert "statement" in str(turn.stopped)
    turn.leave()


async def test_other_calls_of_its_tenant_do_not_pass_for_progress(world: WatchedSqld) -> None:
    turn = await world.enter("a", 10)
    for second in range(1, 9):
        world.now = 100.0 + second
        other = world.watch.turns.share_of("a")
        assert other is not None
        other.answered += 3
        world.sqld.counts["a"] = 3 * second
        await world.look()
    assert turn.stopped is not None
    turn.leave()


async def test_who_is_out_of_memory_has_the_longest_of_the_others_stopped(world: WatchedSqld) -> None:
    long = await world.enter("a")
    world.now += 1.0
    young = await world.enter("b")
    world.watch.out_of_memory(young)
    assert long.stopped is not None
    assert "memory" in str(long.stopped)
    assert young.stopped is None
    await asyncio.sleep(0)
    long.leave()
    young.leave()
