"""The hostile people, in a process of their own: `python -m testbed.hostile.storm` reads an order, and reports.

The order and the report are JSON on stdin and stdout. Each person starts at another place in the table and does one
thing after the other, all of them at the same time, until the time is over; what is under way then is left. What
nobody had come to by then, as on a slow machine, is tried afterwards by one person after the other.
"""

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import aiohttp

from testbed.hostile.attacks import Attack, all_attacks
from testbed.hostile.tenant import Hostile, StrictTarget

# Each person does this many things at once: someone who waits for an endless statement is not busy.
_HANDS = 2
_LONGER_S, _MOST_TIMES = 15.0, 6


async def _one_hand(me: Hostile, attacks: list[Attack], until: float, outcomes: defaultdict[str, Counter[str]]) -> None:
    loop = asyncio.get_running_loop()
    at = 0
    while loop.time() < until:
        attack = attacks[at % len(attacks)]
        at += 1
        try:
            async with asyncio.timeout_at(until + 1):
                outcome = await attack.go(me)
        except TimeoutError:
            outcome = "still going"
        outcomes[attack.name][outcome] += 1
        await asyncio.sleep(me.random.random() * 0.05)


async def _for_a_time(
    seconds: float, everybody: list[Hostile], chosen: list[Attack], outcomes: defaultdict[str, Counter[str]]
) -> None:
    until = asyncio.get_running_loop().time() + seconds
    hands = []
    for number, me in enumerate(everybody):
        for hand in range(_HANDS):
            attacks = _in_order(chosen, number * _HANDS + hand, len(everybody) * _HANDS, me.random)
            hands.append(_one_hand(me, attacks, until, outcomes))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until + 5):
            await asyncio.gather(*hands)


async def _in_turn(attack: Attack, everybody: list[Hostile], outcomes: Counter[str]) -> None:
    for me in everybody[:_MOST_TIMES]:
        if attack.is_tried(outcomes):
            return
        try:
            outcomes[await asyncio.wait_for(attack.go(me), _LONGER_S)] += 1
        except TimeoutError:
            outcomes["still going"] += 1


def _in_order(chosen: list[Attack], hand: int, hands: int, chance: random.Random) -> list[Attack]:
    """All attacks, those first that are nobody else's first: of hands of either profile (every other person's) one
    comes to each soon, in opposite order, however short the time."""
    pair, is_other = hand // (2 * _HANDS) * _HANDS + hand % _HANDS, hand // _HANDS % 2
    pairs = max(1, hands // 2)
    first = chosen[pair * len(chosen) // pairs : (pair + 1) * len(chosen) // pairs]
    rest = [each for each in chosen if each not in first]
    chance.shuffle(rest)
    return (first[::-1] if is_other else first) + rest


def _strict(told: dict[str, Any] | None) -> StrictTarget | None:
    return None if told is None else StrictTarget(**{**told, "outbox": Path(told["outbox"])})


async def storm(order: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Everybody does harm until it is over; gives the outcomes of each attack."""
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    has_strict = all("strict" in person for person in order["people"])
    chosen = [
        each
        for each in all_attacks()
        if (not order["only"] or each.name in order["only"]) and (has_strict or not each.at_strict)
    ]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        everybody = []
        for number, person in enumerate(order["people"]):
            chance = random.Random(f"{order['seed']} {number}")
            strict = _strict(person.pop("strict", None))
            me = Hostile(
                http=http, random=chance, url=order["url"], outbox=Path(order["outbox"]), strict=strict, **person
            )
            everybody.append(me)
        await _for_a_time(order["seconds"], everybody, chosen, outcomes)
        left = [each for each in chosen if not each.is_tried(outcomes[each.name])]
        await asyncio.gather(*(_in_turn(each, everybody, outcomes[each.name]) for each in left))
    return {name: dict(found) for name, found in outcomes.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(storm(json.load(sys.stdin)))))
