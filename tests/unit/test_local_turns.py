"""Statements that take long run as many at once as there are places, and each gets its turn."""

import threading
import time

import pytest

from freehold.providers.sqlite.statement_timeout import StatementTimeout, Turns


def test_places_are_given_in_the_order_of_asking() -> None:
    turns = Turns(1)
    assert turns.take(0)
    came: list[int] = []
    asked = threading.Semaphore(0)

    def ask(number: int) -> None:
        asked.release()
        assert turns.take(30)
        came.append(number)
        turns.give()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        asked.acquire()
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    turns.give()
    for each in threads:
        each.join(30)
    assert came == [0, 1, 2, 3, 4]
    assert turns.take(0)


def test_whoever_waits_in_vain_leaves_no_place_taken() -> None:
    turns = Turns(1)
    assert turns.take(0)
    assert not turns.take(0.01)
    assert not turns.take(-1)
    turns.give()
    assert turns.take(0)
    assert not turns.take(0)


def test_short_statements_and_our_own_work_never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    alarm = StatementTimeout(lambda: None, 5.0)
    alarm.start_request(5.0, 30.0)
    assert alarm.take_turn() is False  # none runs
    alarm.arm()
    alarm.take_turn()
    assert not alarm._has_turn
    alarm.disarm()
    alarm.start_request(5.0, 30.0, takes_turns=False)
    alarm.arm()
    monkeypatch.setattr("freehold.providers.sqlite.statement_timeout._LONG_S", 0.0)  # it has run for long
    alarm.take_turn()
    assert not alarm._has_turn
    alarm.disarm()
