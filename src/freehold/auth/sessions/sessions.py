"""Finds the user of a session token: in memory while nothing has changed, else in a copy elsewhere or the store.

Why this is safe is in docs/decisions/0002-session-cache.md.
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
MAX_AGE = timedelta(days=365)  # however much it is used

_CAPACITY = 20_000
_REMEMBERED = 20_000  # of what the change feed has told
_MAX_ENTRY_CHARACTERS = 2_000

log = get_logger()


# Copies of sessions that are kept elsewhere, in a shared cache or the client's cookie, and when to believe them.
#
# A copy says how far the change feed was when it was read. It is believed only if the feed has told nothing of its
# session or its user since then; what was told is remembered here for so long, and copies that are older are not
# believed. So a copy outlives no revocation, wherever it is kept and whether or not anyone deleted it there.


class SharedSessions(Protocol):
    """Copies that all processes share. A help only: the central database is what counts. Nothing here raises."""

    async def get(self, token: str) -> SignedIn | None:
        """The copy that one of our processes put there; None as well when there is no answer in time."""
        ...

    def put(self, copy: SignedIn) -> None:
        """Keep a copy, in the background."""
        ...

    def forget(self, token: str) -> None:
        """Drop a session's copy, in the background."""
        ...

    def forget_user(self, user_id: str) -> None:
        """Drop the copies of all of a user's sessions, in the background."""
        ...


class Invalidations:
    """What the change feed has told of sessions and users, so far as it is remembered."""

    def __init__(self, changes: Changes, remembered: int = _REMEMBERED) -> None:
        self._changes = changes
        self._remembered = remembered
        self._last: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._since: int | None = None  # all that was told after this position is in there
        changes.subscribe("session", self._listener("session"))
        changes.subscribe("user", self._listener("user"))

    def is_fresh(self, copy: SignedIn) -> bool:
        """Whether nothing was told of the session or its user since the copy was read."""
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
    """Reads sessions and lets them live on while they are used. One for each process."""

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
        """How many sessions are in memory."""
        return len(self._cache)

    def first_end(self, now: datetime, *, remember: bool) -> datetime:
        """The end of a session that begins now."""
        return now + min(LIFETIME if remember else SHORT_LIFETIME, self._max_age)

    def is_over(self, session: Session, now: datetime) -> bool:
        """Whether it has expired, or is too old however much it was used."""
        return min(from_iso(session.expires_at), self._last_end(session)) <= now

    async def seen(self) -> int:
        """How far the change feed is: what is read from now on is at least so new. -1 where nobody makes copies.

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
        """The holder of this token; None if it is unknown or expired.

        `copy` gives the caller's own copy, if it has one; asked for where the session is not in memory, and believed
        only if nothing has changed since.

        A session that is used lives on: unless `extend` is off, a read on the second day or later sets its end
        to a week from now, and says so in `is_extended`. It does not outlive `max_age`.

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
        """Let other processes know a session that was just made; `seen` must be set."""
        if self._shared is not None and found.seen >= 0:
            self._shared.put(found)

    def forget(self, token: str) -> None:
        """The session was ended here: drop its copies now rather than when the feed tells."""
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
        """From a copy that may be believed, else from the store."""
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
        except CentralUnavailable as error:  # it is still valid as it is; the next read tries again
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
        """When it ends at the latest."""
        return from_iso(session.created_at) + self._max_age

    def _ended_in_time(self, found: SignedIn) -> SignedIn:
        """The same, ending when it must: what is read here is looked at by its `expires_at` alone."""
        last = self._last_end(found.session)
        if found.expires_at < last:
            return found
        session = replace(found.session, expires_at=to_iso(last))
        return replace(found, session=session, expires_at=last, extend_from=None)

    async def _remove(self, token: str) -> None:
        try:
            await self._store.delete_session(token)
        except CentralUnavailable as error:  # it is of no use to anyone, only in the way
            log.warning("session.not_removed", reason=str(error))


def extend_from(expires_at: datetime, updated_at: datetime) -> datetime | None:
    """From when on a read extends the session: a day after its end was last set. A short one never is."""
    if expires_at - updated_at <= SHORT_LIFETIME:
        return None
    return expires_at - LIFETIME + EXTEND_AFTER


def signed_in_by(user: User, session: Session, seen: int = -1) -> SignedIn:
    """What a session stands for that has been stored. Raises `ValueError`: its dates are none."""
    expires_at = from_iso(session.expires_at)
    return SignedIn(
        user=user,
        session=session,
        expires_at=expires_at,
        extend_from=extend_from(expires_at, from_iso(session.updated_at)),
        seen=seen,
    )


def _is_worth_keeping(found: SignedIn) -> bool:
    """Whether it takes no more memory than is meant for one."""
    texts = (found.user.name, found.user.image or "", found.user.ban_reason or "", found.session.user_agent)
    return sum(map(len, texts)) <= _MAX_ENTRY_CHARACTERS
