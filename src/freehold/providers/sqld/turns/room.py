"""Which calls on sqld are stopped so that others may begin."""

from typing import TYPE_CHECKING

from freehold.providers.failures import Overloaded
from freehold.providers.sqld.turns.admission import next_in_line, use_of, weight_of
from freehold.providers.sqld.turns.lanes import taken
from freehold.providers.sqld.turns.shares import HEAVY_S, LIGHT_S, LONG_S, QUICK_S
from freehold.providers.sqld.turns.turn import Turn

if TYPE_CHECKING:
    from freehold.providers.sqld.turns.turns import Turns

# A call may be stopped to make room after this time, if its tenant is heavy and a light one waits. Where many heavy
# ones share the places, each used as little as a tenant who does one small thing after the other; but the calls of
# that one are through sooner than this, on a crowded machine, too.
_STOPPED_AFTER_S = 1.0
# And a heavy tenant used at least this part of what the heaviest one used that has or wants a place.
_HEAVY_SHARE = 0.5


def make_room(turns: "Turns", now: float) -> None:
    """Where only long calls hold the places and somebody light waits, the heaviest give way."""
    counted = taken(turns, now).places
    if counted < turns.limit or any(turn.stopped is not None for turn in turns.running):
        return
    long = [turn for turn in turns.running if _is_long(turns, turn, now)]
    if not long:
        return
    excess = counted - turns.limit + 1
    found = next_in_line(turns, now, more=excess)
    if found is None:
        return
    waits, _ = found
    if waits.slow_until > now or weight_of(turns, waits, now) >= LIGHT_S:
        return
    # Whoever sends one that is not yet long again and again must not keep those that are.
    has_waited = now - waits.waiting[0].since >= _STOPPED_AFTER_S
    if len(long) + len(turns.lingering) < counted and not has_waited:
        return  # the others are through in no time, or long in no time
    long.sort(key=lambda turn: (-use_of(turns, turn.share, now), turn.began))
    # On a crowded machine everybody's calls take long: beside those who use much, few are heavy.
    others = {*turns.queued, *(turn.share for turn in (*turns.running, *turns.lingering))}
    heavy_s = max(HEAVY_S, _HEAVY_SHARE * max(use_of(turns, each, now) for each in others))
    for turn in long[:excess]:
        if turn.share is not waits and (
            _is_not_quick(turns, turn, now) or use_of(turns, turn.share, now) >= heavy_s
        ):
            _stop(turns, turn)


def make_room_for_unstoppable(turns: "Turns", now: float) -> None:
    """The same where what may be unstoppable has taken all the places that it has."""
    if turns.unstoppable < turns.unstoppable_limit:
        return
    waiting = [
        share
        for share in turns.queued
        if share.waiting[0].call.is_unstoppable
        and not share.unstoppable
        and use_of(turns, share, now) < LIGHT_S
        and share.slow_until <= now
    ]
    running = [turn for turn in turns.running if turn.is_unstoppable]
    if not waiting or any(turn.stopped is not None for turn in running):
        return
    for turn in running:
        if now - turn.began >= LONG_S and use_of(turns, turn.share, now) >= HEAVY_S:
            _stop(turns, turn)
            return


def _is_long(turns: "Turns", turn: Turn, now: float) -> bool:
    """Whoever was let in more often than others, because all had been quick, gives that back soon; whose calls are
    short does not while many run at once."""
    if turn.lane and turns.worked(now) - turn.began_work < LONG_S:
        return False
    return now - turn.began >= (LONG_S if turn.share.running > turns.cores else _STOPPED_AFTER_S)


def _is_not_quick(turns: "Turns", turn: Turn, now: float) -> bool:
    """Whether it was let in beyond the places for being quick, and is not.

    Where many are at once, each works so little of the time that none of their tenants is heavy before its time is
    over.
    """
    return turn.was_quick and turns.worked(now) - turn.began_work >= QUICK_S


def _stop(turns: "Turns", turn: Turn) -> None:
    turns.stopped += 1
    turn.stop(Overloaded("the call was stopped to make room for others; try again in a moment"))
