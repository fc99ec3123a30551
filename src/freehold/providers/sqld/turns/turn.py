"""One call's place among those that run on sqld."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from freehold.errors import FreeholdError
from freehold.providers.sqld.turns.shares import Call, Lane, Share

if TYPE_CHECKING:
    from freehold.providers.sqld.turns.turns import Turns


class Turn:
    """One call's place among those that run. It ends with `leave`, or with `linger` and then `Turns.ended`.

    `statements` is how many the call has, and 0 when their time is somebody else's to watch. With `is_program` the
    later ones run even if an earlier one was interrupted; of what `is_unstoppable`, perhaps nothing can be. `counted`
    and `moved_at` are for whoever watches progress.
    """

    __slots__ = (
        "abandoned_at", "began", "began_work", "broken_at", "counted", "holds_lock", "is_left", "is_program",
        "is_quick", "is_unstoppable", "lane", "moved_at", "share", "statements", "stopped", "turns", "was_quick",
        "when_stopped",
    )  # fmt: skip

    def __init__(
        self,
        turns: "Turns",
        share: Share,
        call: Call,
        now: float,
        *,
        lane: Lane,
        is_quick: bool,
    ) -> None:
        self.turns = turns
        self.share = share
        self.statements = call.statements
        self.is_program = call.is_program
        self.is_quick = self.was_quick = is_quick  # its tenant's calls are, or were when it began
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
        """Have the call broken off; its client gets this."""
        if self.stopped is None and not self.is_left:
            self.stopped = reason
            if self.when_stopped is not None:
                self.when_stopped()

    def abandon(self) -> None:
        """The client is gone."""
        self.abandoned_at = self.turns.now()

    def leave(self) -> None:
        """sqld has ended it. Only the first of `leave` and `linger` counts."""
        if not self.is_left:
            self.is_left = True
            self.share.answered += self.statements
            self.turns.settle(self)

    def linger(self) -> None:
        """It was broken off; whether sqld still works on it is not known."""
        if not self.is_left:
            self.is_left = True
            self.turns.keep(self)
