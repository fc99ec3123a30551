"""How a process learns at once what another one committed to the central database."""

from collections.abc import Callable
from typing import Literal, Protocol

Topic = Literal["session", "user", "registry", "jwks", "token_rotation", "apikey"]

# Called with what changed: a session's token, a user's id, a migration's version, the id of a key that signs JWTs, a
# database's name.
# None: assume everything did.
Listener = Callable[[str | None], None]


class Changes(Protocol):
    """The feed of committed changes, which keeps caches in memory correct.

    A cached read first does `if not changes.is_current(): await changes.catch_up()`, then looks in the cache. For what
    may be put into a cache, see `position`.
    """

    def is_current(self) -> bool:
        """Whether nothing was committed since the last `catch_up`. Takes microseconds and never waits."""

    async def catch_up(self) -> None:
        """Notify the listeners of everything committed before this call.

        Raises:
            CentralUnavailable: the central database does not answer.
        """

    @property
    def position(self) -> int:
        """How far listeners have been notified. A row read before the position moved must not enter a cache."""

    def subscribe(self, topic: Topic, listener: Listener) -> None:
        """Call `listener` from now on for each change of the topic."""


class RecentChanges(Changes, Protocol):
    """A feed for callers who may notice other processes' changes a little late."""

    def is_recent(self, within_s: float) -> bool:
        """Whether listeners know all that this process committed, and what others did until `within_s` ago.

        Never waits. Where `is_current` costs nothing, it is the same.
        """
