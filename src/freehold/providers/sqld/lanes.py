"""Who need not wait for a place on sqld: a tenant whose calls were short, and one of whom nothing is known yet.

Whoever does a little now and then would stand behind long calls of others for seconds, although they hardly add to
what sqld does. Each such tenant may have one call beside all that hold places; as soon as that is long, it counts as
all others do, and the tenant's next ones wait.
"""

from typing import TYPE_CHECKING, Literal

from freehold.providers.sqld.shares import LIGHT_S, LONG_S, Share

if TYPE_CHECKING:
    from freehold.providers.sqld.turns import Turns

Lane = Literal["", "short", "new"]

# How many of each may run at once, and how many calls in all beyond the places.
LANES: dict[Lane, int] = {"short": 6, "new": 1}
_BESIDE = 9
# A tenant whose calls took less than this of late mostly sends short ones.
_SHORT_S = 0.25
# A tenant counts as new for its first calls.
_NEW_CALLS = 4


def has_lane(turns: "Turns", share: Share, now: float) -> bool:
    """Whether this tenant's next call may begin without a place."""
    if share.running or turns.held >= turns.limit + _BESIDE:
        return False
    lane = lane_of(share, now)
    return lane != "" and in_lane(turns, lane, now) < LANES[lane]


def lane_of(share: Share, now: float) -> Lane:
    """The lane that is for this tenant, if any is."""
    if share.expected_s < _SHORT_S:
        return "short"
    return "new" if share.calls < _NEW_CALLS and share.used(now) < LIGHT_S else ""


def in_lane(turns: "Turns", lane: Lane, now: float) -> int:
    """How many calls are in it; those that turned out to be long are not."""
    since = turns.worked(now) - LONG_S
    return sum(turn.lane == lane and turn.began_work > since for turn in turns.running)
