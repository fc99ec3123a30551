"""Whether the parts that the service stands on answer: asked by anybody, as often as they like.

One probe of each part at a time, and what it finds holds for a moment. An asker waits for a limited time; the probe
itself is left to end by itself, so that one that hangs is one, however many ask. On a machine whose cores are all
busy a probe takes its time: while it may still be in time, the good news before it holds. Time is counted in turns of
the event loop, for what waits for the loop is no fault of the part.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from freehold.errors import FreeholdError, ProviderUnavailable, Unavailable

Probe = Callable[[], Awaitable[None]]

_LIMIT_S = 5.0
_HOLDS_S = 1.0
_FAULT_HOLDS_S = 0.2
_TURN_S = 0.1
_PATIENCE_S = 1.0  # of an asker for whom there is news that is not old


class Readiness:
    """`probes` by the name of the part, as people know it; each raises what is wrong."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        *,
        limit_s: float = _LIMIT_S,
        holds_s: float = _HOLDS_S,
        fault_holds_s: float = _FAULT_HOLDS_S,
    ) -> None:
        self._parts = [_Part(name, probe, limit_s, holds_s, fault_holds_s) for name, probe in probes.items()]

    async def check(self) -> None:
        """Return when all parts answered, in time, not long ago.

        Raises:
            Unavailable: with the first that did not.
        """
        for fault in await asyncio.gather(*(part.fault() for part in self._parts)):
            if fault is not None:
                raise fault


class _Part:
    def __init__(self, name: str, probe: Probe, limit_s: float, holds_s: float, fault_holds_s: float) -> None:
        self._name = name
        self._probe = probe
        self._limit_s = limit_s
        self._holds_s = holds_s
        self._fault_holds_s = fault_holds_s
        self._turn_s = min(_TURN_S, limit_s / 2)
        self._running: asyncio.Task[Unavailable | None] | None = None
        self._waited_s = 0.0
        self._found: Unavailable | None = None
        self._found_at = float("-inf")

    async def fault(self) -> Unavailable | None:
        """What is wrong, or None."""
        since_s = time.monotonic() - self._found_at
        if self._running is None:
            if since_s < (self._holds_s if self._found is None else self._fault_holds_s):
                return self._found
            self._waited_s = 0.0
            self._running = asyncio.create_task(self._look())
        running, asked_s = self._running, 0.0
        was_well = self._found is None and since_s < self._limit_s
        while not running.done() and self._waited_s < self._limit_s:
            if was_well and asked_s >= _PATIENCE_S:
                return None
            await asyncio.wait([running], timeout=self._turn_s)
            asked_s += self._turn_s
        return running.result() if running.done() else self._late()

    async def _look(self) -> Unavailable | None:
        probing = asyncio.ensure_future(self._probe())
        try:
            while not (await asyncio.wait([probing], timeout=self._turn_s))[0]:
                self._waited_s += self._turn_s
            fault = self._late() if self._waited_s >= self._limit_s else _fault_of(self._name, probing)
        finally:
            probing.cancel()
            self._running = None
        self._found, self._found_at = fault, time.monotonic()
        return fault

    def _late(self) -> Unavailable:
        return Unavailable(f"not ready: no answer in time from {self._name}")


def _fault_of(name: str, probed: "asyncio.Future[None]") -> Unavailable | None:
    error = probed.exception()
    if error is None or isinstance(error, Unavailable):
        return error
    # Whatever it is, the part is not well.
    known = isinstance(error, FreeholdError)
    fault = ProviderUnavailable(str(error)) if known else Unavailable(f"not ready: {name} failed")
    fault.__cause__ = error
    return fault
