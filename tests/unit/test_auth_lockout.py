"""Delays after wrong passwords: they grow, they end, they lock out the attacker and not the owner."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from freehold.auth.lockout import FROM_ANYWHERE, FROM_ONE_PLACE, Delays, LockedOut, Lockout, Tried

ADA = "ada@example.com"


class Store:
    """Counts in a dictionary, written as the table writes them."""

    def __init__(self) -> None:
        self.rows: dict[str, Tried] = {}
        self.writes = 0
        self.tidied = 0

    async def find(self, keys: Sequence[str]) -> Mapping[str, Tried]:
        found = {key: self.rows[key] for key in keys if key in self.rows}
        await asyncio.sleep(0)
        return found

    async def add_failure(self, delays: Mapping[str, Delays], now_ms: int, forget_before_ms: int) -> None:
        await asyncio.sleep(0)
        self.writes += 1
        for key, delay in delays.items():
            tried = self.rows.get(key, Tried())
            failures = tried.failures + 1 if tried.failed_at_ms > forget_before_ms else 1
            wait_ms = delay.after(failures)
            until = max(tried.locked_until_ms, now_ms + wait_ms) if wait_ms else tried.locked_until_ms
            self.rows[key] = replace(tried, failures=failures, failed_at_ms=now_ms, locked_until_ms=until)

    async def set_succeeded(self, key: str, now_ms: int) -> None:
        self.writes += 1
        self.rows[key] = Tried(succeeded_at_ms=now_ms)

    async def tidy(self, failed_before_ms: int, succeeded_before_ms: int) -> None:
        self.tidied += 1


class LockoutInMemory:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, tzinfo=UTC)
        self.store = Store()
        self.lockout = Lockout(self.store, "s" * 40, lambda: self.now)

    async def try_it(self, is_right: bool = False, *, email: str = ADA, source: str = "198.51.100.1") -> bool:
        """Whether the password was looked at."""
        try:
            async with self.lockout.attempt(email, source) as attempt:
                await asyncio.sleep(0)
                attempt.is_right = is_right
        except LockedOut:
            return False
        return True

    async def wait_s(self, email: str = ADA, source: str = "198.51.100.1") -> int:
        try:
            async with self.lockout.attempt(email, source):
                return 0
        except LockedOut as refused:
            return refused.retry_after_s


@pytest.fixture
def world() -> LockoutInMemory:
    return LockoutInMemory()


async def test_five_wrong_ones_are_free_and_the_delay_grows(world: LockoutInMemory) -> None:
    assert [await world.try_it() for _ in range(6)] == [True] * 5 + [False]
    waits = []
    for _ in range(10):
        waits.append(await world.wait_s())
        world.now += timedelta(seconds=waits[-1])
        assert await world.try_it()
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900, 900, 900]


async def test_the_right_one_works_after_the_delay_and_not_before(world: LockoutInMemory) -> None:
    for _ in range(5):
        await world.try_it()
    assert not await world.try_it(is_right=True)
    world.now += timedelta(seconds=15)
    assert await world.try_it(is_right=True)
    assert [await world.try_it() for _ in range(6)] == [True] * 5 + [False], "five are free again"


async def test_being_refused_does_not_put_the_end_off(world: LockoutInMemory) -> None:
    for _ in range(5):
        await world.try_it()
    for _ in range(14):
        world.now += timedelta(seconds=1)
        assert not await world.try_it()
    world.now += timedelta(seconds=1)
    assert await world.try_it()


async def test_the_owner_elsewhere_is_not_locked_out(world: LockoutInMemory) -> None:
    for _ in range(30):
        await world.try_it(source="203.0.113.66")
    assert await world.wait_s(source="203.0.113.66") > 0
    assert await world.wait_s(source="198.51.100.1") == 0


async def test_one_who_has_many_places_is_slowed_down_too(world: LockoutInMemory) -> None:
    tried = 0
    for number in range(200):
        tried += await world.try_it(source=f"203.0.113.{number}")
    assert tried == FROM_ANYWHERE.free
    world.now += timedelta(hours=1)
    tried = 0
    for second in range(3600):
        world.now += timedelta(seconds=1)
        tried += await world.try_it(source=f"2001:db8::{second:x}")
    assert tried < 75, "about one a minute, from however many places"


async def test_where_the_owner_has_signed_in_before_the_many_do_not_matter(world: LockoutInMemory) -> None:
    assert await world.try_it(is_right=True, source="198.51.100.1")
    for number in range(200):
        await world.try_it(source=f"203.0.113.{number}")
    assert await world.wait_s(source="203.0.113.250") > 0
    assert await world.wait_s(source="198.51.100.1") == 0


async def test_addresses_of_nobody_are_counted_alike(world: LockoutInMemory) -> None:
    for email in (ADA, "nobody@example.com"):
        assert [await world.try_it(email=email) for _ in range(6)] == [True] * 5 + [False]
        assert await world.wait_s(email=email) == 15


@pytest.mark.parametrize("before", [0, 3, 4])
async def test_many_at_once_get_no_more_than_one_after_the_other(world: LockoutInMemory, before: int) -> None:
    for _ in range(before):
        await world.try_it()

    async def late(number: int) -> bool:
        for _ in range(number % 7):
            await asyncio.sleep(0)
        return await world.try_it()

    assert sum(await asyncio.gather(*(late(number) for number in range(100)))) == 5 - before
    assert not world.lockout._going


@pytest.mark.parametrize("before", [0, 4])
async def test_right_ones_at_once_wait_for_each_other_and_all_pass(world: LockoutInMemory, before: int) -> None:
    for _ in range(before):
        await world.try_it()
    assert all(await asyncio.gather(*(world.try_it(is_right=True) for _ in range(50))))
    assert not world.lockout._going


async def test_only_so_many_wait(world: LockoutInMemory) -> None:
    assert sum(await asyncio.gather(*(world.try_it(is_right=True) for _ in range(500)))) < 250


async def test_one_who_leaves_the_queue_stops_nobody(world: LockoutInMemory) -> None:
    for _ in range(4):
        await world.try_it()
    tasks = [asyncio.create_task(world.try_it(is_right=True)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[:15:2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert done.count(True) == 12
    assert not world.lockout._going


async def test_a_check_that_broke_down_counts_for_nothing(world: LockoutInMemory) -> None:
    for _ in range(20):
        with pytest.raises(RuntimeError):
            async with world.lockout.attempt(ADA, ""):
                raise RuntimeError
    assert not world.store.rows
    assert not world.lockout._going


async def test_a_day_without_wrong_ones_is_a_new_start(world: LockoutInMemory) -> None:
    for _ in range(4):
        await world.try_it()
    world.now += timedelta(hours=25)
    assert [await world.try_it() for _ in range(6)] == [True] * 5 + [False]


async def test_signing_in_again_and_again_writes_nothing(world: LockoutInMemory) -> None:
    for _ in range(10):
        await world.try_it(is_right=True)
    assert world.store.writes == 1


async def test_the_table_names_nobody(world: LockoutInMemory) -> None:
    await world.try_it()
    assert not any("ada" in key or ("198" in key and "." in key) for key in world.store.rows)
    assert Lockout(world.store, "t" * 40)._key("address", ADA) not in world.store.rows


async def test_old_rows_are_dropped_now_and_then(world: LockoutInMemory) -> None:
    for number in range(1000):
        await world.try_it(email=f"{number}@example.com")
    assert world.store.tidied == 2


def test_the_delay_is_capped_however_many_failures() -> None:
    assert FROM_ONE_PLACE.after(10_000_000) == 900_000
    assert FROM_ANYWHERE.after(10_000_000) == 60_000
