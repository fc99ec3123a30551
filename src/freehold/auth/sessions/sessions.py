"""Finds the user of a session token: in memory while nothing has changed, else in a copy or the store.

docs/decisions/0002-session-cache.md explains why this is safe.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from freehold.audit.origin import acting
from freehold.auth.ports import SessionStore
from freehold.auth.types import Session, SignedIn, User
from freehold.changes import Changes
from freehold.dates import from_iso, to_iso, utc_now
from freehold.errors import CentralUnavailable
from freehold.feed_cache import FeedCache
from freehold.log import get_logger

LIFETIME = timedelta(days=7)
SHORT_LIFETIME = timedelta(days=1)  # "remember me" was off
EXTEND_AFTER = timedelta(days=1)
MAX_AGE = timedelta(days=365)  # even if it is used all the time

_CAPACITY = 20_000
_REMEMBERED = 20_000  # changes from the feed
_MAX_ENTRY_CHARACTERS = 2_000

log = get_logger()


# Copies of sessions in a shared cache or the client's cookie, and when they are accepted.
#
# A copy contains the position of the change feed when it was read. It is accepted only if the feed has not reported a
# change of its session or user since. Changes are remembered here up to a limit; copies from before them are rejected.
# So a revoked session is never accepted from a copy, wherever it is and whether or not it was deleted.


class SharedSessions(Protocol):
    """Copies that all processes share. Best effort: the central database is authoritative. Nothing here raises."""

    async def get(self, token: str) -> SignedIn | None:
        """The copy that one of our processes stored; None also if there is no answer in time."""

    def put(self, copy: SignedIn) -> None:
        """Store a copy, in the background."""

    def forget(self, token: str) -> None:
        """Delete a session's copy, in the background."""

    def forget_user(self, user_id: str) -> None:
        """Delete the copies of all of a user's sessions, in the background."""


class Invalidations:
    """The most recent changes of sessions and users from the change feed."""

    def __init__(self, changes: Changes, remembered: int = _REMEMBERED) -> None:
        self._changes = changes
        self._remembered = remembered
        self._last: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._since: int | None = None  # `_last` has all changes after this position
        changes.subscribe("session", self._listener("session"))
        changes.subscribe("user", self._listener("user"))

    def is_fresh(self, copy: SignedIn) -> bool:
        """Whether the feed has reported no change of the session or its user since the copy was read."""
        if self._since is None:
            self._since = self._changes.position
        if not self._since <= copy.seen <= self._changes.position:
            return False
        of_session = self._last.get(("session", copy.session.token), -1)
        of_user = self._last.get(("user", copy.user_id), -1)
        return max(of_session, of_user) <= copy.seen

    def _listener(self, topic: str) -> Callable[[str | None], None]:
        def listen(key: str | None) -> None:
            if key is None:
                self._last.clear()
                self._since = None
                return
            position = self._changes.position
            if self._since is None:
                self._since = position - 1
            self._last.pop((topic, key), None)
            self._last[topic, key] = position
            if len(self._last) > self._remembered:
                _, self._since = self._last.popitem(last=False)

        return listen


class Sessions:
    """Reads sessions and extends those that are used. One per process."""

    def __init__(
        self,
        store: SessionStore,
        changes: Changes,
        clock: Callable[[], datetime] = utc_now,
        *,
        capacity: int = _CAPACITY,
        shared: SharedSessions | None = None,
        has_cookie_cache: bool = False,
        max_age: timedelta = MAX_AGE,
    ) -> None:
        self._store = store
        self._changes = changes
        self._clock = clock
        self._cache: FeedCache[SignedIn] = FeedCache(changes, capacity)
        self._invalidations = Invalidations(changes)
        self._shared = shared
        self._max_age = max_age
        self._makes_copies = shared is not None or has_cookie_cache
        changes.subscribe("session", self._forget_token)
        changes.subscribe("user", self._forget_user)

    @property
    def remembered(self) -> int:
        """The number of sessions in memory."""
        return len(self._cache)

    def first_end(self, now: datetime, *, remember: bool) -> datetime:
        """The expiry of a session that begins now."""
        return now + min(LIFETIME if remember else SHORT_LIFETIME, self._max_age)

    def is_over(self, session: Session, now: datetime) -> bool:
        """Whether it has expired, or has reached the maximum age."""
        return min(from_iso(session.expires_at), self._last_end(session)) <= now

    async def seen(self) -> int:
        """The position of the change feed; later reads are at least this new. -1 if there are no copies.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        if not self._makes_copies:
            return -1
        if not self._changes.is_current():
            await self._changes.catch_up()
        return self._changes.position

    async def current(
        self, token: str, *, extend: bool = True, copy: Callable[[], SignedIn | None] | None = None
    ) -> SignedIn | None:
        """The session with this token and its user; None if it is unknown or expired.

        `copy` returns the client's own copy, if any. It is called if the session is not in memory, and the copy is
        accepted only if nothing has changed since.

        Unless `extend` is off, a read on the second day or later sets the session's expiry to a week from now, but not
        past `max_age`, and sets `is_extended`.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        if not self._changes.is_current():
            await self._changes.catch_up()
        found = self._cache.get(token)
        if found is None:
            found = await self._find(token, copy)
            if found is None:
                return None
        now = self._clock()
        if found.expires_at <= now:
            await self._remove(token)
            return None
        acting(found.user_id, found.session.impersonated_by)
        if extend and found.extend_from is not None and found.extend_from <= now:
            return await self._extend(found, now)
        return found

    def keep(self, found: SignedIn) -> None:
        """Share a session that was just created with other processes; `seen` must be set."""
        if self._shared is not None and found.seen >= 0:
            self._shared.put(found)

    def forget(self, token: str) -> None:
        """Delete the copies of a session that has ended, without waiting for the feed."""
        self._forget_token(token)

    def _forget_token(self, token: str | None) -> None:
        self._cache.forget_name(token)
        if self._shared is not None and token is not None:
            self._shared.forget(token)

    def _forget_user(self, user_id: str | None) -> None:
        self._cache.forget_owner(user_id)
        if self._shared is not None and user_id is not None:
            self._shared.forget_user(user_id)

    async def _find(self, token: str, copy: Callable[[], SignedIn | None] | None) -> SignedIn | None:
        """The session from an acceptable copy, else from the store."""
        found = copy() if copy is not None else None
        if found is None or not self._invalidations.is_fresh(found):
            found = await self._shared.get(token) if self._shared is not None else None
        if found is not None and self._invalidations.is_fresh(found):
            found = self._ended_in_time(found)
            if _is_worth_keeping(found):
                self._cache.put(token, found, name=token, owner=found.user_id)
            return found
        found = await self._read(token)
        if found is not None and self._shared is not None:
            self._shared.put(found)
        return found

    async def _read(self, token: str) -> SignedIn | None:
        found, seen = await self._store.find_session(token)
        found = self._ended_in_time(found) if found is not None else None
        if found is not None and _is_worth_keeping(found):
            self._cache.keep(token, found, seen, name=token, owner=found.user_id)
        return found

    async def _extend(self, found: SignedIn, now: datetime) -> SignedIn | None:
        expires_at = min(now + LIFETIME, self._last_end(found.session))
        try:
            exists = await self._store.extend_session(found.session.token, to_iso(expires_at), to_iso(now))
        except CentralUnavailable as error:  # still valid; the next read tries again
            log.warning("session.not_extended", reason=str(error))
            return found
        if not exists:
            return None
        extended = replace(
            found,
            session=replace(found.session, expires_at=to_iso(expires_at), updated_at=to_iso(now)),
            expires_at=expires_at,
            extend_from=extend_from(expires_at, now),
            is_extended=True,
        )
        return self._ended_in_time(extended)

    def _last_end(self, session: Session) -> datetime:
        """The latest possible end of the session."""
        return from_iso(session.created_at) + self._max_age

    def _ended_in_time(self, found: SignedIn) -> SignedIn:
        """The session with `expires_at` limited by `max_age`, so that readers only check `expires_at`."""
        last = self._last_end(found.session)
        if found.expires_at < last:
            return found
        session = replace(found.session, expires_at=to_iso(last))
        return replace(found, session=session, expires_at=last, extend_from=None)

    async def _remove(self, token: str) -> None:
        try:
            await self._store.delete_session(token)
        except CentralUnavailable as error:  # harmless: it has expired
            log.warning("session.not_removed", reason=str(error))


def extend_from(expires_at: datetime, updated_at: datetime) -> datetime | None:
    """When a read may extend the session: a day after its expiry was last set. Short sessions are never extended."""
    if expires_at - updated_at <= SHORT_LIFETIME:
        return None
    return expires_at - LIFETIME + EXTEND_AFTER


def signed_in_by(user: User, session: Session, seen: int = -1) -> SignedIn:
    """The signed-in user of a stored session. Raises `ValueError` if its dates are malformed."""
    expires_at = from_iso(session.expires_at)
    return SignedIn(
        user=user,
        session=session,
        expires_at=expires_at,
        extend_from=extend_from(expires_at, from_iso(session.updated_at)),
        seen=seen,
    )


def _is_worth_keeping(found: SignedIn) -> bool:
    """Whether it is small enough for the memory cache."""
    texts = (found.user.name, found.user.image or "", found.user.ban_reason or "", found.session.user_agent)
    return sum(map(len, texts)) <= _MAX_ENTRY_CHARACTERS
