"""What `/ready` knows: one probe at a time, an answer in time, and one that holds for a moment."""

import asyncio

import pytest

from freehold.errors import CentralUnavailable, NotFound, Unavailable
from freehold.http.operations.health import Readiness


class Part:
    """Something to be asked. It answers when `gate` is open, with `error` if there is one."""

    def __init__(self) -> None:
        self.asked = self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.at_once -= 1


async def _told(readiness: Readiness) -> str:
    try:
        await readiness.check()
    except Unavailable as error:
        return str(error)
    return "ready"


async def test_many_askers_are_one_probe() -> None:
    part = Part()
    readiness = Readiness({"the part": part}, holds_s=60)
    assert set(await asyncio.gather(*(_told(readiness) for _ in range(500)))) == {"ready"}
    assert await _told(readiness) == "ready"
    assert part.asked == 1


async def test_a_fault_holds_for_a_moment_and_is_told_as_it_is() -> None:
    part = Part()
    part.error = CentralUnavailable("the disk is on strike")
    readiness = Readiness({"the part": part}, fault_holds_s=60)
    assert {await _told(readiness) for _ in range(50)} == {"the disk is on strike"}
    with pytest.raises(CentralUnavailable):
        await readiness.check()
    assert part.asked == 1


async def test_a_part_that_hangs_is_not_waited_for_and_asked_once() -> None:
    part = Part()
    part.gate.clear()
    readiness = Readiness({"the part": part, "another": Part()}, limit_s=0.05, holds_s=0, fault_holds_s=0)
    async with asyncio.timeout(5):
        for _ in range(20):
            assert "no answer in time from the part" in await _told(readiness)
    assert part.asked == part.most_at_once == 1


async def test_it_is_ready_again_when_the_part_is() -> None:
    part = Part()
    part.gate.clear()
    readiness = Readiness({"the part": part}, limit_s=0.05, holds_s=0, fault_holds_s=0)
    assert "no answer" in await _told(readiness)
    part.gate.set()
    async with asyncio.timeout(5):
        while await _told(readiness) != "ready":
            await asyncio.sleep(0)
    assert part.most_at_once == 1


async def test_an_answer_that_comes_too_late_is_no_good_news() -> None:
    part = Part()
    part.gate.clear()
    readiness = Readiness({"the part": part}, limit_s=0.05, fault_holds_s=60)
    assert "no answer" in await _told(readiness)
    part.gate.set()
    async with asyncio.timeout(5):
        while part.at_once:
            await asyncio.sleep(0)
    assert "no answer" in await _told(readiness)


async def test_an_asker_who_leaves_takes_nobodys_answer_away() -> None:
    part = Part()
    part.gate.clear()
    readiness = Readiness({"the part": part}, limit_s=60)
    leaves, stays = (asyncio.create_task(_told(readiness)) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    part.gate.set()
    assert await stays == "ready"
    assert part.asked == 1


@pytest.mark.parametrize("error", [ValueError("a bug: secret"), NotFound("no such group")])
async def test_whatever_is_raised_the_part_is_not_well(error: Exception) -> None:
    part = Part()
    part.error = error
    told = await _told(Readiness({"the part": part}))
    assert told != "ready"
    assert "secret" not in told
