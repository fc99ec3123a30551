"""Copies of sessions in Redis, in the layout of better-auth's secondary storage. Implements `SharedSessions`.

A session's key is its token; `active-sessions-USERID` lists the tokens of a user's live sessions and when they end. We
read only what we have written; the rest of the layout is for others who read sessions from the same Redis.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from freehold.auth.sessions.cached_sessions import CachedSessionCodec
from freehold.auth.types import SignedIn
from freehold.cache.redis import PREFIX, CacheUnavailable, RedisLink
from freehold.dates import utc_now

_WAITING = 1_000

_LIST = """
local function live(key)
  local kept, ok, list = {}, pcall(cjson.decode, redis.call('GET', key) or '[]')
  if ok and type(list) == 'table' then
    for _, each in ipairs(list) do
      if type(each) == 'table' and type(each.expiresAt) == 'number' then kept[#kept + 1] = each end
    end
  end
  return kept
end
local function store(key, list, now)
  table.sort(list, function(one, other) return one.expiresAt < other.expiresAt end)
  local last = list[#list]
  if last == nil or last.expiresAt <= now then redis.call('DEL', key) return end
  redis.call('SET', key, cjson.encode(list), 'PX', last.expiresAt - now)
end
local function without(list, token, now)
  local kept = {}
  for _, each in ipairs(list) do
    if each.token ~= token and each.expiresAt > now then kept[#kept + 1] = each end
  end
  return kept
end
"""
_PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
local now = tonumber(ARGV[5])
local list = without(live(KEYS[2]), ARGV[3], now)
list[#list + 1] = {token = ARGV[3], expiresAt = tonumber(ARGV[4])}
store(KEYS[2], list, now)
"""
_FORGET = """
local ok, copy = pcall(cjson.decode, redis.call('GET', KEYS[1]) or 'null')
redis.call('DEL', KEYS[1])
if ok and type(copy) == 'table' and type(copy.session) == 'table' and type(copy.session.userId) == 'string' then
  local key, now = ARGV[1] .. copy.session.userId, tonumber(ARGV[3])
  store(key, without(live(key), ARGV[2], now), now)
end
"""
_FORGET_USER = """
for _, each in ipairs(live(KEYS[1])) do
  if type(each.token) == 'string' then redis.call('DEL', ARGV[1] .. each.token) end
end
redis.call('DEL', KEYS[1])
"""
_ACTIVE = f"{PREFIX}active-sessions-"


class RedisSessions:
    """One for each process. Writes are sent one by one in the background; some are dropped when they pile up."""

    def __init__(self, link: RedisLink, codec: CachedSessionCodec, clock: Callable[[], datetime] = utc_now) -> None:
        self._link = link
        self._codec = codec
        self._clock = clock
        self._writes: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue(_WAITING)
        self._writer: asyncio.Task[None] | None = None

    async def get(self, token: str) -> SignedIn | None:
        try:
            text = await self._link.run("GET", f"{PREFIX}{token}")
        except CacheUnavailable:
            return None
        return self._codec.decode(text.encode(errors="replace"), token) if isinstance(text, str) else None

    def put(self, copy: SignedIn) -> None:
        now_ms = self._now_ms()
        expires_ms = int(copy.expires_at.timestamp() * 1000)
        left_s = (expires_ms - now_ms) // 1000
        if left_s <= 0:
            return
        token = copy.session.token
        keys = (f"{PREFIX}{token}", f"{_ACTIVE}{copy.user_id}")
        text = self._codec.encode(copy).decode()
        self._write("EVAL", _LIST + _PUT, 2, *keys, text, left_s, token, expires_ms, now_ms)

    def forget(self, token: str) -> None:
        self._write("EVAL", _LIST + _FORGET, 1, f"{PREFIX}{token}", _ACTIVE, token, self._now_ms())

    def forget_user(self, user_id: str) -> None:
        self._write("EVAL", _LIST + _FORGET_USER, 1, f"{_ACTIVE}{user_id}", PREFIX)

    async def close(self) -> None:
        """Stop writing, and drop what waits."""
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer

    def _write(self, *command: Any) -> None:
        if self._link.state == "down" and self._writes.qsize() > 1:
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._writes.put_nowait(command)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while True:
            command = await self._writes.get()
            with contextlib.suppress(CacheUnavailable):
                await self._link.run(*command)

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)
