"""Redis over Upstash's REST API, with short timeouts and a circuit breaker for a server that does not answer."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

import httpx
from upstash_redis.asyncio import Redis
from upstash_redis.errors import UpstashError

from freehold.backoff import Backoff
from freehold.log import get_logger

log = get_logger()

PREFIX = "better-auth:"  # before every key, as better-auth's own Redis adapter has it

_TIMEOUT_S = 0.5
_TRIES = 3  # failures in a row, then the server is left alone
_LOOK_AGAIN_S = 0.25
_PAUSES = Backoff(base_s=1.0, cap_s=15.0, steady=1.0)

# What the client library raises for a response of another form.
_NOT_UPSTASH = (ValueError, LookupError, TypeError, AttributeError)

State = Literal["up", "down"]


class CacheUnavailable(Exception):
    """Redis does not answer, or is left alone for a moment. Requests go on without it."""


class CacheRefuses(Exception):
    """The server at Redis's address answers but does not do what it is asked; the text says what is wrong."""


class RedisLink:
    """Runs single commands, which Redis executes one at a time.

    After three failures in a row nothing is sent for a second, then one command tries again; the pause doubles up to a
    quarter of a minute. So a dead server delays a request by at most half a second, and soon not at all.
    """

    def __init__(
        self, url: str, token: str, *, timeout_s: float = _TIMEOUT_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Plain responses, not base64: every server of this API can do that.
        self._redis = Redis(url, token, rest_encoding=None, rest_retries=0, allow_telemetry=False)
        self._timeout_s = timeout_s
        self._clock = clock
        self._failures = 0
        self._lost = 0  # commands that failed after pauses, since it last answered
        self._closed_until = 0.0
        self.failed_commands = 0

    @property
    def state(self) -> State:
        """`down` while commands are held back or the last ones failed."""
        return "down" if self._failures >= _TRIES else "up"

    async def run(self, *command: Any) -> Any:
        """Return Redis's response to one command.

        Raises:
            CacheUnavailable: no response in time, an error, or a pause after those.
        """
        is_probe = self._failures >= _TRIES
        if is_probe:
            now = self._clock()
            if now < self._closed_until:
                raise CacheUnavailable("left alone for a moment")
            self._closed_until = now + self._timeout_s + self._pause_s()  # one tries, the others go on without
        try:
            async with asyncio.timeout(self._timeout_s):
                answer: Any = await self._redis.execute(list(command))
        except (httpx.HTTPError, UpstashError, TimeoutError, *_NOT_UPSTASH) as error:
            self._failed(error, is_probe=is_probe)
            raise CacheUnavailable("no answer") from error
        if self._failures >= _TRIES:
            log.info("cache.found_again")
        self._failures = 0
        return answer

    async def reach(self, patience_s: float) -> None:
        """Wait until Redis accepts a command, for up to `patience_s`; for the start of a service.

        Raises:
            CacheRefuses: the server is not Redis, or rejects the token.
            CacheUnavailable: nothing answers.
        """
        until = self._clock() + patience_s
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._redis.execute(["PING"])
                return
            except UpstashError as error:
                raise CacheRefuses("it does not take the token") from error
            except _NOT_UPSTASH as error:
                raise CacheRefuses("the server there is not an Upstash REST API") from error
            except (httpx.HTTPError, TimeoutError) as error:
                if self._clock() >= until:
                    raise CacheUnavailable(type(error).__name__) from error
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def close(self) -> None:
        await self._redis.close()

    def _failed(self, error: Exception, *, is_probe: bool) -> None:
        self.failed_commands += 1
        self._failures += 1
        if is_probe:
            self._lost += 1
        elif self._failures == _TRIES:
            # Only the type: an error's text may contain what was sent.
            log.warning("cache.lost", reason=type(error).__name__)
            self._lost = 1
        else:  # too few to tell, or sent before the pause began
            return
        self._closed_until = self._clock() + self._pause_s()

    def _pause_s(self) -> float:
        return _PAUSES.delay_s(self._lost)
