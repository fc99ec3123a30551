"""Breaks off calls that wait for sqld: when they exceed their time, or when nobody waits for them."""

import asyncio
from types import TracebackType

from freehold.errors import NotFound, ProviderUnavailable
from freehold.providers.failures import Gone, Overloaded
from freehold.providers.serving import Disconnect
from freehold.providers.sqld.client.upstream import BrokenOff
from freehold.providers.sqld.turns.shares import Turn
from freehold.tenants.errors import DatabaseDamaged


class Breakable:
    """Code inside this context, in its task, ends with `TimeoutError` once `break_off` is called.

    Like `asyncio.timeout`, at a third of its cost.
    """

    __slots__ = ("_cancelling", "_handle", "_is_broken", "_loop", "_task")

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._is_broken = False
        self._handle: asyncio.Handle | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._is_broken and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def break_off(self) -> None:
        """End the code inside soon: a task cannot be cancelled while it runs."""
        if self._handle is None:
            self._handle = self._loop.call_soon(self._cancel)

    def _cancel(self) -> None:
        self._is_broken = True
        self._task.cancel()


class Stoppable(Breakable):
    """Code inside this context is broken off when the turn is stopped; the turn then lingers, unless it was left.

    Raises:
        FreeholdError: the error that the turn was stopped with.
    """

    __slots__ = ("_disconnect", "_turn")

    def __init__(self, turn: Turn, disconnect: Disconnect) -> None:
        self._turn = turn
        self._disconnect = disconnect

    def __enter__(self) -> None:
        super().__enter__()
        self._turn.when_stopped = self.break_off
        self._disconnect.when_lost(self._turn.abandon)
        if self._turn.stopped is not None:  # it was stopped before it began
            self.break_off()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect.when_lost(_nothing)
        self._turn.when_stopped = None
        try:
            super().__exit__(kind, error, trace)
        except TimeoutError as late:
            self._end(late)
            raise
        if error is not None:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        if isinstance(error, NotFound | Overloaded | ProviderUnavailable | DatabaseDamaged):
            self._turn.leave()  # it never reached sqld, or sqld itself broke it off
            if isinstance(error, BrokenOff):
                self._turn.turns.broke(self._turn)
            return
        self._turn.linger()
        if isinstance(error, TimeoutError) and self._turn.stopped is not None:
            raise self._turn.stopped from error


class Limited(Breakable):
    """Code inside this context is broken off when it exceeds its time, or when nobody waits for it.

    Raises:
        TimeoutError: it has exceeded its time.
        Gone: the client went away.
    """

    __slots__ = ("_disconnect", "_timeout_s", "_timer")

    def __init__(self, timeout_s: float, disconnect: Disconnect) -> None:
        self._timeout_s = timeout_s
        self._disconnect = disconnect

    def __enter__(self) -> None:
        super().__enter__()
        self._timer = self._loop.call_later(self._timeout_s, self.break_off)
        self._disconnect.when_lost(self.break_off)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect.when_lost(_nothing)
        self._timer.cancel()
        try:
            super().__exit__(kind, error, trace)
        except TimeoutError as late:
            if self._disconnect.is_lost:
                raise Gone from late
            raise


def _nothing() -> None:
    """Replace a callback that is no longer needed."""
