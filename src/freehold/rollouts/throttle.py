"""How many tenants are migrated at once: more while that helps, half as many when the provider has had enough."""

from dataclasses import dataclass

_SLOWER = 2.0
_SMOOTH = 0.1
_FIRST = 4.0  # as many saturate a small server; being slow alone never takes it below


@dataclass(slots=True)
class Throttle:
    """Additive increase, multiplicative decrease, as TCP does (RFC 5681). `most` is the operator's limit."""

    most: int
    limit: float = _FIRST
    best_ms: float = float("inf")
    smooth_ms: float = 0.0
    refused_at_s: float = float("-inf")

    @property
    def room(self) -> int:
        """How many may be at work."""
        return max(1, min(int(self.limit), self.most))

    @property
    def in_a_second(self) -> int:
        """How many are probably done in a second: 1 to 100 times `room`, and 4 times while nothing is known."""
        rounds = 1000 / self.smooth_ms if self.smooth_ms else 4.0
        return int(self.room * min(max(rounds, 1.0), 100.0))

    def served(self, duration_ms: float) -> None:
        """One was migrated in this time: a little more is tried as long as answers do not get slow for it."""
        self.smooth_ms += _SMOOTH * (duration_ms - self.smooth_ms) if self.smooth_ms else duration_ms
        self.best_ms = min(self.best_ms, self.smooth_ms)
        if self.smooth_ms <= _SLOWER * self.best_ms:
            self.limit = min(self.limit + 1 / self.limit, float(self.most))
        elif self.limit > _FIRST:
            self.limit = max(self.limit - 1 / self.limit, _FIRST)

    def refused(self, now_s: float) -> None:
        """Too many requests, or no answer. Those that were under way together count once."""
        if now_s - self.refused_at_s > 1:
            self.refused_at_s = now_s
            self.limit = max(1.0, self.limit / 2)
