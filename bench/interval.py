"""What a few noisy ratios tell of the true one."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """The median, and between what the true one lies with 95 % confidence; endless from too few values."""

    median: float
    low: float
    high: float


def median_interval(values: Sequence[float]) -> Interval:
    """By the order of the values alone: a round that somebody else's work spoilt moves it no more than any other.

    Each value is above the true median or below, as a coin falls. Source: the sign test.
    """
    ordered = sorted(values)
    count = len(ordered)
    outside = 0
    chance = 0.0
    for place in range(count // 2):
        chance += 2 * math.comb(count, place) / 2**count
        if chance > 1 - _CONFIDENCE:
            break
        outside = place + 1
    median = statistics.median(ordered)
    if not outside:
        return Interval(median, 0.0, math.inf)
    return Interval(median, ordered[outside - 1], ordered[count - outside])
