"""Which tenants need not wait for a place on sqld: those whose calls were short, and those of whom nothing is known.

A tenant who does a little now and then would wait for long calls of others for seconds, although that little hardly
adds to what sqld does. Each such tenant may have one call beside all that hold places; as soon as that is long, it
counts as all others do, and the tenant's next ones wait.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

from freehold.providers.sqld.turns.shares import LIGHT_S, LONG_S, QUICK_S, UNKNOWN_S, Share

if TYPE_CHECKING:
    from freehold.providers.sqld.turns.turns import Turns

Lane = Literal["", "short", "new"]

# How many of each may run at once, and how many calls in all beyond the places.
LANES: dict[Lane, int] = {"short": 6, "new": 1}
_BESIDE = 9
# A tenant whose calls took less than this of late mostly sends short ones.
_SHORT_S = 0.25
# A tenant counts as new for its first calls, if none of them is long.
_NEW_CALLS = 4


class Taken(NamedTuple):
    """How many places are taken by what is not known to be quick, and how many calls are in each lane."""

    places: int
    lanes: dict[Lane, int]


def taken(turns: "Turns", now: float) -> Taken:
    """What is taken now. A call that was let into a lane and turned out to be long takes a place instead."""
    lanes = dict.fromkeys(LANES, 0)
    quick = 0
    since = turns.worked(now) - LONG_S
    for turn in turns.running:
        if turn.lane:
            lanes[turn.lane] += turn.began_work > since
        else:
            quick += turn.is_quick and now - turn.began < QUICK_S
    return Taken(turns.held - quick - sum(lanes.values()), lanes)


def free_lane(turns: "Turns", share: Share, now: float, in_use: Taken) -> Lane:
    """The lane in which this tenant's next call may begin without a place, if there is one."""
    if share.running or turns.held >= turns.limit + _BESIDE:
        return ""
    lane = _lane_of(share, now)
    return lane if lane and in_use.lanes[lane] < LANES[lane] else ""


def _lane_of(share: Share, now: float) -> Lane:
    """The lane that is for this tenant, if any is."""
    if now < share.trusted_from:
        return ""
    if share.expected_s < _SHORT_S:
        return "short"
    is_new = share.calls < _NEW_CALLS and share.expected_s <= UNKNOWN_S and share.used(now) < LIGHT_S
    return "new" if is_new else ""
