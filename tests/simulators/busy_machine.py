"""A machine whose cores are shared by all that runs, on a clock that only moves when everybody waits.

Seconds of a crowd pass in no time, and the same way each time.
"""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any


class _Clock(selectors.BaseSelector):
    """Nothing ever comes from outside; whoever waits for that lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self._known: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._known[fileobj] = key = selectors.SelectorKey(fileobj, number, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._known.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for ever"
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._known


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class Machine:
    """`cores` may be less than whole ones, where others use the machine, too."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._loop = asyncio.get_running_loop()
        self._ends: dict[asyncio.Future[None], float] = {}  # in seconds of work since the start
        self._worked, self._at = 0.0, self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def work(self, seconds: float) -> None:
        """Return when it has had so many seconds of a core; with `math.inf` never."""
        self._go_on()
        done: asyncio.Future[None] = self._loop.create_future()
        self._ends[done] = self._worked + seconds
        self._plan()
        try:
            await done
        finally:
            self._go_on()
            self._ends.pop(done, None)
            self._plan()

    @property
    def _pace(self) -> float:
        return min(1.0, self._cores / len(self._ends))

    def _go_on(self) -> None:
        now = self._loop.time()
        if self._ends:
            self._worked += (now - self._at) * self._pace
        self._at = now

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        first = min(self._ends.values(), default=math.inf)
        self._timer = None
        if first < math.inf:
            self._timer = self._loop.call_later(max(0.0, first - self._worked) / self._pace + 1e-6, self._end)

    def _end(self) -> None:
        self._go_on()
        for done, end in self._ends.items():
            if end <= self._worked + 1e-9 and not done.done():
                done.set_result(None)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it on the clock, and end what it has left running."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(story())
