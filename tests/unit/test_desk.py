"""Whoever reads long SQL holds the interpreter a moment at a time, and stops when nobody waits for it."""

import asyncio
import functools
import itertools
import time

import pytest

from freehold.providers.desk import Desk
from freehold.providers.failures import Gone
from freehold.providers.serving import Disconnect
from freehold.sql.tokens import breathe


def endless() -> None:
    while True:
        breathe()


async def test_reading_ends_when_its_client_goes_away() -> None:
    desk = Desk()
    disconnect = Disconnect()
    try:
        reading = asyncio.create_task(desk.run("one", disconnect, endless))
        await asyncio.sleep(0)
        disconnect.lose()
        with pytest.raises(Gone):
            await reading
    finally:
        desk.close()


async def test_what_was_read_for_a_shorter_time_goes_first() -> None:
    """A short text is read although long ones of many databases are being read, and they are not over."""
    desk = Desk()
    strangers = [Disconnect() for _ in range(8)]
    reading = [asyncio.create_task(desk.run(f"{at}", each, endless)) for at, each in enumerate(strangers)]

    def short() -> str:
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            breathe()
        return "read"

    try:
        await asyncio.sleep(0)
        assert await desk.run("short", Disconnect(), short) == "read"
        assert not any(each.done() for each in reading)
    finally:
        for each in strangers:
            each.lose()
        ended = await asyncio.gather(*reading, return_exceptions=True)
        desk.close()
    assert {type(each) for each in ended} == {Gone}


async def test_the_event_loop_comes_round_between_two_readers() -> None:
    """However many read: they do not hand the interpreter to each other while the loop waits for it."""
    desk = Desk()
    rounds = 0
    turns: list[tuple[int, int]] = []  # who reads, and how often the loop had come round

    def reader(number: int) -> None:
        while True:
            if not turns or turns[-1][0] != number:
                turns.append((number, rounds))
            breathe()

    strangers = [Disconnect() for _ in range(8)]
    reading = [
        asyncio.create_task(desk.run(f"{number}", each, functools.partial(reader, number)))
        for number, each in enumerate(strangers)
    ]
    try:
        while len(turns) < 200 and rounds < 100_000:
            await asyncio.sleep(0)
            rounds += 1
    finally:
        for each in strangers:
            each.lose()
        await asyncio.gather(*reading, return_exceptions=True)
        desk.close()
    together = sum(1 for one, next_ in itertools.pairwise(turns[:200]) if one[1] == next_[1])
    assert together < 20, f"{together} of {len(turns)} readers began before the loop had come round"
