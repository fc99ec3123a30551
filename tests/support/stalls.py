"""Whether the event loop goes on while something is done."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def assert_loop_is_free(work: Callable[[], Awaitable[None]], most: float = 0.1) -> None:
    """`work` waits most of its time for somebody else, and the event loop goes on all the while.

    Measured as a share of its time, since a busy machine draws out both. Work that blocks the loop blocks it for all
    of its time; a moment in which the process got no turn is shorter, and does not come twenty times. `most` is the
    largest share of its time for which the loop may stand still.
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
        if shares[-1] < most:
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
