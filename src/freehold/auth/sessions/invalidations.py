"""Copies of sessions that are kept elsewhere, in a shared cache or the client's cookie, and when to believe them.

A copy says how far the change feed was when it was read. It is believed only if the feed has told nothing of its
session or its user since then; what was told is remembered here for so long, and copies that are older are not
believed. So a copy outlives no revocation, wherever it is kept and whether or not anybody deleted it there.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from freehold.auth.types import SignedIn
from freehold.changes import Changes

_REMEMBERED = 20_000


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
