"""Who may run statements on sqld, and how many at a time: as many as there are cores, shared fairly between tenants.

sqld runs everything it gets at the same time: 32 endless statements of one guest block everyone. So calls wait here
for their turn. The tenant who used least recently goes first, and one tenant never has all places. A call that was
broken off keeps its place until sqld is known to have ended it (`linger`), and nothing new of that tenant begins
meanwhile.

For the event loop's thread. `wake` is called when `tick` must be called, a few times per second, until `is_busy` is
false.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable

from freehold.errors import FreeholdError
from freehold.providers.failures import GoesOn, Gone, Overloaded, QueryTimeout
from freehold.providers.serving import Disconnect
from freehold.providers.sqld.turns.admission import make_room, make_room_for_unstoppable, next_in_line, way_in
from freehold.providers.sqld.turns.shares import (
    FORGOTTEN_S,
    LIGHT_S,
    LONG_S,
    QUICK_S,
    Call,
    Lane,
    Occupancy,
    Share,
    Turn,
    Waiter,
)

_QUICK_EACH = 8
_LOOKED_AT_S = 0.05
_WAITING_EACH = 32
_WAITING = 2000
_WAITS_S = 30.0
# The call of a client that goes away may end at once: then nothing needs to be broken off.
_GRACE_S = 0.3
_BROKEN = 1000
# Whatever sqld can interrupt has ended long before.
_PATIENCE_S = 1.0
_IS_SLOWED = (
    "this database has one call at a time, with pauses, for a while: its calls could not be stopped, or the server "
    "ended over them; try again later"
)
_MANY = 1000


class Turns(Occupancy):
    """`cores` statements at a time, and one more so that quick ones need not wait for long ones; see `admission`.

    Calls that may be unstoppable have half as many places as there are cores, and each tenant one of them: they never
    hold all. `statement_s` is the time limit of a single statement, `call_s` that of a call of several.
    """

    def __init__(
        self,
        cores: int,
        statement_s: float,
        *,
        wake: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(cores, now)
        self.statement_s = statement_s
        self.call_s = 6 * statement_s
        self.is_watched = False
        self.waiting = 0
        self.broken: deque[tuple[float, str]] = deque(maxlen=_BROKEN)  # when and whose, until the reason is known
        self.unlooked: dict[Share, None] = {}  # tenants who used so much that their logs are worth a check
        self._wake = wake
        self._shares: dict[str, Share] = {}
        self._many = _MANY  # of those, when the idle ones are forgotten next

    @property
    def is_busy(self) -> bool:
        """Whether `tick` has anything to do."""
        return bool(self.held or self.waiting or self.broken)

    @property
    def stuck_since(self) -> float | None:
        """Since when as many broken-off calls have run on as there are cores, or as may be unstoppable at a time."""
        all_since = [turn.broken_at for turn in self.lingering]
        unstoppable_since = [turn.broken_at for turn in self.lingering if turn.is_unstoppable]
        # The same calls: if many are broken off some always linger, but different ones each time.
        found = [*all_since[self.cores - 1 :], *unstoppable_since[self.unstoppable_limit - 1 :]]
        return min(found, default=None)

    @property
    def slowed(self) -> int:
        """The number of tenants that are slowed."""
        now = self.now()
        return sum(share.slow_until > now for share in self._shares.values())

    def is_quiet(self, database_name: str) -> bool:
        """Whether no call of this tenant runs or waits."""
        share = self._shares.get(database_name)
        return share is None or not (share.running or share.waiting)

    def share_of(self, database_name: str) -> Share | None:
        """What is known about a tenant, or None."""
        return self._shares.get(database_name)

    async def enter(
        self,
        database_name: str,
        disconnect: Disconnect,
        statements: int = 1,
        *,
        is_program: bool = False,
        is_unstoppable: bool = False,
        goes_on: bool = False,
        holds_lock: bool = False,
    ) -> Turn:
        """Wait for a turn. `goes_on` means the next step of a stream. With `holds_lock` other calls of the tenant may
        be waiting in sqld for its lock.

        Raises:
            Overloaded: too many are waiting, or it waited for too long.
            Gone: the client went away meanwhile.
        """
        share = self._shares.get(database_name)
        if share is None:
            share = self._shares[database_name] = Share(database_name, self.cores)
            if len(self._shares) >= self._many:
                self._forget_idle()
        now = self.now()
        call = Call(statements, is_program, is_unstoppable, goes_on, holds_lock)
        way = way_in(self, share, now, call) if holds_lock or not share.waiting else None
        if way is None:
            turn = await self._wait(share, disconnect, now, call)
        else:
            turn = self._begin(share, now, call, way)
        self._be_watched()
        return turn

    def settle(self, turn: Turn) -> None:
        """This call is over. For `Turn.leave`."""
        del self.running[turn]
        self._free(turn)

    def keep(self, turn: Turn) -> None:
        """This call was broken off. For `Turn.linger`."""
        del self.running[turn]
        self.lingering[turn] = None
        turn.broken_at = self.now()
        turn.share.lingering += 1

    def ended(self, turn: Turn) -> None:
        """Note that sqld has ended a call that was broken off."""
        del self.lingering[turn]
        turn.share.lingering -= 1
        self._free(turn)

    def slow_down(self, share: Share) -> None:
        """Allow this tenant one call at a time for a while, see `Share.slow_down`."""
        share.slow_down(self.now())

    def broke(self, turn: Turn) -> None:
        """sqld closed this call's connection before it answered."""
        self.broken.append((self.now(), turn.share.name))
        self._be_watched()

    def suspect(self, names: Iterable[str]) -> list[str]:
        """Note that sqld crashed while calls of these tenants ran. Returns those who are now suspect.

        If one of them was suspect already, it is taken for the cause, and is slowed too.
        """
        now = self.now()
        shares = [self._shares.setdefault(name, Share(name, self.cores)) for name in names]
        known = [share for share in shares if share.suspect_until > now]
        for share in known:
            self.slow_down(share)
        for share in known or shares:
            share.suspect(now)
            self.suspects[share] = None
        return [share.name for share in known or shares]

    def close(self, database_name: str) -> Share:
        """Let no new call of this tenant begin until `reopen`."""
        share = self._shares.setdefault(database_name, Share(database_name, self.cores))
        share.closed = "new"
        return share

    def reopen(self, share: Share) -> None:
        """End `close`."""
        share.closed = ""
        now = self.now()
        self._let_in(now)
        self._forget(share, now)

    def overtime(self, turn: Turn, what: str, limit_s: float) -> None:
        """Stop a call that has exceeded its time."""
        self.stopped += 1
        turn.stop(
            QueryTimeout(
                f"the {what} was stopped: it ran longer than {limit_s:g} s; see what it did before you repeat it"
            )
        )

    def tick(self) -> None:
        """Stop calls that exceed their time, let in those that may begin, make room for those that wait."""
        now = self.now()
        for turn in list(self.running):
            if turn.stopped is not None:
                continue
            if turn.abandoned_at is not None and now - turn.abandoned_at >= _GRACE_S:
                turn.stop(Gone())
            elif turn.statements == 1 and now - turn.began >= self.statement_s:
                self.overtime(turn, "statement", self.statement_s)
            elif now - turn.began >= self.call_s:
                self.overtime(turn, "call", self.call_s)
        if self.waiting:
            self._refuse_overdue(now)
            self._let_in(now)
            make_room(self, now)
            make_room_for_unstoppable(self, now)

    # Inside ------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        now = self.now()
        self._work_s, self._work_at = self.worked(now), now

    def _begin(self, share: Share, now: float, call: Call, lane: Lane) -> Turn:
        self._go_on()
        share.running += 1
        self.held += 1
        share.unstoppable += call.is_unstoppable
        self.unstoppable += call.is_unstoppable
        turn = Turn(
            self,
            share,
            call,
            now,
            lane=lane,
            is_quick=not lane and share.allowed > self.cores and now >= share.trusted_from,
        )
        self.running[turn] = None
        return turn

    def _give(self, turn: Turn) -> None:
        self._go_on()
        share = turn.share
        share.running -= 1
        self.held -= 1
        share.unstoppable -= turn.is_unstoppable
        self.unstoppable -= turn.is_unstoppable

    def _allow(self, share: Share, allowed: int) -> None:
        """Allow this many calls at a time; running ones are counted by it from now on."""
        is_quick, was_quick = allowed > self.cores, share.allowed > self.cores
        share.allowed = allowed
        if is_quick != was_quick:
            for turn in self.running:
                if turn.share is share and not turn.lane:
                    turn.is_quick = is_quick

    async def _wait(self, share: Share, disconnect: Disconnect, now: float, call: Call) -> Turn:
        if self._goes_on(share, now):
            raise GoesOn
        if share.slow_until > now and share.not_before - now >= _WAITS_S:
            raise Overloaded(_IS_SLOWED)
        if len(share.waiting) >= _WAITING_EACH or self.waiting >= _WAITING:
            raise Overloaded
        waiter = Waiter(now, call)
        if call.goes_on:
            share.waiting.appendleft(waiter)
        else:
            share.waiting.append(waiter)
        self.waiting += 1
        self.queued[share] = None
        disconnect.when_lost(lambda: self._refuse(share, waiter, Gone()))
        make_room(self, now)
        self._be_watched()
        try:
            return await waiter.place
        except BaseException:
            self._take_out(share, waiter)
            if waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
                # The place was given to us just as we gave up.
                turn = waiter.place.result()
                turn.is_left = True
                del self.running[turn]
                self._give(turn)
                self._let_in(self.now())
            self._forget(share, self.now())
            raise

    def _refuse(self, share: Share, waiter: Waiter, error: FreeholdError) -> None:
        """Raise this error in a waiting call, unless it has got a turn or an error already."""
        if not waiter.place.done():
            waiter.place.set_exception(error)
            self._take_out(share, waiter)

    def _take_out(self, share: Share, waiter: Waiter) -> None:
        if waiter in share.waiting:
            share.waiting.remove(waiter)
            self.waiting -= 1
            if not share.waiting:
                self.queued.pop(share, None)

    def _be_watched(self) -> None:
        if not self.is_watched:
            self.is_watched = True
            self._wake()

    def _free(self, turn: Turn) -> None:
        now = self.now()
        share = turn.share
        self._give(turn)
        took_s = self.worked(now) - turn.began_work
        share.use(took_s, now, was_stopped=turn.stopped is not None)
        if took_s >= LONG_S or turn.stopped is not None:
            if turn.lane or turn.was_quick:
                share.distrust(now)
            self._allow(share, self.cores)
        elif took_s < QUICK_S and share.allowed < _QUICK_EACH and share.used(now) < LIGHT_S:
            self._allow(share, share.allowed + 1)
        if share.unlooked_s >= _LOOKED_AT_S:
            self.unlooked[share] = None
        share.pause(took_s, now)
        if self.waiting:
            self._let_in(now)
        self._forget(share, now)

    def _forget(self, share: Share, now: float) -> None:
        if share.is_forgettable(now):
            self._shares.pop(share.name, None)

    def _forget_idle(self) -> None:
        now = self.now()
        for share in list(self._shares.values()):
            if share.used(now) < FORGOTTEN_S:
                share.unlooked_s = 0.0
                self._forget(share, now)
        self._many = len(self._shares) + _MANY

    def _let_in(self, now: float) -> None:
        """Give the free places to waiting calls, one by one."""
        while self.waiting:
            found = next_in_line(self, now)
            if found is None:
                return
            share, way = found
            waiter = share.waiting[0]
            self._take_out(share, waiter)
            waiter.place.set_result(self._begin(share, now, waiter.call, way))

    def _refuse_overdue(self, now: float) -> None:
        for share in list(self.queued):
            goes_on = self._goes_on(share, now)
            for waiter in list(share.waiting):
                if goes_on:
                    self._refuse(share, waiter, GoesOn())
                elif now - waiter.since >= _WAITS_S:
                    is_slowed = share.slow_until > now or share.suspect_until > now
                    many = "too many requests at once; try again in a moment"
                    self._refuse(share, waiter, Overloaded(_IS_SLOWED if is_slowed else many))

    def _goes_on(self, share: Share, now: float) -> bool:
        """Whether sqld runs a call of this tenant that it cannot interrupt."""
        return bool(share.lingering) and any(
            turn.share is share and now - turn.broken_at > _PATIENCE_S for turn in self.lingering
        )
