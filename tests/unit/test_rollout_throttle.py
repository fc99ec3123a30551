"""How many tenants a rollout has at work at once."""

import pytest

from freehold.rollouts.worker import Throttle


def served(throttle: Throttle, count: int, duration_ms: float) -> None:
    for _ in range(count):
        throttle.served(duration_ms)


def test_it_starts_low_and_rises_to_what_the_operator_allows() -> None:
    throttle = Throttle(most=16)
    assert throttle.room == 4
    served(throttle, 40, 10)
    assert 8 <= throttle.room < 16
    served(throttle, 400, 10)
    assert throttle.room == 16


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_operators_limit_holds_from_the_start(most: int) -> None:
    throttle = Throttle(most=most)
    assert throttle.room == most
    served(throttle, 100, 10)
    assert throttle.room == most


def test_it_gives_way_where_answers_get_twice_as_slow_and_comes_back() -> None:
    throttle = Throttle(most=32)
    served(throttle, 200, 10)
    before = throttle.room
    served(throttle, 200, 50)
    assert throttle.room < before
    served(throttle, 2000, 50)
    assert throttle.room == 4  # slow is not refused: a few are always tried
    served(throttle, 2000, 10)
    assert throttle.room == 32


def test_a_refusal_halves_it_and_those_of_the_same_second_count_once() -> None:
    throttle = Throttle(most=32)
    served(throttle, 1000, 10)
    assert throttle.room == 32
    for _ in range(20):
        throttle.refused(100.0)
    assert throttle.room == 16
    throttle.refused(100.9)
    assert throttle.room == 16
    throttle.refused(101.5)
    assert throttle.room == 8


def test_however_often_it_is_refused_one_is_tried() -> None:
    throttle = Throttle(most=8)
    for second in range(0, 100, 2):
        throttle.refused(float(second))
    assert throttle.room == 1
    assert throttle.in_a_second == 4
    served(throttle, 500, 10)
    assert throttle.room == 8


@pytest.mark.parametrize(("duration_ms", "rounds"), [(10, 100), (20, 50), (100, 10), (900, 1), (5000, 1), (1, 100)])
def test_a_second_of_work_is_as_many_rounds_as_the_last_took(duration_ms: float, rounds: int) -> None:
    throttle = Throttle(most=4)
    served(throttle, 50, duration_ms)
    assert throttle.in_a_second == 4 * rounds
