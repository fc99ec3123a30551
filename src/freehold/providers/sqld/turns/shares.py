"""What each tenant has of sqld's places, who waits for one or needs none, and how long somebody is slowed."""

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from freehold.providers.sqld.turns.turn import Turn
    from freehold.providers.sqld.turns.turns import Turns

# Calls that are through so soon cost next to nothing: a tenant whose calls are has more of them at once, one more for
# each, until one is long. Those do not count among the places before they are older than this.
QUICK_S = 0.1
# A call that takes this time is long.
LONG_S = 0.25
# Of late, with what runs: a light tenant used less, a heavy one more.
LIGHT_S = 0.25
HEAVY_S = 0.4
# What was used counts half after this time, and is forgotten when next to nothing is left of it.
_HALF_LIFE_S = 10.0
FORGOTTEN_S = 0.02
# What the next call may take is what those before it took, the latest counting a quarter. A tenant of whom nothing
# is known, or who was not seen for some time, is expected to send a longer one than most.
UNKNOWN_S = 0.6
_LATEST = 0.25
_AT_MOST_S = 1.0
_REMEMBERED_S = 600.0
# A tenant who was let in for calls that are short, and sent a long one, waits as all others do for this time.
_DISTRUSTED_S = 30.0
# Each time that a tenant is slowed, within the time that it was: so much more, up to so much.
_SLOW_FOR_S, _SLOW_FOR_MOST_S = 60.0, 3600.0
_SLOW_PAUSE_S, _SLOW_PAUSE_MOST_S = 1.0, 60.0
_STRIKE = 4.0
# For so long those whose calls ran when sqld crashed have one call at a time, all of them together: the next crash
# tells which of them it is. Longer each time, and remembered for as long as the longest.
_SUSPECT_S = 60.0


class Share:
    """What one tenant has of the places, and had lately."""

    __slots__ = (
        "_at", "_used_s", "allowed", "answered", "calls", "closed", "crashed_at", "crashes", "expected_s",
        "lingering", "name", "not_before", "running", "seen_at", "slow_until", "strikes", "suspect_until",
        "trusted_from", "unlooked_s", "unstoppable", "waiting",
    )  # fmt: skip

    def __init__(self, name: str, allowed: int) -> None:
        self.name = name
        self.allowed = allowed  # calls at once
        self.closed: Literal["", "new", "all"] = (
            ""  # "new": only steps of open streams begin; "all": nothing does
        )
        self.running = 0  # with those that linger
        self.lingering = 0
        self.unstoppable = 0  # of those that run
        self.waiting: deque[Waiter] = deque()
        self.slow_until = -math.inf
        self.strikes = 0
        self.crashes = 0  # of sqld, while calls of this one ran
        self.crashed_at = -math.inf
        self.suspect_until = -math.inf
        self.not_before = -math.inf
        self.answered = 0  # statements of calls that ended well
        self.unlooked_s = 0.0  # used since somebody looked at what it wrote
        self.calls = 0
        self.expected_s = UNKNOWN_S  # what its next call may take
        self.trusted_from = -math.inf  # that this one will be short
        self._used_s = 0.0
        self._at = 0.0
        self.seen_at = -math.inf  # when its last call ended

    def used(self, now: float) -> float:
        """Seconds of places that it used, the longer ago the less they count."""
        if not self._used_s:
            return 0.0
        return self._used_s * math.exp2((self._at - now) / _HALF_LIFE_S)

    def use(self, seconds: float, now: float, *, was_stopped: bool = False) -> None:
        """A place was used for so long. What had to be stopped would have taken longer."""
        self.seen_at = now
        self.calls += 1
        latest_s = min(seconds, _AT_MOST_S)
        self.expected_s = (
            _AT_MOST_S if was_stopped else self.expected_s + _LATEST * (latest_s - self.expected_s)
        )
        if seconds >= QUICK_S:
            self._used_s = self.used(now) + seconds
            self._at = now
        self.unlooked_s += seconds

    def distrust(self, now: float) -> None:
        """A call that was let in as a short one was long."""
        self.trusted_from = now + _DISTRUSTED_S

    def slow_down(self, now: float) -> None:
        """For a while one call at a time, with pauses, and everybody else goes first.

        Longer, and with longer pauses, when it is slowed already.
        """
        self.strikes = self.strikes + 1 if self.slow_until > now else 1
        self.slow_until = now + min(_SLOW_FOR_S * _STRIKE ** (self.strikes - 1), _SLOW_FOR_MOST_S)

    def pause(self, took_s: float, now: float) -> None:
        """After a call that took so long, if it is slowed."""
        if self.slow_until > now:
            pause_s = max(_SLOW_PAUSE_S, took_s) * _STRIKE ** (self.strikes - 1)
            self.not_before = now + min(pause_s, _SLOW_PAUSE_MOST_S)

    def suspect(self, now: float) -> None:
        """sqld crashed, perhaps over this one."""
        is_recent = now - self.crashed_at < _SLOW_FOR_MOST_S
        self.crashes = self.crashes + 1 if is_recent else 1
        self.crashed_at = now
        self.suspect_until = now + min(_SUSPECT_S * _STRIKE ** (self.crashes - 1), _SLOW_FOR_MOST_S)

    def is_forgettable(self, now: float) -> bool:
        """Whether nothing would be lost without it."""
        is_idle = not self.running and not self.waiting and not self.closed and self.slow_until <= now
        if not is_idle or now - self.crashed_at < _SLOW_FOR_MOST_S or now - self.seen_at < _REMEMBERED_S:
            return False
        return self.unlooked_s < FORGOTTEN_S and self.used(now) < FORGOTTEN_S


class Call(NamedTuple):
    """What is to run; see `Turn` and `Turns.enter`."""

    statements: int
    is_program: bool
    is_unstoppable: bool
    goes_on: bool
    holds_lock: bool


class Waiter:
    """One call that waits for its turn."""

    __slots__ = ("call", "place", "since")

    def __init__(self, now: float, call: Call) -> None:
        self.call = call
        self.since = now
        self.place: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()


# Which tenants need not wait for a place on sqld: those whose calls were short, and those of whom nothing is known.
#
# A tenant who does a little now and then would wait for long calls of others for seconds, although that little
# hardly adds to what sqld does. Each such tenant may have one call beside all that hold places; as soon as that is
# long, it counts as all others do, and the tenant's next ones wait.

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
