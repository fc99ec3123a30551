"""What waits for sqld is broken off from outside, and by nothing else."""

import asyncio

import pytest

from freehold.providers.failures import Gone
from freehold.providers.serving import Disconnect
from freehold.providers.sqld.turns.breaking import Breakable, Limited


async def test_what_is_broken_off_ends_with_a_timeout_and_the_task_goes_on() -> None:
    scope = Breakable()
    asyncio.get_running_loop().call_soon(scope.break_off)
    with pytest.raises(TimeoutError), scope:
        await asyncio.sleep(60)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_what_has_ended_by_then_is_left_alone() -> None:
    with Breakable() as _:
        pass
    scope = Breakable()
    with scope:
        scope.break_off()
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_error_of_its_own_stays() -> None:
    scope = Breakable()
    with pytest.raises(ZeroDivisionError), scope:
        scope.break_off()
        raise ZeroDivisionError
    await asyncio.sleep(0)


async def test_whoever_cancels_the_task_cancels_it_although_it_is_broken_off_too() -> None:
    scope = Breakable()

    async def work() -> None:
        with scope:
            await asyncio.sleep(60)

    for breaks_first in (True, False):
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        if breaks_first:
            scope.break_off()
            task.cancel()
        else:
            task.cancel()
            scope.break_off()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_twice_broken_off_is_once() -> None:
    scope = Breakable()
    for _ in range(2):
        asyncio.get_running_loop().call_soon(scope.break_off)
    with pytest.raises(TimeoutError), scope:
        await asyncio.sleep(60)
    await asyncio.sleep(0)


async def test_time_that_is_over_and_a_client_that_went_away_are_told_apart() -> None:
    with pytest.raises(TimeoutError), Limited(0.0, Disconnect()):
        await asyncio.sleep(60)
    disconnect = Disconnect()
    asyncio.get_running_loop().call_soon(disconnect.lose)
    with pytest.raises(Gone), Limited(60.0, disconnect):
        await asyncio.sleep(60)
    gone = Disconnect()
    gone.lose()
    with pytest.raises(Gone), Limited(60.0, gone):
        await asyncio.sleep(60)
