"""What noise can make of a comparison: `bench.interval`, and what counts as too slow."""

import math
import random
import statistics

import pytest
from bench.interval import median_interval
from bench.report import Finding


def test_the_interval_is_between_values_that_are_as_far_out_as_chance_allows() -> None:
    found = median_interval([float(value) for value in range(1, 10)])
    assert (found.median, found.low, found.high) == (5.0, 2.0, 8.0)
    assert median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]).low == 1.0
    assert (median_interval([1.0, 1.1]).low, median_interval([1.0]).high) == (0.0, math.inf)


def test_it_holds_the_true_median_nearly_always_however_wild_the_values() -> None:
    chance = random.Random(7)
    kept = 0
    for _ in range(2_000):
        values = [math.exp(chance.gauss(0, 0.2)) * (0.2 if chance.random() < 0.1 else 1.0) for _ in range(15)]
        found = median_interval(values)
        kept += found.low <= 0.977 <= found.high  # the median of that distribution, about
    assert kept / 2_000 > 0.93


@pytest.mark.parametrize(
    ("ratios", "is_enough"),
    [
        ([0.90, 0.91, 0.92, 0.93, 0.90, 0.91, 0.92, 0.93, 0.94], False),
        ([0.60, 1.20, 0.91, 1.05, 0.90, 0.97, 0.99, 1.30, 0.80], True),  # noise alone is no finding
        ([0.98, 0.99, 1.00, 0.98, 0.40, 0.99, 1.01, 0.98, 0.99], True),
    ],
)
def test_too_slow_is_what_noise_does_not_explain(ratios: list[float], is_enough: bool) -> None:
    found = median_interval(ratios)
    finding = Finding("x", "/s", 1, 1, statistics.median(ratios), at_least=0.97, low=found.low, high=found.high)
    assert finding.is_enough is is_enough
