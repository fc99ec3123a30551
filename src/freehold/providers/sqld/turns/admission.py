"""Which calls may begin on sqld now, whose goes first, and which are stopped so that others may begin.

Some tenants need no place: those whose calls were short, and those of whom nothing is known. A tenant who occasionally
does a little would wait for seconds behind long calls of others, although that hardly adds to sqld's load. Each such
tenant may have one call beside all that hold places; once that is long, it counts like any other, and the tenant's
next calls wait.
"""

from typing import NamedTuple

from freehold.providers.failures import Overloaded
from freehold.providers.sqld.turns.shares import (
    HEAVY_S,
    LIGHT_S,
    LONG_S,
    QUICK_S,
    UNKNOWN_S,
    Call,
    Lane,
    Occupancy,
    Share,
    Turn,
)

# How many of each may run at a time, and how many calls in total beyond the places.
LANES: dict[Lane, int] = {"short": 6, "new": 1}
_BESIDE = 9
# A tenant whose recent calls took less than this mostly sends short ones.
_SHORT_S = 0.25
# A tenant counts as new for its first calls, if none of them is long.
_NEW_CALLS = 4


class Taken(NamedTuple):
    """The number of places taken by calls not known to be quick, and the number of calls in each lane."""

    places: int
    lanes: dict[Lane, int]


def taken(turns: Occupancy, now: float) -> Taken:
    """What is taken now. A call in a lane that has turned out to be long takes a place instead."""
    lanes = dict.fromkeys(LANES, 0)
    quick = 0
    since = turns.worked(now) - LONG_S
    for turn in turns.running:
        if turn.lane:
            lanes[turn.lane] += turn.began_work > since
        else:
            quick += turn.is_quick and now - turn.began < QUICK_S
    return Taken(turns.held - quick - sum(lanes.values()), lanes)


def free_lane(turns: Occupancy, share: Share, now: float, in_use: Taken) -> Lane:
    """The lane in which this tenant's next call may begin without a place, if there is one."""
    if share.running or turns.held >= turns.limit + _BESIDE:
        return ""
    lane = _lane_of(share, now)
    return lane if lane and in_use.lanes[lane] < LANES[lane] else ""


def _lane_of(share: Share, now: float) -> Lane:
    """The lane for this tenant, if there is one."""
    if now < share.trusted_from:
        return ""
    if share.expected_s < _SHORT_S:
        return "short"
    is_new = share.calls < _NEW_CALLS and share.expected_s <= UNKNOWN_S and share.used(now) < LIGHT_S
    return "new" if is_new else ""


_QUICK = 32
# Seconds of use that are forgiven for each second of waiting.
_FORGIVEN = 0.05


def way_in(
    turns: Occupancy, share: Share, now: float, call: Call, *, more: int = 0, in_use: Taken | None = None
) -> Lane | None:
    """How it may begin, with a place or in which lane beside them; None if it has to wait."""
    if (
        (call.is_unstoppable and (share.unstoppable or turns.unstoppable >= turns.unstoppable_limit))
        or turns.is_held_up
        or share.lingering
        or share.closed == "all"
        or (share.closed == "new" and not call.goes_on)
    ):
        return None
    if turns.suspects and not _may_be_seen(turns, share, now, goes_on=call.goes_on):
        return None
    if share.slow_until > now:
        is_time = not share.running and now >= share.not_before
        return "" if is_time and (in_use or taken(turns, now)).places < turns.limit - 1 + more else None
    places = turns.limit + call.goes_on + more
    has_room = share.running < share.allowed + call.goes_on and turns.held < _QUICK
    if has_room and turns.held < places - 1:
        return ""
    in_use = in_use or taken(turns, now)
    # The last place is for tenants who used little.
    if has_room and (in_use.places < places - 1 or (in_use.places < places and weight_of(turns, share, now) < HEAVY_S)):
        return ""
    lane = free_lane(turns, share, now, in_use)
    return lane if lane or (call.holds_lock and _may_let_go(turns, share, now)) else None


def next_in_line(turns: Occupancy, now: float, *, more: int = 0) -> tuple[Share, Lane] | None:
    """Whose turn it is, if anyone's, and in which lane the first of its waiting calls may begin; or whose it would be
    with `more` places."""
    in_use = taken(turns, now)
    able: list[tuple[Share, Lane]] = []
    for share in turns.queued:
        first = share.waiting[0]
        if first.place.done():
            continue  # it was cancelled, and will soon remove itself
        way = way_in(turns, share, now, first.call, more=more, in_use=in_use)
        if way is not None:
            able.append((share, way))
    return min(able, key=lambda each: _rank(turns, each[0], now), default=None)


def weight_of(turns: Occupancy, share: Share, now: float) -> float:
    """The weight of a tenant: what it used, which is forgiven gradually while it waits.

    Otherwise some hundred tenants who take turns at having used nothing recently would always go before everyone else.
    """
    waited_s = now - max(share.waiting[0].since, share.seen_at) if share.waiting else 0.0
    return use_of(turns, share, now) - _FORGIVEN * waited_s


def use_of(turns: Occupancy, share: Share, now: float) -> float:
    """What a tenant used, with what it is using now."""
    if not share.running:
        return share.used(now)
    held = (turn for turn in (*turns.running, *turns.lingering) if turn.share is share)
    return share.used(now) + sum(turns.worked(now) - turn.began_work for turn in held)


def _rank(turns: Occupancy, share: Share, now: float) -> tuple[bool, float, float]:
    return (share.slow_until > now, weight_of(turns, share, now), share.waiting[0].since)


def _may_let_go(turns: Occupancy, share: Share, now: float) -> bool:
    """Whether a call that may hold a lock for which its tenant's other calls wait may begin beside those: one per
    tenant, and as many long ones as there are cores."""
    if not share.running or turns.held >= _QUICK:
        return False
    holding = [turn for turn in turns.running if turn.holds_lock]
    long = sum(now - turn.began >= QUICK_S for turn in holding)
    return long < turns.cores and all(turn.share is not share for turn in holding)


def _may_be_seen(turns: Occupancy, share: Share, now: float, *, goes_on: bool) -> bool:
    """Whether no suspect's call runs, if this is one. A call that continues a stream may hold its tenant's lock."""
    if share.suspect_until <= now:
        if share in turns.suspects:
            del turns.suspects[share]
        return True
    return not any(
        each.running and (each is not share or not goes_on) and each.suspect_until > now for each in turns.suspects
    )


# Which calls are stopped so that others may begin.

# A call may be stopped to make room after this time, if its tenant is heavy and a light one waits. If many heavy
# tenants share the places, each used as little as one who does one small thing after another; but that one's calls
# finish sooner than this, even on a crowded machine.
_STOPPED_AFTER_S = 1.0
# A heavy tenant used at least this part of what the heaviest one that has or wants a place used.
_HEAVY_SHARE = 0.5


def make_room(turns: Occupancy, now: float) -> None:
    """If only long calls hold the places and a light tenant waits, stop calls of the heaviest."""
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
    # A tenant that keeps sending calls that are not yet long must not protect those that are.
    has_waited = now - waits.waiting[0].since >= _STOPPED_AFTER_S
    if len(long) + len(turns.lingering) < counted and not has_waited:
        return  # the others will soon be finished, or long
    long.sort(key=lambda turn: (-use_of(turns, turn.share, now), turn.began))
    # On a crowded machine everyone's calls take long: compared with those who use much, few are heavy.
    others = {*turns.queued, *(turn.share for turn in (*turns.running, *turns.lingering))}
    heavy_s = max(HEAVY_S, _HEAVY_SHARE * max(use_of(turns, each, now) for each in others))
    for turn in long[:excess]:
        if turn.share is not waits and (_is_not_quick(turns, turn, now) or use_of(turns, turn.share, now) >= heavy_s):
            _stop(turns, turn)


def make_room_for_unstoppable(turns: Occupancy, now: float) -> None:
    """The same if calls that may be unstoppable hold all the places open to them."""
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


def _is_long(turns: Occupancy, turn: Turn, now: float) -> bool:
    """Whether a call counts as long. A tenant let in more often than others, because its calls had been quick, soon
    loses that; one whose calls are short does not while many run at a time."""
    if turn.lane and turns.worked(now) - turn.began_work < LONG_S:
        return False
    return now - turn.began >= (LONG_S if turn.share.running > turns.cores else _STOPPED_AFTER_S)


def _is_not_quick(turns: Occupancy, turn: Turn, now: float) -> bool:
    """Whether it was let in beyond the places for being quick, but is not.

    If there are many at a time, each works so little that none of their tenants is heavy before its time is over.
    """
    return turn.was_quick and turns.worked(now) - turn.began_work >= QUICK_S


def _stop(turns: Occupancy, turn: Turn) -> None:
    turns.stopped += 1
    turn.stop(Overloaded("the call was stopped to make room for others; try again in a moment"))
