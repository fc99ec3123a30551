"""Hits counted in Redis, for all processes together. Implements `freehold.limiting.Limiter`.

Each hit is one script, which Redis runs atomically: the REST API has no transactions, and if a second command that sets
a counter's lifetime were lost, the ban would last for ever. Counters are better-auth's: integers under `IP|/path`.
"""

from collections.abc import Sequence
from typing import Any

from freehold.cache.memory_limiter import MemoryLimiter
from freehold.cache.redis import PREFIX, CacheUnavailable, RedisLink
from freehold.limiting import UNLIMITED, Rate, Verdict
from freehold.log import get_logger

log = get_logger()

# A lifetime that is missing or longer than the window is corrected, whoever left it so.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  left = tonumber(ARGV[2])
end
local hits = tonumber(ARGV[1])
return {count <= hits and 1 or 0, math.max(0, hits - count), left}
"""

# One entry for each hit that was allowed, by Redis's own clock.
_LOG = """
local hits, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local count, allowed = redis.call('ZCARD', KEYS[1]), 0
if count < hits then
  redis.call('ZADD', KEYS[1], now, time[1] .. '.' .. time[2] .. '-' .. count)
  redis.call('PEXPIRE', KEYS[1], window)
  count, allowed = count + 1, 1
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {allowed, hits - count, tonumber(first[2]) + window - now}
"""


class RedisLimiter:
    """Counts in Redis, or in this process's memory while Redis is away, so that there is always a limit."""

    def __init__(self, link: RedisLink, without: MemoryLimiter) -> None:
        self._link = link
        self._without = without

    async def hit(self, key: str, rate: Rate) -> Verdict:
        if rate.is_off:
            return UNLIMITED
        script = _LOG if rate.is_exact else _COUNT
        try:
            answer = await self._link.run("EVAL", script, 1, f"{PREFIX}{key}", rate.hits, rate.window_s * 1000)
        except CacheUnavailable:
            return self._without.count(key, rate)
        return _verdict(answer) or self._without.count(key, rate)


def _verdict(answer: Any) -> Verdict | None:
    if not (isinstance(answer, Sequence) and len(answer) == 3 and all(isinstance(part, int) for part in answer)):
        log.warning("cache.answered_strangely", kind=type(answer).__name__)
        return None
    allowed, remaining, reset_ms = answer
    return Verdict(allowed == 1, remaining, max(1, -(-reset_ms // 1000)))
