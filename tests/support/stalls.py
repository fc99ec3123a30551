"""Whether the event loop goes on while something is done."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def longest_stall_ms(work: Callable[[], Awaitable[None]], *, enough_ms: float) -> float:
    """The longest time in which nothing else could run on the event loop while `work` did.

    A busy machine stalls a process, too, so it is measured up to twenty times until it is `enough_ms`.
    """
    best = float("inf")
    for _ in range(20):
        stalls = _Stalls()
        watching = asyncio.create_task(stalls.watch())
        await asyncio.sleep(0.02)
        await work()
        watching.cancel()
        best = min(best, stalls.longest_ms)
        if best < enough_ms:
            break
    return best


async def assert_loop_is_free(work: Callable[[], Awaitable[None]]) -> None:
    """`work` waits most of its time for somebody else, and the event loop goes on all the while.

    Measured as a share of its time, since a busy machine draws out both. Work that blocks the loop blocks it for all
    of its time; a moment in which the process got no turn is shorter, and does not come twenty times.
    """
    shares = []
    for _ in range(20):
        stalls = _Stalls()
        watching = asyncio.create_task(stalls.watch())
        await asyncio.sleep(0.02)
        began = time.monotonic()
        await work()
        took_ms = (time.monotonic() - began) * 1000
        watching.cancel()
        assert took_ms > 50, "too quick to tell"
        shares.append(stalls.longest_ms / took_ms)
        if shares[-1] < 0.1:
            return
    raise AssertionError(f"the event loop stood still for these shares of the time: {shares}")


class _Stalls:
    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            self.longest_ms = max(self.longest_ms, (loop.time() - before - 0.001) * 1000)
