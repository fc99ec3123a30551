"""How long the provisioner waits."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.backoff import SLOWLY, SOON, Backoff, is_worth_a_line, retry_after_s
from freehold.errors import Conflict, ProviderUnavailable
from freehold.tenants.errors import describe
from freehold.tenants.provisioner import retry_delay_s


@given(failures=st.integers(0, 10**9), chance=st.floats(0, 1, exclude_max=True))
def test_every_wait_is_above_zero_and_below_the_cap(failures: int, chance: float) -> None:
    for backoff in (SOON, SLOWLY):
        assert 0 < backoff.delay_s(failures, lambda: chance) <= backoff.cap_s


def test_the_longest_wait_doubles_from_half_a_second_to_a_minute() -> None:
    longest = [SOON.delay_s(failures, lambda: 1.0) for failures in range(1, 10)]
    assert longest == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_tenants_that_failed_together_come_back_apart() -> None:
    source = random.Random(1)
    delays = [SOON.delay_s(8, source.random) for _ in range(1000)]
    in_each_quarter = [sum(15 * part <= delay < 15 * (part + 1) for delay in delays) for part in range(4)]
    assert min(in_each_quarter) > 150


def test_a_steady_part_is_not_left_to_chance() -> None:
    half = Backoff(base_s=1.0, cap_s=8.0, steady=0.5)
    assert [half.delay_s(failures, lambda: 0.0) for failures in (1, 2, 9)] == [0.5, 1.0, 4.0]
    assert [half.delay_s(failures, lambda: 1.0) for failures in (1, 2, 9)] == [1.0, 2.0, 8.0]
    assert {Backoff(base_s=1.0, cap_s=8.0, steady=1.0).delay_s(3) for _ in range(9)} == {4.0}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"X-Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 -0000"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "inf"}, None),
        ({}, None),
    ],
)
def test_a_server_says_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_what_must_be_repaired_is_retried_more_slowly_than_what_may_pass() -> None:
    passing = [ProviderUnavailable("no answer"), TimeoutError()]
    lasting = [Conflict("migration 3 fails here"), ZeroDivisionError()]
    assert {retry_delay_s(error, 1, lambda: 1.0) for error in passing} == {0.5}
    assert {retry_delay_s(error, 1, lambda: 1.0) for error in lasting} == {5.0}


def test_failures_in_a_row_are_logged_at_powers_of_two() -> None:
    assert [number for number in range(1, 100) if is_worth_a_line(number)] == [1, 2, 4, 8, 16, 32, 64]


def test_an_error_for_the_row_is_short() -> None:
    assert len(describe(Conflict("x" * 10_000))) == 500
