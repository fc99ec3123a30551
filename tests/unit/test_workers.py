"""Threads for quick jobs: one at a time, unless they do not move on."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from freehold.providers.local.workers import Workers


def _quick(workers: Workers, job: Callable[[], Any]) -> "asyncio.Future[Any]":
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(result: Any, error: BaseException | None) -> None:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    workers.submit(job, done, is_quick=True)
    return future


async def _is_at_rest(workers: Workers) -> bool:
    await asyncio.sleep(0.02)
    return (workers._jobs, workers._busy, workers._quick_threads, workers._demoted) == (0, 0, 0, 0)


async def test_quick_jobs_run_in_order_and_all_are_delivered() -> None:
    workers = Workers("test", 8)
    ran: list[int] = []
    for count in (1, 2, 3, 4, 5, 50):
        ran.clear()
        await asyncio.gather(*(_quick(workers, lambda each=each: ran.append(each)) for each in range(count)))  # type: ignore[misc]
        assert sorted(ran) == list(range(count))
    assert await _is_at_rest(workers)
    workers.close()


async def test_the_error_of_a_quick_job_is_its_own() -> None:
    workers = Workers("test", 2)

    def fails() -> None:
        raise ValueError("this one")

    first, second, third = _quick(workers, lambda: 1), _quick(workers, fails), _quick(workers, lambda: 3)
    assert (await first, await third) == (1, 3)
    with pytest.raises(ValueError, match="this one"):
        await second
    assert await _is_at_rest(workers)
    workers.close()


async def test_a_job_that_is_not_quick_after_all_holds_up_nobody() -> None:
    workers = Workers("test", 8)
    goes_on = threading.Event()
    slow = [_quick(workers, goes_on.wait) for _ in range(5)]
    others = [_quick(workers, lambda: 7) for _ in range(20)]
    assert await asyncio.wait_for(asyncio.gather(*others), 2) == [7] * 20
    assert not any(each.done() for each in slow)
    goes_on.set()
    await asyncio.gather(*slow)
    assert await _is_at_rest(workers)
    workers.close()


async def test_what_is_done_is_delivered_although_the_next_one_takes_long() -> None:
    workers = Workers("test", 1)
    goes_on = threading.Event()
    first, second = _quick(workers, lambda: time.sleep(0.001)), _quick(workers, goes_on.wait)
    await asyncio.wait_for(first, 2)
    assert not second.done()
    goes_on.set()
    await second
    assert await _is_at_rest(workers)
    workers.close()


async def test_a_quick_job_that_is_demoted_gives_its_place_up() -> None:
    workers = Workers("test", 1)
    goes_on, started = threading.Event(), threading.Event()
    over: list[object] = []

    def stays() -> None:
        started.set()
        goes_on.wait()

    job = workers.submit(stays, lambda result, _error: over.append(result), is_quick=True)
    await asyncio.to_thread(started.wait)
    workers.demote(job)
    assert await asyncio.wait_for(_quick(workers, lambda: 7), 2) == 7
    assert await asyncio.wait_for(workers.run(lambda: 8), 2) == 8
    goes_on.set()
    while not over:
        await asyncio.sleep(0.005)
    assert await _is_at_rest(workers)
    workers.close()
