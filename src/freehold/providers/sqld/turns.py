"""Who may run statements on sqld, and how many at once: as many as there are cores, shared fairly between tenants.

sqld runs what it gets, all at once: 32 endless statements of one guest stop everybody. So calls wait here for their
turn. Who used least lately goes first, and one tenant never has all places. A call that was broken off keeps its
place until sqld is known to have ended it (`linger`), and nothing new of that tenant begins meanwhile.

For the event loop's thread. `wake` is called when `tick` should be, some times a second, until `is_busy` is over.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable

from freehold.providers.local.failures import GoesOn, Gone, Overloaded
from freehold.providers.serving import Interest
from freehold.providers.sqld.refusals import QueryTimeout
from freehold.providers.sqld.shares import FORGOTTEN_S, QUICK_S, Share, Waiter
from freehold.providers.sqld.turn import Turn

# A call that has run for so long is long.
_LONG_S = 0.25
# After so long it may be stopped to make room, if its tenant is heavy and one who is light waits. Where many heavy
# ones share the places each used as little as whoever does one small thing after the other, but the calls of these
# are through sooner than that, on a crowded machine, too.
_STOPPED_AFTER_S = 1.0
_QUICK_EACH = 24
_QUICK = 64
_LIGHT_S = 0.5
_HEAVY_S = 1.0
# And whoever is heavy used at least so much of what the heaviest used who has or wants a place.
_HEAVY_SHARE = 0.5
_LOOKED_AT_S = 0.5
_WAITING_EACH = 32
_WAITING = 2000
_WAITS_S = 30.0
# A client that goes away may have asked for something that ends at once: then nothing needs to be broken off.
_GRACE_S = 0.3
_BROKEN = 1000
# What sqld can interrupt it has ended long before.
_PATIENCE_S = 1.0
_IS_SLOWED = (
    "this database has one call at a time, with pauses, for a while: its calls could not be stopped, or the server "
    "ended over them; try again later"
)
_MANY = 1000


class Turns:
    """`cores` statements at once, and one more, so that quick ones need not wait for long ones.

    What may be unstoppable has half as many places as there are cores, and each tenant one of them: it never holds
    all. A `statement_s` is what a single statement may take, `call_s` a call of several.
    """

    def __init__(
        self,
        cores: int,
        statement_s: float,
        *,
        wake: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = cores + 1
        self.statement_s = statement_s
        self.call_s = 6 * statement_s
        self.now = now
        self.is_watched = False
        self.is_held_up = False  # nothing begins: sqld is about to be started again
        self.unstoppable = 0  # places of what may be
        self.held = 0  # places, with those that linger
        self.running: dict[Turn, None] = {}  # the longest first
        self._quick = 0  # of those
        self.lingering: dict[Turn, None] = {}  # the longest first
        self.waiting = 0
        self.stuck_since: float | None = (
            None  # since when broken off calls hold as many places as there are cores
        )
        self.stopped = 0
        self.broken: deque[tuple[float, str]] = deque(
            maxlen=_BROKEN
        )  # when, and whose; until it is known why
        self._suspects: dict[Share, None] = {}
        self.unlooked: dict[Share, None] = {}  # those who used so much that what they wrote is worth a look
        self._cores = cores
        self._unstoppable = max(cores // 2, 1)
        self._wake = wake
        self._shares: dict[str, Share] = {}
        self._queued: dict[Share, None] = {}  # those with somebody who waits

    @property
    def is_busy(self) -> bool:
        """Whether `tick` has anything to look after."""
        return bool(self.held or self.waiting or self.broken)

    @property
    def slowed(self) -> int:
        """How many tenants are slowed."""
        now = self.now()
        return sum(share.slow_until > now for share in self._shares.values())

    def is_quiet(self, database_name: str) -> bool:
        """Whether nothing of this tenant runs or waits."""
        share = self._shares.get(database_name)
        return share is None or not (share.running or share.waiting)

    def share_of(self, database_name: str) -> Share | None:
        """What is known of a tenant, if anything."""
        return self._shares.get(database_name)

    async def enter(
        self,
        database_name: str,
        interest: Interest,
        statements: int = 1,
        *,
        is_program: bool = False,
        is_unstoppable: bool = False,
        goes_on: bool = False,
    ) -> Turn:
        """A turn, as soon as there is one. `goes_on`: the next step of a stream, which may hold what others wait for.

        Raises:
            Overloaded: too many wait, or it waited for too long.
            Gone: the client went away meanwhile.
        """
        share = self._shares.get(database_name)
        if share is None:
            share = self._shares[database_name] = Share(database_name, self._cores)
            if len(self._shares) % _MANY == 0:
                self._forget_idle()
        now = self.now()
        if not share.waiting and self._may_begin(share, now, goes_on=goes_on, is_unstoppable=is_unstoppable):
            self._take(share, is_unstoppable=is_unstoppable)
        else:
            waiter = Waiter(now, goes_on=goes_on, is_unstoppable=is_unstoppable)
            await self._wait(share, interest, now, waiter)
            now = self.now()
        turn = Turn(self, share, statements, now, is_program=is_program, is_unstoppable=is_unstoppable)
        self.running[turn] = None
        if share.allowed > self._cores:
            turn.is_quick = True
            self._quick += 1
        self._be_watched()
        return turn

    def settle(self, turn: Turn) -> None:
        """This call is over. For `Turn.leave`."""
        self._remove(turn)
        self._free(turn)

    def keep(self, turn: Turn) -> None:
        """This call was broken off. For `Turn.linger`."""
        self._remove(turn)
        self.lingering[turn] = None
        turn.broken_at = self.now()
        turn.share.lingering += 1
        if self.stuck_since is None and self._is_stuck():
            self.stuck_since = turn.broken_at

    def ended(self, turn: Turn) -> None:
        """sqld has ended what was broken off."""
        del self.lingering[turn]
        turn.share.lingering -= 1
        if not self._is_stuck():
            self.stuck_since = None
        self._free(turn)

    def slow_down(self, share: Share) -> None:
        """For a while this tenant has one call at a time, see `Share`."""
        share.slow_down(self.now())

    def broke(self, turn: Turn) -> None:
        """sqld closed this call's connection before it answered."""
        self.broken.append((self.now(), turn.share.name))
        self._be_watched()

    def suspect(self, names: Iterable[str]) -> list[str]:
        """sqld crashed while calls of these ran. Gives whom that makes suspect.

        If one of them was suspect already, it is held to be that one, and is slowed, too.
        """
        now = self.now()
        shares = [self._shares.setdefault(name, Share(name, self._cores)) for name in names]
        known = [share for share in shares if share.suspect_until > now]
        for share in known:
            self.slow_down(share)
        for share in known or shares:
            share.suspect(now)
            self._suspects[share] = None
        return [share.name for share in known or shares]

    def close(self, database_name: str) -> Share:
        """Nothing new of this tenant begins until `reopen`."""
        share = self._shares.setdefault(database_name, Share(database_name, self._cores))
        share.closed = "new"
        return share

    def reopen(self, share: Share) -> None:
        """End `close`."""
        share.closed = ""
        now = self.now()
        self._let_in(now)
        self._forget(share, now)

    def overtime(self, turn: Turn, what: str, limit_s: float) -> None:
        """Stop a call whose time is over."""
        self.stopped += 1
        turn.stop(
            QueryTimeout(
                f"the {what} was stopped: it ran longer than {limit_s:g} s; see what it did before you repeat it"
            )
        )

    def tick(self) -> None:
        """Stop what has had its time, let in who may go now, make room for those who wait."""
        now = self.now()
        for turn in list(self.running):
            if turn.stopped is not None:
                continue
            if turn.abandoned_at is not None and now - turn.abandoned_at >= _GRACE_S:
                turn.stop(Gone("the client went away"))
            elif turn.statements == 1 and now - turn.began >= self.statement_s:
                self.overtime(turn, "statement", self.statement_s)
            elif now - turn.began >= self.call_s:
                self.overtime(turn, "call", self.call_s)
        if self.waiting:
            self._refuse_overdue(now)
            self._let_in(now)
            self._make_room(now)
            self._make_room_for_unstoppable(now)

    # Inside ------------------------------------------------------------------------------------------

    def _is_stuck(self) -> bool:
        """Whether broken off calls hold as many places as there are cores, or all that they may be unstoppable in."""
        if len(self.lingering) >= self._cores:
            return True
        return sum(turn.is_unstoppable for turn in self.lingering) >= self._unstoppable

    def _take(self, share: Share, *, is_unstoppable: bool) -> None:
        share.running += 1
        self.held += 1
        share.unstoppable += is_unstoppable
        self.unstoppable += is_unstoppable

    def _give(self, share: Share, *, is_unstoppable: bool) -> None:
        share.running -= 1
        self.held -= 1
        share.unstoppable -= is_unstoppable
        self.unstoppable -= is_unstoppable

    def _may_begin(
        self, share: Share, now: float, *, goes_on: bool, is_unstoppable: bool, more: int = 0
    ) -> bool:
        if (
            (is_unstoppable and (share.unstoppable or self.unstoppable >= self._unstoppable))
            or self.is_held_up
            or share.lingering
            or share.closed == "all"
            or (share.closed == "new" and not goes_on)
        ):
            return False
        if self._suspects and not self._may_be_seen(share, now, goes_on=goes_on):
            return False
        if share.slow_until > now:
            is_time = not share.running and now >= share.not_before
            return is_time and self._counted(now) < self.limit - 1 + more
        places = self.limit + goes_on + more
        if share.running >= share.allowed + goes_on or self.held >= _QUICK:
            return False
        if self.held < places - 1:
            return True
        # The last one is for those who used little.
        counted = self._counted(now)
        return counted < places - 1 or (counted < places and self._use_of(share, now) < _HEAVY_S)

    def _may_be_seen(self, share: Share, now: float, *, goes_on: bool) -> bool:
        """Whether no call of a suspect runs, if this is one. What goes on may hold what its own tenant waits for."""
        if share.suspect_until <= now:
            if share in self._suspects:
                del self._suspects[share]
            return True
        return not any(
            each.running and (each is not share or not goes_on) and each.suspect_until > now
            for each in self._suspects
        )

    def _counted(self, now: float) -> int:
        """Places that are taken by what is not known to be quick."""
        count = self.held - self._quick
        for turn in self.running:
            if now - turn.began < QUICK_S:
                break
            count += turn.is_quick
        return count

    def _allow(self, share: Share, allowed: int) -> None:
        """So many calls at once; what runs counts by it from now on."""
        is_quick, was_quick = allowed > self._cores, share.allowed > self._cores
        share.allowed = allowed
        if is_quick != was_quick:
            for turn in self.running:
                if turn.share is share:
                    turn.is_quick = is_quick
                    self._quick += 1 if is_quick else -1

    def _remove(self, turn: Turn) -> None:
        del self.running[turn]
        self._quick -= turn.is_quick

    async def _wait(self, share: Share, interest: Interest, now: float, waiter: Waiter) -> None:
        if self._goes_on(share, now):
            raise GoesOn
        if share.slow_until > now and share.not_before - now >= _WAITS_S:
            raise Overloaded(_IS_SLOWED)
        if len(share.waiting) >= _WAITING_EACH or self.waiting >= _WAITING:
            raise Overloaded("too many requests at once; try again in a moment")
        if waiter.goes_on:
            share.waiting.appendleft(waiter)
        else:
            share.waiting.append(waiter)
        self.waiting += 1
        self._queued[share] = None
        interest.when_lost(lambda: waiter.fail(Gone("the client went away")))
        self._make_room(now)
        self._be_watched()
        try:
            await waiter.place
        except BaseException:
            with contextlib.suppress(ValueError):
                share.waiting.remove(waiter)
                self.waiting -= 1
                self._unqueue(share)
            if waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
                # The place was given to us in the very moment that we gave up.
                self._give(share, is_unstoppable=waiter.is_unstoppable)
                self._let_in(self.now())
            self._forget(share, self.now())
            raise

    def _unqueue(self, share: Share) -> None:
        if not share.waiting:
            self._queued.pop(share, None)

    def _be_watched(self) -> None:
        if not self.is_watched:
            self.is_watched = True
            self._wake()

    def _free(self, turn: Turn) -> None:
        now = self.now()
        share = turn.share
        self._give(share, is_unstoppable=turn.is_unstoppable)
        took_s = now - turn.began
        share.use(took_s, now)
        if took_s >= _LONG_S or turn.stopped is not None:
            self._allow(share, self._cores)
        elif took_s < QUICK_S and share.allowed < _QUICK_EACH:
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

    def _let_in(self, now: float) -> None:
        """Give the places that are free to those who wait, one by one."""
        while self.waiting:
            share = self._next(now)
            if share is None:
                return
            waiter = share.waiting.popleft()
            self.waiting -= 1
            self._unqueue(share)
            if not waiter.place.done():
                self._take(share, is_unstoppable=waiter.is_unstoppable)
                waiter.place.set_result(None)

    def _next(self, now: float, *, more: int = 0) -> Share | None:
        """Whose turn it is, if anybody's; or would be with so many places `more`."""
        able = [share for share in self._queued if share.waiting and self._may_go(share, now, more)]
        return min(able, key=lambda share: self._rank(share, now), default=None)

    def _may_go(self, share: Share, now: float, more: int) -> bool:
        """Whether the first of its calls that wait may begin."""
        first = share.waiting[0]
        return self._may_begin(
            share, now, goes_on=first.goes_on, is_unstoppable=first.is_unstoppable, more=more
        )

    def _rank(self, share: Share, now: float) -> tuple[bool, float, float]:
        return (share.slow_until > now, self._use_of(share, now), share.waiting[0].since)

    def _use_of(self, share: Share, now: float) -> float:
        """With what it is using now."""
        held = (turn for turn in (*self.running, *self.lingering) if turn.share is share)
        return share.used(now) + sum(now - turn.began for turn in held)

    def _make_room(self, now: float) -> None:
        """Where only long calls hold the places and somebody light waits, the heaviest give way."""
        counted = self._counted(now)
        if counted < self.limit or any(turn.stopped is not None for turn in self.running):
            return
        excess = counted - self.limit + 1
        waits = self._next(now, more=excess)
        if waits is None or waits.slow_until > now or self._use_of(waits, now) >= _LIGHT_S:
            return
        long = [turn for turn in self.running if now - turn.began >= _STOPPED_AFTER_S]
        if len(long) + len(self.lingering) < counted:
            return  # the others are through in no time, or long in no time
        long.sort(key=lambda turn: (-self._use_of(turn.share, now), turn.began))
        # On a crowded machine everybody's calls take long: beside those who use much, few are heavy.
        others = {*self._queued, *(turn.share for turn in (*self.running, *self.lingering))}
        heavy_s = max(_HEAVY_S, _HEAVY_SHARE * max(self._use_of(each, now) for each in others))
        for turn in long[:excess]:
            if turn.share is not waits and self._use_of(turn.share, now) >= heavy_s:
                self.stopped += 1
                turn.stop(Overloaded("the call was stopped to make room for others; try again in a moment"))

    def _make_room_for_unstoppable(self, now: float) -> None:
        """The same where what may be unstoppable has taken all the places that it has."""
        if self.unstoppable < self._unstoppable:
            return
        waiting = [
            share
            for share in self._queued
            if share.waiting[0].is_unstoppable
            and not share.unstoppable
            and self._use_of(share, now) < _LIGHT_S
            and share.slow_until <= now
        ]
        running = [turn for turn in self.running if turn.is_unstoppable]
        if not waiting or any(turn.stopped is not None for turn in running):
            return
        for turn in running:
            if now - turn.began >= _LONG_S and self._use_of(turn.share, now) >= _HEAVY_S:
                self.stopped += 1
                turn.stop(Overloaded("the call was stopped to make room for others; try again in a moment"))
                return

    def _refuse_overdue(self, now: float) -> None:
        for share in self._queued:
            goes_on = self._goes_on(share, now)
            for waiter in share.waiting:
                if goes_on:
                    waiter.fail(GoesOn())
                elif now - waiter.since >= _WAITS_S:
                    is_slowed = share.slow_until > now or share.suspect_until > now
                    many = "too many requests at once; try again in a moment"
                    waiter.fail(Overloaded(_IS_SLOWED if is_slowed else many))

    def _goes_on(self, share: Share, now: float) -> bool:
        """Whether sqld is at a call of this tenant that it cannot interrupt."""
        return bool(share.lingering) and any(
            turn.share is share and now - turn.broken_at > _PATIENCE_S for turn in self.lingering
        )
