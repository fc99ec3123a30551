"""Whether what a database token refers to is still there: the session or the API key it was handed out to.

A database token says in its `sub` claim for whom it was made, as `session:ID` or `key:ID`; neither id is a secret.
The gateway asks here at each call, so that a token ends with those and not only at its own end. Answers are
kept in memory, right by the change feed as sessions are (docs/decisions/0002-session-cache.md).
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog
from msgspec import Struct

from freehold.auth.api_keys.types import KEY_REFERENCE
from freehold.auth.types import SESSION_REFERENCE
from freehold.changes import RecentChanges
from freehold.dates import utc_now
from freehold.errors import CentralUnavailable

log = structlog.get_logger()

_CAPACITY = 50_000
# A central database in a file tells news in microseconds, so it is asked each time. One on a server is asked once in
# so long: what another process ended is noticed that much later at the gateway. What this one ended, at once.
_RECENT_S = 1.0
_PATIENCE_S = 1.0


class Referred(Struct, frozen=True):
    """A session or a key that is there. `token` is by what the change feed names it."""

    token: str
    user_id: str
    expires_at: datetime


class ReferenceStore(Protocol):
    """Sessions by their ids."""

    async def find_referred(self, session_id: str) -> tuple[Referred | None, int]:
        """The session and how far the change feed was in the same view. Raises `CentralUnavailable`."""
        ...

    async def find_referred_key(self, key_id: str) -> tuple[Referred | None, int]:
        """As for a session, an API key that may be used."""
        ...


class References:
    """Tells whether the session behind a database token lives. One for each process."""

    def __init__(
        self,
        store: ReferenceStore,
        changes: RecentChanges,
        clock: Callable[[], datetime] = utc_now,
        *,
        capacity: int = _CAPACITY,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._store = store
        self._changes = changes
        self._clock = clock
        self._capacity = capacity
        self._patience_s = patience_s
        self._alone_until = 0.0
        self._live: OrderedDict[str, Referred] = OrderedDict()
        self._of_token: dict[str, str] = {}
        self._of_user: defaultdict[str, set[str]] = defaultdict(set)
        changes.subscribe("session", self._forget_token)
        changes.subscribe("user", self._forget_user)
        changes.subscribe("apikey", self._forget_token)

    async def is_live(self, subject: str) -> bool:
        """Whether a token made for this subject may still be used.

        Other subjects than sessions and API keys are always live. While the central database is away nothing can be
        ended in it, so what was live stays so; what is not known yet is refused.

        Raises:
            CentralUnavailable: it is not known, and the central database does not answer.
        """
        if not subject.startswith((SESSION_REFERENCE, KEY_REFERENCE)):
            return True
        if not self._changes.is_recent(_RECENT_S):
            await self._catch_up(is_known=subject in self._live)
        found = self._live.get(subject)
        if found is None:
            found = await self._read(subject)
        return found is not None and found.expires_at > self._clock()

    async def _catch_up(self, *, is_known: bool) -> None:
        if is_known and time.monotonic() < self._alone_until:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await self._changes.catch_up()
        except (CentralUnavailable, TimeoutError) as error:
            self._alone_until = time.monotonic() + _RECENT_S
            log.warning("references.not_checked", reason=type(error).__name__)
            if not is_known:
                raise CentralUnavailable(
                    "the central database does not answer; try again in a moment"
                ) from error

    async def _read(self, subject: str) -> Referred | None:
        if subject.startswith(KEY_REFERENCE):
            found, seen = await self._store.find_referred_key(subject.removeprefix(KEY_REFERENCE))
        else:
            found, seen = await self._store.find_referred(subject.removeprefix(SESSION_REFERENCE))
        # As for sessions: a change that this read did not see may have been told already.
        if found is not None and self._changes.position <= seen:
            self._put(subject, found)
        return found

    def _put(self, subject: str, found: Referred) -> None:
        self._forget(subject)
        self._live[subject] = found
        self._of_token[found.token] = subject
        self._of_user[found.user_id].add(subject)
        if len(self._live) > self._capacity:
            self._forget(next(iter(self._live)))

    def _forget_token(self, token: str | None) -> None:
        if token is None:
            self._forget_all()
        elif (subject := self._of_token.get(token)) is not None:
            self._forget(subject)

    def _forget_user(self, user_id: str | None) -> None:
        if user_id is None:
            self._forget_all()
            return
        for subject in tuple(self._of_user.get(user_id, ())):
            self._forget(subject)

    def _forget(self, subject: str) -> None:
        found = self._live.pop(subject, None)
        if found is None:
            return
        self._of_token.pop(found.token, None)
        subjects = self._of_user[found.user_id]
        subjects.discard(subject)
        if not subjects:
            del self._of_user[found.user_id]

    def _forget_all(self) -> None:
        self._live.clear()
        self._of_token.clear()
        self._of_user.clear()
