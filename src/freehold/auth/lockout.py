"""Delays after wrong passwords, per address and place, and per address from anywhere.

From one place (a client's network address) the fifth wrong password starts a delay of fifteen seconds, which each
further one doubles, up to a quarter of an hour. That stops guessing, and locks out nobody elsewhere. An attacker with
many places runs into the second count: fifty wrong passwords for an address start a delay of up to a minute for all
places from which the address has not signed in before. So no attacker keeps the owner out for long.

Addresses of no user are counted the same way, so that responses never reveal which users exist. The counts are in the
central database, so that a restart does not reset them; they are forgotten after a day without a wrong password.
"""

import asyncio
import hmac
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from freehold.dates import utc_now
from freehold.errors import RateLimited
from freehold.http_worker import KeyLocks
from freehold.log import get_logger

log = get_logger()

_DAY_MS = 24 * 3600 * 1000
_FORGET_AFTER_MS = _DAY_MS
_KNOWN_FOR_MS = 90 * _DAY_MS
_TIDY_EVERY = 500
_WAITING = 64
_PATIENCE_S = 10.0


class LockedOut(RateLimited):
    """There were too many wrong passwords for this address; this one was not checked."""

    code = "locked_out"
    remedy = "Try again after `Retry-After` seconds."

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(retry_after_s)
        self.args = (f"too many wrong passwords; try again in {retry_after_s} seconds",)


class Delays(Struct, frozen=True):
    """After `free` failures the delay is `first_ms`; each further one doubles it, up to `longest_ms`."""

    free: int
    first_ms: int
    longest_ms: int

    def after(self, failures: int) -> int:
        """The delay in milliseconds after this many failures."""
        if failures < self.free:
            return 0
        return min(self.longest_ms, self.first_ms << min(failures - self.free, 40))


FROM_ONE_PLACE = Delays(free=5, first_ms=15_000, longest_ms=15 * 60_000)
FROM_ANYWHERE = Delays(free=50, first_ms=1_000, longest_ms=60_000)


class Tried(Struct, frozen=True):
    """The stored counts of one key. `succeeded_at_ms` is 0 if there was never a correct password."""

    failures: int = 0
    failed_at_ms: int = 0
    locked_until_ms: int = 0
    succeeded_at_ms: int = 0


class WrongPasswordStore(Protocol):
    """The counts in the central database. Every method raises `CentralUnavailable` when it does not answer."""

    async def find(self, keys: Sequence[str]) -> Mapping[str, Tried]:
        """The stored counts; keys without any are left out."""

    async def add_failure(self, delays: Mapping[str, Delays], now_ms: int, forget_before_ms: int) -> None:
        """Count one more failure for each key and set when the next try is allowed; atomic.

        Failures before `forget_before_ms` no longer count.
        """

    async def set_succeeded(self, key: str, now_ms: int) -> None:
        """Reset the failures and record a success now."""

    async def tidy(self, failed_before_ms: int, succeeded_before_ms: int) -> None:
        """Delete rows whose last failure and last success are older than these times."""


class Attempt:
    """One check of a password. Set `is_right` to the result; if it stays None, nothing is counted."""

    __slots__ = ("is_right",)

    def __init__(self) -> None:
        self.is_right: bool | None = None


class _Going:
    """The attempts for one key that run in this process, and the failures that a read of the store may have missed."""

    __slots__ = ("failed", "inside", "trying", "waiting")

    def __init__(self) -> None:
        self.inside = 0
        self.trying = 0
        self.failed = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    def wake_one(self) -> None:
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class Lockout:
    """Decides whether a password may be tried now. One per process.

    With `locks`, processes take turns for the same address and place: none knows what another is trying.
    """

    def __init__(
        self,
        store: WrongPasswordStore,
        secret: str,
        clock: Callable[[], datetime] = utc_now,
        *,
        locks: KeyLocks | None = None,
    ) -> None:
        self._store = store
        self._locks = locks
        self._secret = secret.encode()
        self._clock = clock
        self._going: dict[str, _Going] = {}
        self._failures = 0

    @asynccontextmanager
    async def attempt(self, email: str, source: str) -> AsyncIterator[Attempt]:
        """Wrap the check of one password for this address (in lower case) from this place.

        Of concurrent attempts, only as many run at once as there are free failures left; the others wait for their
        results.

        Raises:
            LockedOut: not now; the password must not be checked.
            CentralUnavailable: the counts cannot be read.
        """
        here, anywhere = self._key("place", email, source), self._key("address", email)
        async with AsyncExitStack() as stack:
            if self._locks is not None:
                try:
                    await stack.enter_async_context(self._locks.held(here, _PATIENCE_S))
                except TimeoutError as error:
                    raise LockedOut(1) from error
            yield await stack.enter_async_context(self._attempt(here, anywhere))

    @asynccontextmanager
    async def _attempt(self, here: str, anywhere: str) -> AsyncIterator[Attempt]:
        with self._inside(here) as going_here, self._inside(anywhere) as going_anywhere:
            try:
                known, is_counted_anywhere = await self._admitted(here, going_here, anywhere, going_anywhere)
                counted = {here: FROM_ONE_PLACE}
                busy = [going_here]
                if is_counted_anywhere:
                    counted[anywhere] = FROM_ANYWHERE
                    busy.append(going_anywhere)
                tried = Attempt()
                for going in busy:
                    going.trying += 1
                going_here.wake_one()  # there may be room for another one
                try:
                    yield tried
                    if tried.is_right is False:
                        await self._failed(counted, busy)
                    elif tried.is_right and _is_news(known, self._now_ms()):
                        await self._store.set_succeeded(here, self._now_ms())
                finally:
                    for going in busy:
                        going.trying -= 1
            finally:
                going_here.wake_one()

    async def _admitted(
        self, here: str, going_here: _Going, anywhere: str, going_anywhere: _Going
    ) -> tuple[Tried, bool]:
        """Wait until the attempt may run; return the place's counts, and whether a failure counts for the address."""
        while True:
            failed_here, failed_anywhere = going_here.failed, going_anywhere.failed
            found = await self._store.find((here, anywhere))
            now_ms = self._now_ms()
            known = found.get(here, Tried())
            has_room = _has_room(known, going_here, failed_here, FROM_ONE_PLACE, now_ms)
            if has_room:
                break
            if len(going_here.waiting) >= _WAITING:
                raise LockedOut(1)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            going_here.waiting.append(waiter)
            await waiter
        if known.succeeded_at_ms >= now_ms - _KNOWN_FOR_MS:
            return known, False
        at_all = found.get(anywhere, Tried())
        if not _has_room(at_all, going_anywhere, failed_anywhere, FROM_ANYWHERE, now_ms):
            raise LockedOut(1)
        return known, True

    @contextmanager
    def _inside(self, key: str) -> Iterator[_Going]:
        going = self._going.setdefault(key, _Going())
        going.inside += 1
        try:
            yield going
        finally:
            going.inside -= 1
            if not going.inside:
                del self._going[key]

    async def _failed(self, counted: Mapping[str, Delays], busy: Sequence[_Going]) -> None:
        now_ms = self._now_ms()
        await self._store.add_failure(counted, now_ms, now_ms - _FORGET_AFTER_MS)
        for going in busy:
            going.failed += 1
        self._failures += 1
        if self._failures % _TIDY_EVERY == 0:
            await self._store.tidy(now_ms - _FORGET_AFTER_MS, now_ms - _KNOWN_FOR_MS)

    def _key(self, *parts: str) -> str:
        """A keyed hash, so that the table does not reveal which addresses were tried."""
        return hmac.digest(self._secret, "\0".join(("wrong-password", *parts)).encode(), "sha256").hex()

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)


def _has_room(tried: Tried, going: _Going, failed_before: int, delays: Delays, now_ms: int) -> bool:
    """Whether one more attempt may run beside the current ones, each of which could still become a failure.

    Raises:
        LockedOut: the delay is not over.
    """
    if tried.locked_until_ms > now_ms:
        raise LockedOut(-(-(tried.locked_until_ms - now_ms) // 1000))
    stored = tried.failures if tried.failed_at_ms > now_ms - _FORGET_AFTER_MS else 0
    meanwhile = going.failed - failed_before  # failures that the read of the store may have missed
    free = delays.free - stored - meanwhile
    if meanwhile and free <= 0:
        raise LockedOut(1)
    return going.trying < max(1, free)  # one at a time once the free failures are used up


def _is_news(tried: Tried, now_ms: int) -> bool:
    return tried.failures > 0 or tried.succeeded_at_ms < now_ms - _DAY_MS
