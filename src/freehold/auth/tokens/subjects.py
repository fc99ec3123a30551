"""Checks that the session or API key of a database token still exists.

A database token's `sub` claim says what it was issued for, as `session:ID` or `key:ID`; neither id is a secret. The
gateway checks it at each call, so that a token ends with its session or key and not only at its own expiry. Results are
cached like sessions, and kept correct by the change feed (docs/decisions/0002-session-cache.md).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from freehold.auth.api_keys.types import KEY_SUBJECT
from freehold.auth.types import SESSION_SUBJECT
from freehold.changes import RecentChanges
from freehold.dates import utc_now
from freehold.feed_cache import FeedCache, Follower

_CAPACITY = 50_000
_PATIENCE_S = 1.0


class TokenSubject(Struct, frozen=True):
    """An existing session or key. `token` is its name in the change feed."""

    token: str
    user_id: str
    expires_at: datetime


class TokenSubjectStore(Protocol):
    """Sessions and API keys by id."""

    async def find_session_subject(self, session_id: str) -> tuple[TokenSubject | None, int]:
        """The session and the position of the change feed in the same snapshot. Raises `CentralUnavailable`."""

    async def find_key_subject(self, key_id: str) -> tuple[TokenSubject | None, int]:
        """The same for an API key that is usable."""


class TokenSubjects:
    """Checks whether the session or key of a database token is live. One per process."""

    def __init__(
        self,
        store: TokenSubjectStore,
        changes: RecentChanges,
        clock: Callable[[], datetime] = utc_now,
        *,
        capacity: int = _CAPACITY,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._follower = Follower(changes, "references.not_checked", patience_s)
        self._live: FeedCache[TokenSubject] = FeedCache(changes, capacity)
        changes.subscribe("session", self._live.forget_name)
        changes.subscribe("user", self._live.forget_owner)
        changes.subscribe("apikey", self._live.forget_name)

    async def is_live(self, subject: str) -> bool:
        """Whether a token for this subject may still be used.

        Subjects other than sessions and API keys are always live. While the central database is unavailable, nothing
        can be ended in it, so known live subjects stay live; unknown ones are refused.

        Raises:
            CentralUnavailable: the subject is not known, and the central database does not answer.
        """
        if not subject.startswith((SESSION_SUBJECT, KEY_SUBJECT)):
            return True
        if self._follower.is_behind:
            await self._follower.catch_up(is_known=subject in self._live)
        found = self._live.get(subject)
        if found is None:
            found = await self._read(subject)
        return found is not None and found.expires_at > self._clock()

    async def _read(self, subject: str) -> TokenSubject | None:
        if subject.startswith(KEY_SUBJECT):
            found, seen = await self._store.find_key_subject(subject.removeprefix(KEY_SUBJECT))
        else:
            found, seen = await self._store.find_session_subject(subject.removeprefix(SESSION_SUBJECT))
        if found is not None:
            self._live.keep(subject, found, seen, name=found.token, owner=found.user_id)
        return found
