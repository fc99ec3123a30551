"""Writers to the central database go one by one, in order, and nobody's turn is lost."""

import asyncio

from freehold.central.line import Line


async def test_turns_go_round_in_order_and_whoever_is_ahead_is_next() -> None:
    line, seen = Line(), list[str]()

    async def go(name: str, *, ahead: bool = False) -> None:
        await line.enter(ahead=ahead)
        seen.append(name)
        await asyncio.sleep(0)
        line.leave()

    await line.enter()
    tasks = [asyncio.create_task(go(name)) for name in ("one", "two")]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(go("ahead", ahead=True)))
    await asyncio.sleep(0)
    line.leave()
    await asyncio.gather(*tasks)
    assert seen == ["ahead", "one", "two"]
    await asyncio.wait_for(line.enter(), 1)  # it is free again


async def test_whoever_gives_up_while_waiting_or_as_it_is_given_loses_nobodys_turn() -> None:
    line = Line()
    await line.enter()
    gives_up, given, last = (asyncio.create_task(line.enter()) for _ in range(3))
    await asyncio.sleep(0)
    gives_up.cancel()
    await asyncio.sleep(0)
    line.leave()  # it is `given` whose turn it is, and who gives up before it knows
    given.cancel()
    await asyncio.wait_for(last, 1)
    assert gives_up.cancelled()
    assert given.cancelled()
