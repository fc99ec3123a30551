"""Places of sqld's connections: counted to the last one whatever happens to calls, and fair when they are short."""

import contextlib
import random
from collections.abc import Callable

import pytest

from freehold.providers.failures import Overloaded, StreamExpired
from freehold.providers.sqld.client.streams import STREAM_S, Place, Places


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_with(places: Places, database_name: str, baton: str) -> Place:
    """A call that leaves a stream."""
    place = places.take(database_name)
    place.keep(baton)
    place.leave()
    return place


def fill(places: Places, database_name: str, count: int) -> None:
    for number in range(count):
        wait_with(places, database_name, f"{database_name}-{number}")


def test_calls_that_leave_nothing_leave_no_trace(clock: Clock) -> None:
    places = Places(4, 2, now=clock)
    for _ in range(10):
        place = places.take("a")
        assert len(places) == 1
        place.leave()
        place.leave()
    assert len(places) == 0


def test_streams_count_with_calls_and_closing_one_makes_room(clock: Clock) -> None:
    places = Places(10, 3, now=clock)
    fill(places, "a", 2)
    places.take("a")
    with pytest.raises(Overloaded, match="close streams"):
        places.take("a")
    last = places.take("a", "a-0")  # one that goes on has its place already
    last.keep(None)
    last.leave()
    assert len(places) == 2
    places.take("a").leave()


def test_what_was_left_is_forgotten_in_time(clock: Clock) -> None:
    places = Places(10, 2, now=clock)
    wait_with(places, "a", "x")
    unseen = places.take("a")
    unseen.keep_unseen()
    unseen.leave()
    clock.now = STREAM_S - 0.1
    with pytest.raises(Overloaded):
        places.take("a")
    clock.now = STREAM_S
    places.take("a").leave()
    assert len(places) == 0


def test_whoever_holds_most_gives_way_with_what_is_idle_longest(clock: Clock) -> None:
    places = Places(6, 5, now=clock)
    wait_with(places, "honest", "honest")
    for number in range(5):
        clock.now += 1
        wait_with(places, "greedy", f"greedy-{number}")
    newcomer = places.take("new")
    assert newcomer.instead_of == ("greedy", "greedy-0")
    assert len(places) == 6
    with pytest.raises(StreamExpired):
        places.take("greedy", "greedy-0")
    assert places.take("honest", "honest").instead_of is None


def test_nobody_takes_from_those_who_hold_no_more(clock: Clock) -> None:
    places = Places(4, 4, now=clock)
    for name in ("a", "b", "c"):
        wait_with(places, name, name)
    running = places.take("d")
    with pytest.raises(Overloaded):
        places.take("d")
    running.keep("d")
    running.leave()
    assert places.take("d").instead_of == ("d", "d")
    assert places.take("e").instead_of == ("a", "a")


def test_calls_that_run_leave_room_for_others(clock: Clock) -> None:
    places = Places(12, 8, now=clock)
    for name in ("a", "b", "c"):
        with pytest.raises(Overloaded):
            for _ in range(8):
                places.take(name)
    assert places.take("d").instead_of is None


def test_all_is_forgotten_with_sqld_except_calls_under_way(clock: Clock) -> None:
    places = Places(20, 10, now=clock)
    fill(places, "a", 5)
    replica = places.take("b")
    replica.keep_unseen(60.0, "replica")
    replica.leave()
    running = places.take("a")
    clock.now += 1
    places.forget_before(clock.now)
    assert len(places) == 1
    running.leave()
    assert len(places) == 0


def plain(places: Places, database_name: str, baton: str) -> None:
    place = places.take(database_name)
    place.is_plain = True
    place.keep(baton)
    place.leave()


def test_who_has_all_gives_way_to_itself_with_what_is_in_no_transaction(clock: Clock) -> None:
    places = Places(10, 3, now=clock)
    wait_with(places, "a", "transaction")
    plain(places, "a", "first")
    plain(places, "a", "second")
    assert places.take("a").instead_of == ("a", "first")
    with pytest.raises(StreamExpired):
        places.take("a", "first")
    assert places.take("a", "second").is_plain  # it goes on, and what is known of it with it
    with pytest.raises(Overloaded, match="close streams"):
        places.take("a")
    assert len(places) == 3


def test_for_others_too_what_is_in_no_transaction_goes_first(clock: Clock) -> None:
    places = Places(3, 3, now=clock)
    wait_with(places, "a", "transaction")
    plain(places, "a", "plain")
    plain(places, "a", "plain too")
    assert places.take("b").instead_of == ("a", "plain")


ENDS: dict[str, Callable[[Place], None]] = {
    "nothing is left": lambda place: place.keep(None),
    "a stream is left": lambda place: place.keep("baton"),
    "its baton was never seen": lambda place: place.keep_unseen(),
    "a replica's connection is left": lambda place: place.keep_unseen(60.0, "replica"),
    "nothing was said": lambda place: None,
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("settles", ["before", "after"])
def test_however_a_call_ended_nothing_of_it_is_left_with_a_sqld_that_is_gone(
    clock: Clock, end: str, settles: str
) -> None:
    places = Places(10, 2, now=clock)
    calls = [places.take("a"), places.take("a")]
    clock.now += 1
    if settles == "after":
        places.forget_before(clock.now)
    for number, place in enumerate(calls):
        ENDS[end](place)
        if place.key == "baton":
            place.key = f"baton {number}"
        place.leave()
        place.leave()
    if settles == "before":
        places.forget_before(clock.now)
    assert len(places) == 0
    for _ in range(100):
        places.take("a").leave()


def test_what_was_sent_to_the_next_sqld_is_left_there(clock: Clock) -> None:
    places = Places(10, 2, now=clock)
    waits, over = places.take("a"), places.take("a")
    clock.now += 1
    places.forget_before(clock.now)
    waits.sent()  # again, now that it is back
    for place in (waits, over):
        place.keep_unseen()
        place.leave()
    assert len(places) == 1
    clock.now += 1
    places.forget_before(clock.now)
    assert len(places) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_count_is_right_after_anything(clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    places = Places(12, 6, now=clock)
    running: list[Place] = []
    keys = [f"k{number}" for number in range(30)]
    for _ in range(3000):
        clock.now += chance.random() * 0.5
        if running and chance.random() < 0.5:
            place = running.pop(chance.randrange(len(running)))
            kind = chance.random()
            if kind < 0.4:
                place.keep(chance.choice(keys))
            elif kind < 0.6:
                place.keep_unseen(20.0, chance.choice([None, *keys]))
            place.leave()
        else:
            with contextlib.suppress(Overloaded, StreamExpired):
                running.append(places.take(chance.choice("abcdef"), chance.choice([None, *keys])))
        if chance.random() < 0.01:
            clock.now += 0.001
            places.forget_before(clock.now)
            assert len(places) == len(running)
        assert len(running) <= len(places) <= 12
    clock.now += 100
    for place in running:
        place.leave()
    places.forget_before(clock.now)
    assert len(places) == 0
    fill(places, "a", 6)
