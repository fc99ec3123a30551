"""Watches the calls that run on sqld: ends those that exceed their time, and finds out when sqld has ended them.

sqld interrupts a statement when its connection is closed, and counts that. A statement that no interrupt reaches runs
on, and nobody learns when it ends. So a call that was broken off is assumed to run on until sqld has counted an
interruption for it, or until fewer of sqld's threads compute than there are such calls, which its supervisor sees.
"""

import asyncio
import contextlib

import aiohttp

from freehold.errors import FreeholdError, ProviderUnavailable
from freehold.log import get_logger
from freehold.providers.failures import QueryTimeout
from freehold.providers.sqld.client.admin import SqldAdmin
from freehold.providers.sqld.client.namespaces import Namespaces
from freehold.providers.sqld.client.refusals import Refusal
from freehold.providers.sqld.process.control import SupervisorLink, SupervisorState
from freehold.providers.sqld.process.supervisor import is_crash
from freehold.providers.sqld.turns.logs import Logs
from freehold.providers.sqld.turns.shares import Turn
from freehold.providers.sqld.turns.turns import Turns

log = get_logger()

_TICK_S = 0.05
_LOOK_S = 0.5
_LOOK_SOON_S = 0.1
# From this age on, calls of several statements are checked for progress.
_SEVERAL_AFTER_S = 1.0
_LONG_S = 0.5
# sqld interrupts within milliseconds whatever it can interrupt. A later count is for another call.
_INTERRUPTED_WITHIN_S = 1.0
_FOLD_S = 1.0
STUCK_S = 10.0
_BACK_S = 5.0
# Within this time a supervisor notices that its sqld has ended.
_BROKEN_S = 3.0
# sqld accepts calls for a moment before its supervisor knows that it is up.
_START_S = 1.0
# Without a supervisor nobody can see what runs on, or end it: a place is released after this time.
_UNSEEN_S = 10.0


class Watch:
    """Owns the `turns`; `aclose` ends it. For the event loop's thread."""

    def __init__(
        self,
        admin: SqldAdmin,
        namespaces: Namespaces,
        link: SupervisorLink | None,
        *,
        cores: int,
        statement_s: float,
        max_size_bytes: int,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._stuck_s = stuck_s
        self.turns = Turns(cores, statement_s, wake=self._wake)
        self.logs = Logs(admin, namespaces, self.turns, max_size_bytes)
        self.link = link
        self.stuck = 0  # times that broken-off calls held all places
        self._admin = admin
        self._namespaces = namespaces
        self._interrupted: int | None = None
        self._restarts: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None
        self._folding: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._next_fold = 0.0

    async def aclose(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._look, self._folding):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def out_of_memory(self, turn: Turn) -> None:
        """Stop the longest of the other calls after a statement ran out of memory, as the likely cause."""
        now = self.turns.now()
        others = [each for each in self.turns.running if each is not turn and now - each.began >= _LONG_S]
        if others:
            longest = min(others, key=lambda each: each.began)
            longest.stop(Refusal("the statement was stopped: memory is short", "SQLITE_NOMEM"))

    def _wake(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        if self._interrupted is None:  # before any call is broken off
            self._look_if_needed()

    def _tick(self) -> None:
        self._timer = None
        try:
            self.turns.tick()
            self._look_if_needed()
            self._fold_if_needed()
        finally:
            if self.turns.is_busy or self._look is not None or self.logs.is_needed:
                self._wake()
            else:
                self.turns.is_watched = False

    def _look_if_needed(self) -> None:
        now = self.turns.now()
        if self._look is not None or now < self._next_look:
            return
        is_needed = (
            self._interrupted is None
            or self.turns.lingering
            or self.turns.broken
            or any(now - turn.began >= _LONG_S for turn in self.turns.running)
        )
        if is_needed:
            self._next_look = now + (_LOOK_SOON_S if self.turns.lingering or self.turns.broken else _LOOK_S)
            self._look = asyncio.create_task(self._looked())

    def _fold_if_needed(self) -> None:
        now = self.turns.now()
        if self.logs.is_needed and self._folding is None and now >= self._next_fold:
            self._next_fold = now + _FOLD_S
            self._folding = asyncio.create_task(self._fold())

    async def _looked(self) -> None:
        try:
            asked_at = self.turns.now()
            state = None if self.link is None else await self.link.state()
            self._see_end(state)
            self._see_restart(state, asked_at)
            await self._see_interruptions(state)
            await self._see_progress()
            if self.turns.stuck_since is not None and self.turns.now() - self.turns.stuck_since >= self._stuck_s:
                await self._end_stuck()
        except FreeholdError:
            pass  # sqld does not answer; its calls report that
        finally:
            self._look = None

    async def _fold(self) -> None:
        try:
            await self.logs.look()
        except FreeholdError:
            pass
        finally:
            self._folding = None

    def _see_end(self, state: SupervisorState | None) -> None:
        """Find out why connections broke: if sqld crashed, one of the running calls is the cause."""
        broken = self.turns.broken
        if not broken:
            return
        if state is not None and (
            state.state != "up" or (self._restarts is not None and state.restarts != self._restarts)
        ):
            names = {name for _, name in broken} | {turn.share.name for turn in self.turns.lingering}
            broken.clear()
            if is_crash(state.last_end):
                suspects = self.turns.suspect(sorted(names))
                log.error("sqld.crashed", reason=state.last_end, databases=suspects)
        elif self.turns.now() - broken[0][0] >= _BROKEN_S:
            broken.clear()  # only the connections broke

    def _see_restart(self, state: SupervisorState | None, asked_at: float) -> None:
        if state is None:
            return
        is_another = self._restarts is not None and state.restarts != self._restarts
        self._restarts = state.restarts
        if is_another or state.state != "up":
            self._interrupted = None
            self._all_ended()
            self._namespaces.forget_before(asked_at - (state.up_s + _START_S if state.state == "up" else 0.0))

    async def _see_interruptions(self, state: SupervisorState | None) -> None:
        try:
            count = await self._admin.interrupted()
        except ProviderUnavailable as error:
            self._interrupted = None
            if isinstance(error.__cause__, aiohttp.ClientConnectorError):  # it is gone
                self._all_ended()
            raise
        before, self._interrupted = self._interrupted, count
        if before is None:
            return
        if count < before:  # it counts from zero, so it was restarted
            self._all_ended()
            return
        now = self.turns.now()
        for turn in self._lingering():
            age_s = now - turn.broken_at
            if count == before:
                break
            if state is None or (not turn.is_program and age_s <= _INTERRUPTED_WITHIN_S):
                count -= 1
                self.turns.ended(turn)
        self._see_idle_threads(state)

    def _lingering(self) -> list[Turn]:
        """The lingering calls, first those more likely to have ended, so that no tenant waits for another's."""
        return sorted(self.turns.lingering, key=lambda turn: (turn.is_unstoppable, turn.broken_at))

    def _see_idle_threads(self, state: SupervisorState | None) -> None:
        lingering = self._lingering()
        if state is not None and state.busy_threads is not None:
            for turn in lingering[: max(len(lingering) - state.busy_threads, 0)]:
                self.turns.ended(turn)
        elif state is None:
            now = self.turns.now()
            for turn in lingering:
                if now - turn.broken_at >= _UNSEEN_S:
                    log.warning("sqld.call_unseen", database=turn.share.name, seconds=_UNSEEN_S)
                    if isinstance(turn.stopped, QueryTimeout):
                        self.turns.slow_down(turn.share)
                    self.turns.ended(turn)

    async def _see_progress(self) -> None:
        """Check calls of several statements: one may run for as long as each of its statements is quick enough."""
        turns = self.turns
        for turn in list(turns.running):
            if turn.statements <= 1 or turns.now() - turn.began < _SEVERAL_AFTER_S:
                continue
            stats = await self._admin.stats(turn.share.name)
            if stats is None or turn.is_left:
                continue
            now = turns.now()
            counted = (stats.query_count, turn.share.answered)
            before, turn.counted = turn.counted, counted
            if before is None or counted[0] - before[0] > counted[1] - before[1]:
                turn.moved_at = now
            elif now - turn.moved_at >= turns.statement_s:
                turns.overtime(turn, "statement", turns.statement_s)

    async def _end_stuck(self) -> None:
        if self.link is None:
            return
        names = sorted({turn.share.name for turn in self.turns.lingering})
        if not await self.link.restart("calls past their limit held every place"):
            return
        self.stuck += 1
        self.turns.is_held_up = True
        log.error("sqld.stuck", databases=names, seconds=self._stuck_s)
        for share in {turn.share for turn in self.turns.lingering}:
            self.turns.slow_down(share)
        try:
            await self._back_again(self.link)
        finally:
            self.turns.is_held_up = False
            self._interrupted = None
            self._all_ended()

    async def _back_again(self, link: SupervisorLink) -> None:
        """Wait up to some seconds until it has been restarted."""
        until = self.turns.now() + _BACK_S
        while self.turns.now() < until:
            state = await link.state()
            if state is not None and state.state == "up" and state.restarts != self._restarts:
                self._restarts = state.restarts
                return
            await asyncio.sleep(_TICK_S)

    def _all_ended(self) -> None:
        for turn in list(self.turns.lingering):
            self.turns.ended(turn)
