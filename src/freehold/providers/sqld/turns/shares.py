"""Each tenant's share of sqld's places, its running and waiting calls, and how long it is slowed."""

import asyncio
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from freehold.errors import FreeholdError

# How a call may begin: with a place, or in a lane beside the places; see `admission`.
Lane = Literal["", "short", "new"]

# Calls that finish this soon cost next to nothing: a tenant who sends such calls may have one more of them at a time
# for each, until one is long. They do not count among the places before they are older than this.
QUICK_S = 0.1
# A call that takes this time is long.
LONG_S = 0.25
# Recent use, including running calls: a light tenant used less, a heavy one more.
LIGHT_S = 0.25
HEAVY_S = 0.4
# Use counts half after this time, and is forgotten once next to nothing is left of it.
_HALF_LIFE_S = 10.0
FORGOTTEN_S = 0.02
# What the next call may take is what those before it took, the latest counting a quarter. A tenant of whom nothing
# is known, or who was not seen for some time, is expected to send a longer one than most.
UNKNOWN_S = 0.6
_LATEST = 0.25
_AT_MOST_S = 1.0
_REMEMBERED_S = 600.0
# A tenant who was let in for short calls, and sent a long one, waits like all others for this time.
_DISTRUSTED_S = 30.0
# How long a tenant is slowed and pauses after a call. Slowed again within that time, both grow, up to the limits.
_SLOW_FOR_S, _SLOW_FOR_MOST_S = 60.0, 3600.0
_SLOW_PAUSE_S, _SLOW_PAUSE_MOST_S = 1.0, 60.0
_STRIKE = 4.0
# For this time the tenants whose calls ran when sqld crashed have one call at a time, all of them together: the next
# crash shows which of them is the cause. It is longer each time, and remembered for as long as the longest.
_SUSPECT_S = 60.0


class Share:
    """One tenant's current and recent share of the places."""

    __slots__ = (
        "_at", "_used_s", "allowed", "answered", "calls", "closed", "crashed_at", "crashes", "expected_s",
        "lingering", "name", "not_before", "running", "seen_at", "slow_until", "strikes", "suspect_until",
        "trusted_from", "unlooked_s", "unstoppable", "waiting",
    )  # fmt: skip

    def __init__(self, name: str, allowed: int) -> None:
        self.name = name
        self.allowed = allowed  # calls at a time
        self.closed: Literal["", "new", "all"] = ""  # "new": only steps of open streams begin; "all": nothing does
        self.running = 0  # including those that linger
        self.lingering = 0
        self.unstoppable = 0  # of the running ones
        self.waiting: deque[Waiter] = deque()
        self.slow_until = -math.inf
        self.strikes = 0
        self.crashes = 0  # of sqld, while calls of this tenant ran
        self.crashed_at = -math.inf
        self.suspect_until = -math.inf
        self.not_before = -math.inf
        self.answered = 0  # statements of calls that succeeded
        self.unlooked_s = 0.0  # used since its log was last checked
        self.calls = 0
        self.expected_s = UNKNOWN_S  # what its next call may take
        self.trusted_from = -math.inf  # before this its calls do not count as short
        self._used_s = 0.0
        self._at = 0.0
        self.seen_at = -math.inf  # when its last call ended

    def used(self, now: float) -> float:
        """Seconds for which it used places; the longer ago, the less they count."""
        if not self._used_s:
            return 0.0
        return self._used_s * math.exp2((self._at - now) / _HALF_LIFE_S)

    def use(self, seconds: float, now: float, *, was_stopped: bool = False) -> None:
        """Count the seconds for which a place was used. A call that had to be stopped would have taken longer."""
        self.seen_at = now
        self.calls += 1
        latest_s = min(seconds, _AT_MOST_S)
        self.expected_s = _AT_MOST_S if was_stopped else self.expected_s + _LATEST * (latest_s - self.expected_s)
        if seconds >= QUICK_S:
            self._used_s = self.used(now) + seconds
            self._at = now
        self.unlooked_s += seconds

    def distrust(self, now: float) -> None:
        """Note that a call that was let in as a short one was long."""
        self.trusted_from = now + _DISTRUSTED_S

    def slow_down(self, now: float) -> None:
        """Allow one call at a time for a while, with pauses and after everyone else.

        The time and the pauses are longer if it is slowed already.
        """
        self.strikes = self.strikes + 1 if self.slow_until > now else 1
        self.slow_until = now + min(_SLOW_FOR_S * _STRIKE ** (self.strikes - 1), _SLOW_FOR_MOST_S)

    def pause(self, took_s: float, now: float) -> None:
        """Begin the pause after a call that took this long, if the tenant is slowed."""
        if self.slow_until > now:
            pause_s = max(_SLOW_PAUSE_S, took_s) * _STRIKE ** (self.strikes - 1)
            self.not_before = now + min(pause_s, _SLOW_PAUSE_MOST_S)

    def suspect(self, now: float) -> None:
        """Note that sqld crashed, perhaps because of this tenant."""
        is_recent = now - self.crashed_at < _SLOW_FOR_MOST_S
        self.crashes = self.crashes + 1 if is_recent else 1
        self.crashed_at = now
        self.suspect_until = now + min(_SUSPECT_S * _STRIKE ** (self.crashes - 1), _SLOW_FOR_MOST_S)

    def is_forgettable(self, now: float) -> bool:
        """Whether nothing would be lost by forgetting it."""
        is_idle = not self.running and not self.waiting and not self.closed and self.slow_until <= now
        if not is_idle or now - self.crashed_at < _SLOW_FOR_MOST_S or now - self.seen_at < _REMEMBERED_S:
            return False
        return self.unlooked_s < FORGOTTEN_S and self.used(now) < FORGOTTEN_S


class Call(NamedTuple):
    """A call to run; see `Turn` and `Turns.enter`."""

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


class Turn:
    """One call's place among those that run. It ends with `leave`, or with `linger` and then `Turns.ended`.

    `statements` is the number of the call's statements, and 0 if their time is watched elsewhere. With `is_program`
    later ones run even if an earlier one was interrupted; with `is_unstoppable` perhaps none can be interrupted.
    `counted` and `moved_at` are for watching progress.
    """

    __slots__ = (
        "abandoned_at", "began", "began_work", "broken_at", "counted", "holds_lock", "is_left", "is_program",
        "is_quick", "is_unstoppable", "lane", "moved_at", "share", "statements", "stopped", "turns", "was_quick",
        "when_stopped",
    )  # fmt: skip

    def __init__(self, turns: "Occupancy", share: Share, call: Call, now: float, *, lane: Lane, is_quick: bool) -> None:
        self.turns = turns
        self.share = share
        self.statements = call.statements
        self.is_program = call.is_program
        self.is_quick = self.was_quick = is_quick  # its tenant's calls are quick, or were when it began
        self.is_unstoppable = call.is_unstoppable
        self.holds_lock = call.holds_lock
        self.began = now
        self.began_work = turns.worked(now)
        self.stopped: FreeholdError | None = None
        self.when_stopped: Callable[[], None] | None = None
        self.abandoned_at: float | None = None
        self.broken_at = 0.0
        self.counted: tuple[int, int] | None = None
        self.lane = lane
        self.moved_at = now
        self.is_left = False

    def stop(self, reason: FreeholdError) -> None:
        """Have the call broken off; its client gets this error."""
        if self.stopped is None and not self.is_left:
            self.stopped = reason
            if self.when_stopped is not None:
                self.when_stopped()

    def abandon(self) -> None:
        """Note that the client is gone."""
        self.abandoned_at = self.turns.now()

    def leave(self) -> None:
        """Note that sqld has ended it. Only the first of `leave` and `linger` counts."""
        if not self.is_left:
            self.is_left = True
            self.share.answered += self.statements
            self.turns.settle(self)

    def linger(self) -> None:
        """Note that it was broken off; whether sqld still works on it is unknown."""
        if not self.is_left:
            self.is_left = True
            self.turns.keep(self)


class Occupancy(ABC):
    """Who has sqld's places and who wants one: `Turns` maintains it, `admission` decides by it."""

    def __init__(self, cores: int, now: Callable[[], float]) -> None:
        self.now = now
        self.cores = cores
        self.limit = cores + 1
        self.unstoppable_limit = max(cores // 2, 1)
        self.held = 0  # places, including those that linger
        self.unstoppable = 0  # places of calls that may be unstoppable
        self.stopped = 0
        self.is_held_up = False  # nothing begins: sqld is about to be restarted
        self.running: dict[Turn, None] = {}  # the longest first
        self.lingering: dict[Turn, None] = {}  # the longest first
        self.queued: dict[Share, None] = {}  # those with a waiting call
        self.suspects: dict[Share, None] = {}  # sqld crashed because of a call of one of them
        self._work_s, self._work_at = 0.0, now()

    def worked(self, now: float) -> float:
        """Seconds that a call would have taken until now if it had begun with us, and had a core for itself.

        If more calls run than there are cores, each works only part of the time: a tenant who does little must not
        seem to do much because others do.
        """
        return self._work_s + (now - self._work_at) * min(1.0, self.cores / max(self.held, 1))

    @abstractmethod
    def settle(self, turn: Turn) -> None:
        """This call is over. For `Turn.leave`."""

    @abstractmethod
    def keep(self, turn: Turn) -> None:
        """This call was broken off. For `Turn.linger`."""

    @abstractmethod
    def broke(self, turn: Turn) -> None:
        """sqld closed this call's connection before it answered."""
