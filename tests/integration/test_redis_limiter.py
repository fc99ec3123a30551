"""The limiter on a real Redis: exact under concurrency and across processes, and never a ban for ever."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from testbed.redis import TOKEN, Redis, running_redis

from freehold.cache.memory_limiter import MemoryLimiter
from freehold.cache.redis import CacheUnavailable, RedisLink
from freehold.cache.redis_limiter import RedisLimiter
from freehold.limiting import NO_LIMIT, Rate

KEY = "203.0.113.9|/sign-in/email"


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def link(redis: Redis) -> AsyncIterator[RedisLink]:
    redis.run("FLUSHALL")
    opened = RedisLink(redis.url, TOKEN, timeout_s=5)
    yield opened
    await opened.close()


@pytest.fixture
def limiter(link: RedisLink) -> RedisLimiter:
    return RedisLimiter(link, MemoryLimiter())


@pytest.mark.parametrize("is_exact", [False, True])
async def test_of_many_at_once_exactly_so_many_pass(redis: Redis, is_exact: bool) -> None:
    redis.run("FLUSHALL")
    links = [RedisLink(redis.url, TOKEN, timeout_s=10) for _ in range(3)]
    try:
        limiters = [RedisLimiter(link, MemoryLimiter()) for link in links]
        verdicts = await asyncio.gather(*(limiters[number % 3].hit(KEY, Rate(7, 60, is_exact)) for number in range(60)))
    finally:
        for link in links:
            await link.close()
    assert sum(verdict.is_allowed for verdict in verdicts) == 7
    assert sorted(verdict.remaining for verdict in verdicts if verdict.is_allowed) == list(range(7))
    assert all(1 <= verdict.reset_s <= 60 for verdict in verdicts)
    assert sum(link.failed_commands for link in links) == 0


async def test_the_counter_is_better_auths(redis: Redis, limiter: RedisLimiter) -> None:
    await limiter.hit(KEY, Rate(3, 10))
    await limiter.hit(KEY, Rate(3, 10))
    assert redis.run("GET", f"better-auth:{KEY}") == "2"
    assert 0 < redis.run("PTTL", f"better-auth:{KEY}") <= 10_000


async def test_a_lost_lifetime_is_given_back(redis: Redis, limiter: RedisLimiter) -> None:
    redis.run("SET", f"better-auth:{KEY}", "99")
    assert redis.run("TTL", f"better-auth:{KEY}") == -1
    refused = await limiter.hit(KEY, Rate(3, 10))
    assert (refused.is_allowed, refused.reset_s) == (False, 10)
    assert 0 < redis.run("PTTL", f"better-auth:{KEY}") <= 10_000


async def test_a_window_that_was_made_shorter_counts_at_once(redis: Redis, limiter: RedisLimiter) -> None:
    await limiter.hit(KEY, Rate(1, 3600))
    assert (await limiter.hit(KEY, Rate(1, 10))).reset_s <= 10


@pytest.mark.parametrize("is_exact", [False, True])
async def test_a_window_ends(redis: Redis, limiter: RedisLimiter, is_exact: bool) -> None:
    rate = Rate(2, 1, is_exact)
    began = time.monotonic()
    assert (await limiter.hit(KEY, rate)).is_allowed
    while (await limiter.hit(KEY, rate)).is_allowed:
        assert time.monotonic() - began < 60
    while not (await limiter.hit(KEY, rate)).is_allowed:
        assert time.monotonic() - began < 60, "a refused caller waits for ever"
    assert time.monotonic() - began > 0.9


async def test_a_key_of_another_kind_is_no_way_around(redis: Redis, limiter: RedisLimiter) -> None:
    redis.run("RPUSH", f"better-auth:{KEY}", "x")
    verdicts = [await limiter.hit(KEY, Rate(2, 60)) for _ in range(4)]
    assert [verdict.is_allowed for verdict in verdicts] == [True, True, False, False]


async def test_no_limit_asks_nobody(redis: Redis, limiter: RedisLimiter) -> None:
    assert (await limiter.hit(KEY, NO_LIMIT)).is_allowed
    assert redis.names() == []


async def test_while_redis_is_away_each_process_counts_and_soon_nobody_waits() -> None:
    with running_redis() as own:
        link = RedisLink(own.url, TOKEN)
        limiter = RedisLimiter(link, MemoryLimiter())
        try:
            assert (await limiter.hit(KEY, Rate(2, 600))).is_allowed
            own.kill_redis()
            verdicts = await asyncio.gather(*(limiter.hit(KEY, Rate(2, 600)) for _ in range(50)))
            assert sum(verdict.is_allowed for verdict in verdicts) == 2
            assert link.state == "down"
            with pytest.raises(CacheUnavailable, match="left alone"):
                await link.run("PING")
            own.start_redis()
            await _until_up(link)
            await limiter.hit("another key", Rate(2, 600))
            assert own.run("GET", "better-auth:another key") == "1", "Redis counts again"
        finally:
            await link.close()


async def test_a_redis_that_hangs_is_given_up_in_time() -> None:
    with running_redis() as own:
        link = RedisLink(own.url, TOKEN)
        try:
            own.pause_redis()
            for _ in range(3):
                with pytest.raises(CacheUnavailable):
                    await link.run("PING")
            assert link.state == "down"
            own.resume_redis()
            await _until_up(link)
        finally:
            await link.close()


async def test_a_wrong_token_or_address_is_a_cache_that_is_away(redis: Redis) -> None:
    for link in (RedisLink(redis.url, "wrong"), RedisLink("http://127.0.0.1:9", TOKEN)):
        with pytest.raises(CacheUnavailable):
            await link.run("PING")
        await link.close()


async def _until_up(link: RedisLink) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            await link.run("PING")
        except CacheUnavailable:
            await asyncio.sleep(0.1)
        else:
            assert link.state == "up"
            return
    raise AssertionError("Redis is back and nobody noticed")
